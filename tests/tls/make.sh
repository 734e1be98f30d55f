#!/bin/sh
# Makes the certificates of this folder again, with openssl. They are for tests only and are valid for a century, so that
# no test depends on the date.
set -eu
cd "$(dirname "$0")"

key() {
    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1.key" 2>/dev/null
}

# usage: authority NAME
authority() {
    key "$1"
    openssl req -x509 -new -key "$1.key" -subj "/CN=traceprobe test $1" -days 36500 -out "$1.pem" \
        -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign
}

# usage: certificate NAME AUTHORITY SERIAL EXTENSION...
certificate() {
    name=$1 by=$2 serial=$3
    shift 3
    key "$name"
    printf '%s\n' "$@" >"$name.ext"
    openssl req -new -key "$name.key" -subj "/CN=traceprobe test $name" -out "$name.csr"
    openssl x509 -req -in "$name.csr" -CA "$by.pem" -CAkey "$by.key" -set_serial "$serial" -days 36500 \
        -extfile "$name.ext" -out "$name.pem" 2>/dev/null
    rm "$name.csr" "$name.ext"
}

authority ca
authority other-ca
certificate server ca 1 subjectAltName=DNS:localhost,IP:127.0.0.1 extendedKeyUsage=serverAuth
certificate client ca 2 extendedKeyUsage=clientAuth
certificate stranger other-ca 1 extendedKeyUsage=clientAuth
rm ca.key other-ca.key other-ca.pem

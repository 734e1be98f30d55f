#!/bin/sh
# Prints the path of a program of Prometheus or Alertmanager, and installs it if necessary.
# usage: promtool.sh [promtool|prometheus|amtool|alertmanager]
#
# A program on PATH is used. Otherwise, as root with apt-get, Debian's package `prometheus` or `prometheus-alertmanager`
# is installed without starting its service. Otherwise a line on stderr says what to install, and the exit code is 1.
set -eu

tool=${1:-promtool}
case $tool in
promtool | prometheus) package=prometheus name=$tool ;;
amtool) package=prometheus-alertmanager name=$tool ;;
# Debian calls the server like its package.
alertmanager) package=prometheus-alertmanager name=prometheus-alertmanager ;;
*)
    echo "usage: $0 [promtool|prometheus|amtool|alertmanager]" >&2
    exit 2
    ;;
esac

find_tool() { command -v "$name" 2>/dev/null || command -v "$tool" 2>/dev/null; }

if ! find_tool >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    log=$(mktemp)
    # An existing policy-rc.d is kept. Otherwise this one denies every start and is removed at the end. RUNLEVEL=1 is
    # for maintainer scripts that check it instead.
    policy=/usr/sbin/policy-rc.d
    ours=
    clean() { rm -f "$log"; [ -z "$ours" ] || rm -f "$policy"; }
    trap clean EXIT
    if [ ! -e "$policy" ]; then
        ours=1
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
    fi
    export RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive
    # With the lock timeout, two runs can start at once.
    install() { apt-get -o DPkg::Lock::Timeout=300 install --yes --no-install-recommends "$package" >"$log" 2>&1; }
    echo "installing Debian's package $package" >&2
    install || { apt-get update >/dev/null 2>&1 && install; } || tail -n 5 "$log" >&2
fi

find_tool || {
    echo "$tool was not found; install it (Debian: apt-get install $package) or put $tool on PATH" >&2
    exit 1
}

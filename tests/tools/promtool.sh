#!/bin/sh
# Sees to it that Prometheus and promtool are here, and prints the path of the tool asked for.
# usage: promtool.sh [promtool|prometheus]
#
# What is on PATH is used. Otherwise Debian's package `prometheus`, which holds both, is installed
# where that is allowed (root, apt-get), with its service kept from starting. Otherwise one line
# on stderr says what to install, and the exit code is 1.
set -eu

tool=${1:-promtool}
case $tool in
promtool | prometheus) ;;
*)
    echo "usage: $0 [promtool|prometheus]" >&2
    exit 2
    ;;
esac

find_tool() { command -v "$tool" 2>/dev/null; }

if ! find_tool >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    log=$(mktemp)
    # An existing policy-rc.d belongs to whoever put it there; ours denies every start and goes
    # away again. RUNLEVEL=1 is for the maintainer scripts that look there instead.
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
    # The lock timeout lets two runs start at once.
    install() { apt-get -o DPkg::Lock::Timeout=300 install --yes --no-install-recommends prometheus >"$log" 2>&1; }
    echo "installing Debian's package prometheus" >&2
    install || { apt-get update >/dev/null 2>&1 && install; } || tail -n 5 "$log" >&2
fi

find_tool || {
    echo "$tool is not here; install Prometheus (Debian: apt-get install prometheus) or put $tool on PATH" >&2
    exit 1
}

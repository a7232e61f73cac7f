#!/usr/bin/env bash
# Makes sure that what the build and the tests run is here: a C compiler and PostgreSQL's server
# programs. Installs what is missing where it may (Debian and its kin), and says how where not.
#
#   scripts/deps.sh          what the build and the demo need
#   scripts/deps.sh tests    and BIND and promtool: without them the tests that ask them are skipped, aloud
set -eu

have_postgres() {
    [ -n "${PG_BIN:-}" ] && [ -x "$PG_BIN/initdb" ] && return 0
    command -v initdb >/dev/null 2>&1 && return 0
    for dir in /usr/lib/postgresql/*/bin; do
        [ -x "$dir/initdb" ] && return 0
    done
    return 1
}

# Only the one program is wanted, and no Prometheus server: it is taken out of Debian's package into
# the user's cache folder, which takes no right and starts nothing.
fetch_promtool() {
    local cache="${XDG_CACHE_HOME:-$HOME/.cache}/mayfly/bin"
    command -v promtool >/dev/null 2>&1 && return 0
    [ -x "$cache/promtool" ] && return 0
    command -v apt-get >/dev/null 2>&1 && command -v dpkg >/dev/null 2>&1 || return 1
    local folder
    folder=$(mktemp -d)
    if (cd "$folder" && apt-get download -q prometheus >/dev/null 2>&1 && dpkg -x prometheus_*.deb .); then
        mkdir -p "$cache"
        mv "$folder/usr/bin/promtool" "$cache/promtool"
    fi
    rm -rf "$folder"
    [ -x "$cache/promtool" ]
}

if [ "${1:-}" = tests ] && ! fetch_promtool; then
    echo "promtool is missing, so alert rules are not tested; it is in Debian's package prometheus" >&2
fi

if ! command -v cargo >/dev/null 2>&1; then
    echo "cargo is missing: install Rust from https://rustup.rs" >&2
    exit 1
fi

packages=()
command -v cc >/dev/null 2>&1 || packages+=(build-essential)
have_postgres || packages+=(postgresql)
needed=${#packages[@]}
if [ "${1:-}" = tests ]; then
    PATH="$PATH:/usr/sbin" command -v named >/dev/null 2>&1 || packages+=(bind9)
    command -v dig >/dev/null 2>&1 && command -v nsupdate >/dev/null 2>&1 ||
        packages+=(bind9-dnsutils)
fi
[ ${#packages[@]} -eq 0 ] && exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    if command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
        as_root=(sudo -n)
    else
        echo "missing: ${packages[*]}. As root, run:" >&2
        echo "  apt-get update && apt-get install -y ${packages[*]}" >&2
        [ "$needed" -eq 0 ] && exit 0
        exit 1
    fi
fi
if ! command -v apt-get >/dev/null 2>&1; then
    echo "missing: ${packages[*]} (their Debian names); install them with this system's packages" >&2
    [ "$needed" -eq 0 ] && exit 0
    exit 1
fi

echo "installing ${packages[*]}"
if [[ " ${packages[*]} " == *" postgresql "* ]]; then
    # Only the programs are wanted: without this, Debian also makes and starts a server.
    "${as_root[@]}" mkdir -p /etc/postgresql-common
    if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
        echo "create_main_cluster = false" |
            "${as_root[@]}" tee /etc/postgresql-common/createcluster.conf >/dev/null
    fi
fi
if [[ " ${packages[*]} " == *" bind9 "* ]]; then
    # Only the program is wanted: its server is neither started now nor with the machine.
    echo "masking named.service, so that no name server of the machine's own is started"
    "${as_root[@]}" mkdir -p /etc/systemd/system
    [ -e /etc/systemd/system/named.service ] ||
        "${as_root[@]}" ln -s /dev/null /etc/systemd/system/named.service
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee /usr/sbin/policy-rc.d >/dev/null
        "${as_root[@]}" chmod +x /usr/sbin/policy-rc.d
        trap '"${as_root[@]}" rm -f /usr/sbin/policy-rc.d' EXIT
    fi
fi
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update -q
"${as_root[@]}" apt-get -o DPkg::Lock::Timeout=120 install -q -y --no-install-recommends \
    -o Dpkg::Options::=--force-confold "${packages[@]}"

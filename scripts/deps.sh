#!/usr/bin/env bash
# Makes sure that what the build and the tests run is here: a C compiler and PostgreSQL's server
# programs. Installs what is missing where it may (Debian and its kin), and says how where not.
set -eu

have_postgres() {
    [ -n "${PG_BIN:-}" ] && [ -x "$PG_BIN/initdb" ] && return 0
    command -v initdb >/dev/null 2>&1 && return 0
    for dir in /usr/lib/postgresql/*/bin; do
        [ -x "$dir/initdb" ] && return 0
    done
    return 1
}

if ! command -v cargo >/dev/null 2>&1; then
    echo "cargo is missing: install Rust from https://rustup.rs" >&2
    exit 1
fi

packages=()
command -v cc >/dev/null 2>&1 || packages+=(build-essential)
have_postgres || packages+=(postgresql)
[ ${#packages[@]} -eq 0 ] && exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    if command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
        as_root=(sudo -n)
    else
        echo "missing: ${packages[*]}. As root, run:" >&2
        echo "  apt-get update && apt-get install -y ${packages[*]}" >&2
        exit 1
    fi
fi
if ! command -v apt-get >/dev/null 2>&1; then
    echo "missing: ${packages[*]} (their Debian names); install them with this system's packages" >&2
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
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update -q
"${as_root[@]}" apt-get install -q -y --no-install-recommends \
    -o Dpkg::Options::=--force-confold "${packages[@]}"

#!/usr/bin/env bash
# Makes sure that what a node of the tests runs is here: containerd, runc, the CNI plugins, and the
# tools of the kernel's network. Installs what is missing (Debian and its kin), and says how where it
# may not. Refuses to start any of it: Debian's containerd stays off.
set -eu

packages=()
need() { command -v "$1" >/dev/null 2>&1 || packages+=("$2"); }
need containerd containerd
need runc runc
need ip iproute2
need nft nftables
need iptables iptables
need ipset ipset
need conntrack conntrack
[ -x /usr/lib/cni/ptp ] || packages+=(containernetworking-plugins)
[ ${#packages[@]} -eq 0 ] && exit 0

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "missing: ${packages[*]} (their Debian names); install them as root" >&2
    exit 3
fi
echo "installing ${packages[*]}" >&2
# Asked by every package before it starts its service.
if [ ! -e /usr/sbin/policy-rc.d ]; then
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod 755 /usr/sbin/policy-rc.d
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -q >&2
apt-get -o DPkg::Lock::Timeout=120 install -q -y --no-install-recommends "${packages[@]}" >&2

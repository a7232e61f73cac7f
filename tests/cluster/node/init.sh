# The first process of the node's namespaces: makes them a machine of its own, then holds them.
# What it changes is seen in here only.
set -euo pipefail
directory=$1

# Sockets, leases, logs and locks of everything that runs in here.
for path in /run /var/lib /var/log; do
    mount -t tmpfs tmpfs "$path"
done

# The kubelet sets these for the whole machine where they differ; so it finds them as it wants them.
mkdir "$directory/kernel"
while read -r setting value; do
    echo "$value" >"$directory/kernel/${setting//\//.}"
    mount --bind "$directory/kernel/${setting//\//.}" "/proc/sys/$setting"
done <<SETTINGS
vm/overcommit_memory 1
vm/panic_on_oom 0
kernel/panic 10
kernel/panic_on_oops 1
kernel/keys/root_maxkeys 1000000
kernel/keys/root_maxbytes 25000000
SETTINGS

hostname node
ip link set lo up
echo 1 >/proc/sys/net/ipv4/ip_forward
touch "$directory/ready"

# A shell that waits also takes leave of those whose parents are gone.
sleep infinity &
wait

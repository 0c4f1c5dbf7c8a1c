#!/bin/sh
# Becomes the system manager of a small machine: pid 1 of namespaces of its own,
# which know none of this machine's units, devices, mounts or control groups.
# $1: the folder with its units. $2: v1 or v2, what this machine's control groups are.
set -eu
mount --make-rprivate /
mount -t proc proc /proc
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd /run/lock
mount -t tmpfs tmpfs /sys/fs/cgroup
if [ "$2" = v1 ]; then
	mkdir /sys/fs/cgroup/systemd
	mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
else
	mount -t cgroup2 cgroup2 /sys/fs/cgroup
fi
exec env -i container=dapple PATH=/usr/sbin:/usr/bin:/sbin:/bin SYSTEMD_UNIT_PATH="$1" \
	/lib/systemd/systemd --system --unit=start.target --log-target=console --show-status=no

#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# PID 1 of a guest: mounts what a system has, runs /run-it, ends the machine.
export PATH=/bin:/sbin:/usr/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
mount -t tracefs tracefs /sys/kernel/tracing
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t securityfs securityfs /sys/kernel/security
ip link set lo up
chmod 1777 /tmp
/run-it </dev/null >/dev/ttyS1 2>&1
echo "guest: exit code $?" >/dev/ttyS1
sync
poweroff -f

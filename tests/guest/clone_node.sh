#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# In a guest: an agent that ships to a collector outside. The machine is copied
# while this runs; whatever is done from then on is done twice, and differs.
for module in virtio virtio_ring virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci failover net_failover virtio_net; do
  insmod "/modules/$module.ko" || exit 1
done
until [ -e /sys/class/net/eth0 ]; do sleep 0.1; done
ip addr add 10.0.2.15/24 dev eth0
ip link set eth0 up
echo 1 >/sys/kernel/rcu_expedited # attaching waits for grace periods, long ones in emulation
"$NT_PROGRAM" --config /etc/nodetrail/agent.yaml &
agent=$!
n=0
while kill -0 "$agent" 2>/dev/null; do
  touch "/tmp/act-$n-$(cut -d' ' -f1 /proc/uptime)"
  n=$((n + 1))
  sleep 0.2
done
wait "$agent"

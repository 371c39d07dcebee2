# shellcheck shell=bash disable=SC2154
# SPDX-License-Identifier: Apache-2.0
#
# In a guest, sourced by systemd.sh: who is behind an event, through ssh, sudo,
# su, cron, at and a service of systemd. Each asks for one file that bob may not read.

# The actor of the newest refused open of a file, as one line of JSON.
denied() { # PATH
  nodetrail query --since 1h --kind file.denied --path "$1" --json 2>/dev/null | head -n 1
}
told() { # PATH PATTERN…: all are in its event
  local event pattern
  event=$(denied "$1")
  shift
  for pattern in "$@"; do
    grep -qE -- "$pattern" <<<"$event" || return 1
  done
}
# One link of the chain: who, to whom, by which tool.
link() { printf '"tool":"[a-z/]*/%s","cause":"[a-z_]*","from_uid":%s,"from_user":"%s","to_uid":%s,"to_user":"%s"' "$@"; }

useradd --create-home --uid 1000 --shell /bin/bash alice
useradd --create-home --uid 1001 --shell /bin/bash bob
printf 'alice ALL=(ALL) NOPASSWD: ALL\n' >/etc/sudoers.d/alice
for secret in ssh cron at run; do
  install -m 600 /dev/null "/root/secret-$secret"
  chmod 711 /root
done
install -d -m 700 -o alice /home/alice/.ssh
ssh-keygen -q -t ed25519 -N '' -f /root/alice-key
install -m 600 -o alice /root/alice-key.pub /home/alice/.ssh/authorized_keys
ssh_alice() {
  ssh -q -i /root/alice-key -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null alice@127.0.0.1 "$@"
}
check "sshd runs" eventually is_active ssh

refused_to_bob() { ! ssh_alice "sudo sh -c 'su bob -c \"cat /root/secret-ssh\"'" 2>/dev/null; }
check "bob is refused, by ssh, sudo and su" refused_to_bob
check "ssh, sudo, su: the login user is alice" eventually told /root/secret-ssh '"login_user":"alice"' '"user":"bob"'
check "ssh, sudo, su: alice to root to bob, by their tools" told /root/secret-ssh \
  "$(link sudo 1000 alice 0 root)" "$(link su 0 root 1001 bob)"
check "ssh, sudo, su: with their commands" told /root/secret-ssh '"command":\["sh","-c","su bob' '"command":\["bob","-c","cat /root/secret-ssh"\]'
check "ssh, sudo, su: she came by ssh from an address" told /root/secret-ssh '"entry":\{"kind":"ssh"' '"login":\{"ip":"127.0.0.1"'
check "ssh, sudo, su: nothing about her is missing" told /root/secret-ssh '"gaps":\[\]'
found_as_root() { nodetrail query --since 1h --user alice --kind process.exec --json | grep -q '"exe":"/usr/bin/su"'; }
check "what alice did as root is found by her name" found_as_root
check "… and by the tool" eval 'nodetrail query --since 1h "via:sudo from_user:alice path:/root/secret-ssh" --json | grep -q secret-ssh'
chain_drawn() {
  local id
  id=$(denied /root/secret-ssh | sed -E 's/^.*"event_id":"([^"]*)".*$/\1/')
  nodetrail tree "$id" >/tmp/tree && grep -q 'by: ssh from 127.0.0.1, alice .* root by sudo .* bob by su bob' /tmp/tree && return
  echo "$id"
  cat /tmp/tree
  return 1
}
check "nodetrail tree draws the chain" chain_drawn

printf '@reboot bob cat /root/secret-cron\n' >/etc/cron.d/secret
rm -f /run/crond.reboot
systemctl restart cron
check "cron: bob's job, by cron" eventually told /root/secret-cron '"login_user":"bob"' '"entry":\{"kind":"cron"' '"elevation":\[\]'

runuser -u alice -- sh -c 'echo "sudo -u bob cat /root/secret-at" | at -q a now' 2>/dev/null
check "at: alice's job, as bob by sudo" eventually told /root/secret-at '"login_user":"alice"' '"entry":\{"kind":"at"' "$(link sudo 1000 alice 1001 bob)"

printf '[Service]\nType=oneshot\nUser=bob\nExecStart=/bin/cat /root/secret-run\n' >/run/systemd/system/secret.service
systemctl daemon-reload
systemctl start secret 2>/dev/null
check "a service: by init, nobody's login" eventually told /root/secret-run '"entry":\{"kind":"init"' '"login_uid":null' '"elevation":\[\]'
systemctl reset-failed secret

#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# In a guest with systemd as PID 1 and the packages installed: the services as
# their units run them. Prints one line a check, ends with the number of those
# that failed.
# shellcheck disable=SC2317 # `check` calls the functions
set -uo pipefail
etc=/etc/nodetrail
failed=0

# Not $SECONDS, which follows the wall clock.
uptime_s() { cut -d. -f1 /proc/uptime; }
check() { # WHAT COMMAND…
  local what=$1
  shift
  if "$@"; then
    printf "ok      %3d s  %s\n" "$(uptime_s)" "$what"
  else
    printf "FAILED  %3d s  %s: %s\n" "$(uptime_s)" "$what" "$*"
    failed=$((failed + 1))
    # Nothing that follows can pass.
    [[ $what != *starts ]] || end
  fi
}
end() {
  if ((failed > 0)); then
    cat /tmp/verify
    agent_says | head -c 3000
    journalctl -q --no-pager -u nodetrail-agent -u nodetrail-collector | tail -n 60
  fi
  exit "$failed"
}
# Until a command succeeds, for a minute: emulation is slow.
eventually() {
  local i
  for ((i = 0; i < 120; i++)); do
    "$@" && return 0
    sleep 0.5
  done
  return 1
}
agent_says() { nodetrail status --json 2>/dev/null; }
agent_field() { agent_says | sed -nE "s/^ *\"$1\": \"?([^\",]*)\"?,?$/\1/p" | head -n 1; }
agent_is_well() { [[ $(agent_field health) == ok ]]; }
hears_all() { # the self-test's verdict on each of the five domains
  [[ $(agent_says | tr -d '\n ' | grep -oE '"selftest":\{[^}]*\}' | grep -o '"heard"' | wc -l) == 5 ]]
}
has_epoch() { [[ $(agent_field epoch) =~ ^[0-9]+$ ]]; }
other_epoch() { has_epoch && [[ $(agent_field epoch) != "$before" ]]; }
is_active() { systemctl is-active --quiet "$1"; }
drained() { [[ $(agent_field spool_batches) == 0 ]]; }
verdict() {
  nodetrail verify --identity-ca "$etc/pki/identity-ca.pem" --log-key /var/lib/nodetrail/trail/log/log.vkey \
    /var/lib/nodetrail/trail >/tmp/verify 2>&1
  echo $?
}
seen() { # FILE: its creation is in the trail
  nodetrail query --since 1h --kind file.create --path "$1" --json 2>/dev/null | grep -q "$1"
}

pki=/root/pki
tool=/root/dev-pki
"$tool" agent "$pki" guest-1
"$tool" reader "$pki" auditor
"$tool" collector "$pki" localhost 127.0.0.1
"$tool" log-key "$pki" trail.example.com/default
install -d "$etc/pki"
cp "$pki/tls-ca/ca.pem" "$etc/pki/tls-ca.pem"
cp "$pki/identity-ca/ca.pem" "$etc/pki/identity-ca.pem"
cp "$pki"/agents/guest-1/{tls,identity}.{pem,key} "$etc/pki/"
for end in pem key; do
  cp "$pki/collector/tls.$end" "$etc/pki/collector.$end"
  cp "$pki/readers/auditor/tls.$end" "$etc/pki/reader.$end"
done
cp "$pki/log/log.key" "$etc/pki/"
cp "$pki/log/policy" "$etc/pki/log.policy"
chown nodetrail "$etc"/pki/{collector,log}.key
sed -i -e 's/^agent_id: .*/agent_id: guest-1/' -e 's/collector.example:7443/127.0.0.1:7443/' "$etc/agent.yaml"
printf 'capture:\n  companions: [{name: collector, exe: /usr/sbin/nodetrail-collector}]\n' >>"$etc/agent.yaml"
sed -i -e 's/0.0.0.0:7443/127.0.0.1:7443/' "$etc/collector.yaml"
sed -i -e 's/^#//' "$etc/cli.yaml"
sed -i -e '/^ The\|^ Relative/d' "$etc/cli.yaml"

check "collector starts" systemctl start nodetrail-collector
check "agent starts" systemctl start nodetrail-agent
check "agent is well" eventually agent_is_well
check "the confined canary is heard in each domain" eventually hears_all
touch /root/first
check "what happens is in the trail" eventually seen /root/first
check "the agent has an epoch" has_epoch
before=$(agent_field epoch)

# shellcheck source=tests/guest/people.sh
. /root/people.sh

# An orderly restart closes the epoch, and nothing is missing in between.
check "systemd holds the agent's descriptors" test "$(systemctl show -P NFileDescriptorStore nodetrail-agent)" -gt 0
check "agent restarts" systemctl restart nodetrail-agent
touch /root/second
check "what happens after a restart is in the trail" eventually seen /root/second
check "an orderly restart opens an epoch" other_epoch
before=$(agent_field epoch)
check "the spool drains" eventually drained
code=$(verdict)
check "the trail is intact, exit code $code" test "$code" = 0

# A crash: systemd starts it again with the same key, and the gap is told.
pid=$(systemctl show -P MainPID nodetrail-agent)
kill -9 "$pid"
restarted() { is_active nodetrail-agent && [[ $(systemctl show -P MainPID nodetrail-agent) != "$pid" ]]; }
check "systemd starts a killed agent again" eventually restarted
check "the agent is well again" eventually agent_is_well
touch /root/third
check "what happens after a crash is in the trail" eventually seen /root/third
check "a crash keeps the epoch" test "$(agent_field epoch)" = "$before"
check "the spool drains after a crash" eventually drained
code=$(verdict)
check "the crash is a declared gap, exit code $code" test "$code" = 1
check "the gap names its interval" eventually sh -c 'nodetrail query --since 1h --kind agent.gap --json | grep -q agent.gap'

check "agent stops" systemctl stop nodetrail-agent
check "a stop leaves no key behind" test "$(systemctl show -P NFileDescriptorStore nodetrail-agent)" = 0

check "no unit failed" test -z "$(systemctl list-units --state=failed --no-legend 'nodetrail*')"
for unit in nodetrail-agent nodetrail-collector; do
  check "$unit logs no error" test -z "$(journalctl -u "$unit" -p err -q --no-pager)"
done

# shellcheck source=tests/guest/faults.sh
. /root/faults.sh
end

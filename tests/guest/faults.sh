# shellcheck shell=bash disable=SC2154
# SPDX-License-Identifier: Apache-2.0
#
# In a guest, sourced by systemd.sh: rows of the fault table that would harm a
# host, as the units meet them. A line a check, which begins with its row.

agent_unit() { systemctl show -P "$1" nodetrail-agent; }
agent_log() { journalctl -q --no-pager -o cat -u nodetrail-agent --since "@$1"; }
agent_says_since() { agent_log "$1" | grep -qE "$2"; }
gaps() { nodetrail query --since 24h --kind agent.gap --json | grep -c '"agent.gap"'; }
one_gap_more() { [[ $(gaps) == $((known_gaps + 1)) ]]; }
another_process() { is_active nodetrail-agent && [[ $(agent_unit MainPID) != "$pid" ]]; }
gone() { [[ ! -d /proc/$pid ]]; }
sealed_more() { [[ $(agent_field batch_seq) -gt $sealed ]]; }
# An hour ago and in ten years, too.
seen_ever() { nodetrail query --since 24h --kind file.create --path "$1" --json 2>/dev/null | grep -q "$1"; }
verify_says() { grep -q "$1" /tmp/verify; }
refused() { [[ $(agent_unit ActiveState) == failed && $(agent_unit ExecMainStatus) == 3 ]]; }

# What is asked after the agent died in whatever way: it is back, its epoch
# goes on, the interval is declared and nothing else is missing.
goes_on() { # ROW HOW
  check "$1: systemd starts it again" eventually another_process
  check "$1: it is well again" eventually agent_is_well
  check "$1: the epoch goes on" test "$(agent_field epoch)" = "$before"
  touch "/root/after-$2"
  check "$1: what happens then is in the trail" eventually seen "/root/after-$2"
  check "$1: the interval is one agent.gap" eventually one_gap_more
  check "$1: the spool drains" eventually drained
  code=$(verdict)
  check "$1: the trail is intact with a declared gap, exit code $code" test "$code" = 1
}
remember() {
  before=$(agent_field epoch) pid=$(agent_unit MainPID) known_gaps=$(gaps) begun=$(date +%s)
}

check "agent starts" systemctl start nodetrail-agent
check "agent is well" eventually agent_is_well

# It stands still for longer than a heartbeat: the watchdog of the unit finds that.
remember
kill -STOP "$pid"
check "row 18: the watchdog ends an agent that stands still" eventually gone
check "row 18: its last line says so" eventually agent_says_since "$begun" 'nodetrail-agent: aborted: '
goes_on "row 18" stop

# The kernel takes it for the memory that its control group may not have. The
# limit is lifted before systemd starts it again, or it would die once more.
remember
systemctl set-property --runtime nodetrail-agent MemoryMax=4M
eventually gone
systemctl set-property --runtime nodetrail-agent MemoryMax=infinity
check "row 16: the kernel's OOM killer ends the agent" agent_says_since "$begun" "result 'oom-kill'"
goes_on "row 16" oom

# The wall clock goes ten years ahead, where no certificate holds, so what is
# observed waits; then to an hour before now. All clocks but this one go on.
remember
began=$(uptime_s)
for jump in 315360000 -3600; do
  sealed=$(agent_field batch_seq)
  date -s "@$((begun + jump))" >/dev/null
  touch "/root/clock$jump"
  check "row 31: it seals with the clock off by $jump s" eventually sealed_more
done
date -s "@$((begun + $(uptime_s) - began))" >/dev/null
check "row 31: the agent lives" test "$(agent_unit MainPID)" = "$pid"
check "row 31: the epoch goes on" test "$(agent_field epoch)" = "$before"
check "row 31: the spool drains once the clock is right" eventually drained
for jump in 315360000 -3600; do
  check "row 31: what happened is in the trail, off by $jump s" eventually seen_ever "/root/clock$jump"
done
code=$(verdict)
check "row 31: the chain holds, exit code $code" test "$code" = 1
check "row 31: verify notes the clock" verify_says "the wall clock went back"
check "row 31: no gap is told where there is none" test "$(gaps)" = "$known_gaps"

# A kernel without BTF, and one that loads no programs: it says why, and is not
# started again.
begun=$(date +%s)
mount -t tmpfs none /sys/kernel/btf
systemctl restart nodetrail-agent
check "row 22: without BTF it ends with 3 and stays down" eventually refused
check "row 22: it says that BTF is missing" agent_says_since "$begun" '^nodetrail-agent: .*BTF'
umount /sys/kernel/btf
systemctl reset-failed nodetrail-agent
check "row 22: with BTF it starts" systemctl start nodetrail-agent
check "row 22: it is well" eventually agent_is_well
begun=$(date +%s)
echo confidentiality >/sys/kernel/security/lockdown
systemctl restart nodetrail-agent
check "row 22: where the kernel is locked down it ends with 3 and stays down" eventually refused
check "row 22: it says what was refused" agent_says_since "$begun" '^nodetrail-agent: .*refuses the program'

#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# usage: check-units.sh DIR     the units' exposure, as systemd-analyze scores
#                               it, stays under its limit (0 safe, 100 exposed)
set -euo pipefail
dir=$1
failed=0
check() { # UNIT LIMIT
  if systemd-analyze security --offline=true --no-pager --threshold="$2" "$dir/$1" | tail -n 1; then
    return
  fi
  failed=1
  echo "$1: more exposed than $2 allows:"
  systemd-analyze security --offline=true --no-pager "$dir/$1" | grep '✗' || true
}
# The agent's 3.2 is CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH
# and root: it observes other users' processes.
check nodetrail-agent.service 35
check nodetrail-agent-renew.service 20
check nodetrail-collector.service 15
check nodetrail-witness.service 15
exit "$failed"

# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# ./dev test-fault: the sweeps of SIGKILL and of refused allocations, the tests
# of the other faults, and a table of all rows.
# shellcheck disable=SC2154

verb_test_fault() { # [--full] [--points N] [--side agent|collector [--fault kill|memory] [--point N]] [--guest] [--json FILE]
  local side='' fault='' guest=() json=$root/build/log/fault.json sweep=()
  while (($#)); do
    case $1 in
      --full)
        sweep+=(--full)
        export NODETRAIL_FAULT_FULL=1
        ;;
      --guest) guest=(--guest build/log/guest-rows.txt) ;;
      --side | --fault | --point | --points | --json)
        [[ -n ${2:-} ]] || misuse "$1 needs a value"
        case $1 in
          --side) side=$2 ;;
          --fault) fault=$2 ;;
          --json) json=$2 ;;
          *) sweep+=("$1" "$2") ;;
        esac
        shift
        ;;
      *) misuse "test-fault: unknown option $1" ;;
    esac
    shift
  done
  [[ -z $side || $side == agent || $side == collector ]] || misuse "--side agent, or --side collector"
  [[ -z $fault || $fault == kill || $fault == memory ]] || misuse "--fault kill, or --fault memory"
  ((${#guest[@]} == 0)) || [[ -z $side ]] || misuse "--guest is for the whole table"
  [[ -n $side || (-z $fault && " ${sweep[*]-} " != *" --point "*) ]] || misuse "--fault and --point need --side"
  install_packages packaging/build-deps.txt packaging/ci-deps.txt
  build dev
  local bin=build/dev/bin log=build/log failed='' name
  mkdir -p "$log"
  rm -f "$log"/fault-*.json "$log/fault-junit.xml"
  local row kind what
  while read -r row name kind what; do
    [[ -z $side || $side$fault == "$name" && $kind == kill || $side$fault == "$name$kind" ]] || continue
    say "row $row: the $name $what"
    "$bin/nt_fault_sweep" --side "$name" --fault "$kind" --jobs "$(nproc)" --json "$log/fault-$name-$kind.json" \
      "${sweep[@]}" 2>"$log/fault-$name-$kind.log" || failed+=" $name-$kind"
  done <<'EOF'
1 agent kill killed at its file operations
35 collector kill killed at its file operations
15 agent memory refused an allocation
15 collector memory refused an allocation
EOF
  # One side is for whoever looks at one side.
  if [[ -n $side ]]; then
    [[ -z $failed ]] || die "the sweep failed"
    return 0
  fi
  local table=(node tests/fault/table.mjs) rows=(--rows tests/fault/rows.tsv --list "$log/fault-list.json")
  ctest --test-dir build/dev --show-only=json-v1 >"$log/fault-list.json"
  say "the other rows"
  [[ -n $(root_tier_obstacle) ]] || ensure_tracefs
  ctest --test-dir build/dev -j"$(nproc)" --output-on-failure --output-junit "$root/$log/fault-junit.xml" \
    -R "$("${table[@]}" names "${rows[@]}")" || failed+=" tests"
  ((${#guest[@]} == 0)) || (verb_test_guest) || failed+=" guest"
  "${table[@]}" show "${rows[@]}" --junit "$log/fault-junit.xml" --json "$json" "${guest[@]}" \
    --sweep "$log/fault-agent-kill.json" --sweep "$log/fault-collector-kill.json" \
    --sweep "$log/fault-agent-memory.json" --sweep "$log/fault-collector-memory.json" || failed+=" table"
  [[ -z $failed ]] || die "the fault table does not hold:$failed"
}

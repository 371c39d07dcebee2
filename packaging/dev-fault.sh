# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# ./dev test-fault: the sweeps of SIGKILL, the tests of the other faults, and a
# table of all rows.
# shellcheck disable=SC2154

verb_test_fault() { # [--full] [--points N] [--side agent|collector] [--point N] [--json FILE]
  local side='' json=$root/build/log/fault.json sweep=()
  while (($#)); do
    case $1 in
      --full)
        sweep+=(--full)
        export NODETRAIL_FAULT_FULL=1
        ;;
      --side | --point | --points | --json)
        [[ -n ${2:-} ]] || misuse "$1 needs a value"
        case $1 in
          --side) side=$2 ;;
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
  [[ " ${sweep[*]-} " != *" --point "* || -n $side ]] || misuse "--point needs --side"
  install_packages packaging/build-deps.txt packaging/ci-deps.txt
  build dev
  local bin=build/dev/bin log=build/log failed='' name
  mkdir -p "$log"
  rm -f "$log"/fault-*.json "$log/fault-junit.xml"
  for name in ${side:-agent collector}; do
    say "row $([[ $name == agent ]] && echo 1 || echo 35): the $name killed at its file operations"
    "$bin/nt_fault_sweep" --side "$name" --jobs "$(nproc)" --json "$log/fault-$name.json" "${sweep[@]}" \
      2>"$log/fault-$name.log" || failed+=" $name"
  done
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
  "${table[@]}" show "${rows[@]}" --junit "$log/fault-junit.xml" --sweep "$log/fault-agent.json" \
    --sweep "$log/fault-collector.json" --json "$json" || failed+=" table"
  [[ -z $failed ]] || die "the fault table does not hold:$failed"
}

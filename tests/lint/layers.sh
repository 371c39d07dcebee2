#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# usage: layers.sh ROOT     who may include whom, and who may use which library
#
#   base, abi <- decode <- attribute <- enrich <- redact <- policy <- batch <-
#   seal <- spool <- ship                     right may include left
#
# pipeline and capture stand beside the row: pipeline drives the stages up to
# batch, capture gives it records. Only the composition roots (agent/*.cc,
# collector/*.cc) see everything. docs/architecture.md has the reasons.
set -euo pipefail
cd "$1"
failed=0

stages=(decode attribute enrich redact policy batch seal spool ship)

# FILE:LINE:INCLUDED of every include of a tracked source file.
includes() { # PATHSPEC…
  git grep -nIE '^[[:space:]]*#[[:space:]]*include[[:space:]]*[<"]' -- "$@" |
    sed -E 's/^([^:]+:[0-9]+):[^<"]*[<"]([^>"]+)[>"].*/\1 \2/'
}

tell() { # WHAT FILE:LINE INCLUDED
  failed=1
  printf '%s: %s must not include %s\n' "$1" "$2" "$3"
}

rank() { # STAGE
  local i
  for i in "${!stages[@]}"; do
    [[ ${stages[i]} != "$1" ]] || {
      echo "$i"
      return
    }
  done
  echo -1
}

# 1. The row of stages.
while read -r where what; do
  file=${where%%:*}
  from=$(cut -d/ -f2 <<<"$file")
  to=$(cut -d/ -f2 <<<"$what")
  # Files right in agent/ are the composition root.
  [[ $file == agent/*/* ]] || continue
  case $from in
    capture)
      [[ $to == capture || $to == decode || $to == batch ]] || tell "capture gives records only" "$where" "$what"
      continue
      ;;
    pipeline | selftest | config | health) continue ;;
  esac
  if [[ $to == capture ]]; then
    # The interface, and what the kernel reported, are plain headers.
    [[ $what == agent/capture/record_source.h || $what == agent/capture/kernel_report.h ]] ||
      tell "only the composition root sees capture" "$where" "$what"
    continue
  fi
  if [[ $to == pipeline || $to == health ]]; then
    [[ $from == "$to" ]] || tell "a stage does not know who drives it" "$where" "$what"
    continue
  fi
  # A test may lean on a later stage's public header; the stage itself may not.
  [[ $file != *_test.cc && $file != *_bench.cc ]] || continue
  [[ $from != ship || $what != agent/ship/* ]] || continue
  (($(rank "$to") <= $(rank "$from"))) || tell "$from comes before $to" "$where" "$what"
done < <(includes 'agent/**' | grep ' agent/' || true)

# 2. The top-level folders.
while read -r where what; do
  file=${where%%:*}
  from=${file%%/*}
  to=${what%%/*}
  case $from:$to in
    base:agent | base:collector | base:cli | base:trail | base:schema) tell "base includes no one" "$where" "$what" ;;
    trail:agent | trail:collector | trail:cli) tell "the trail format stands alone" "$where" "$what" ;;
    witness:agent | witness:collector | witness:cli | agent:witness | collector:witness | cli:witness)
      [[ $file == *_test.cc ]] || tell "the witness stands apart" "$where" "$what"
      ;;
    peer:agent | peer:collector | peer:cli) tell "clients share peer, and it knows none of them" "$where" "$what" ;;
    schema:agent | schema:collector | schema:cli) tell "the schema library stands alone" "$where" "$what" ;;
    agent:collector | agent:cli | collector:agent | collector:cli | cli:agent)
      [[ $file == *_test.cc || $file == */test_*.h ]] && continue
      # doctor tells what capture finds on this kernel; there is one such finder.
      [[ $file == cli/*doctor* && $what == agent/capture/* ]] && continue
      tell "programs don't include each other" "$where" "$what"
      ;;
  esac
done < <(includes '*.cc' '*.h' | grep -vE '^(tests|[a-z]+/testing)/')

# 3. The libraries.
uses() { # WHAT INCLUDE_PATTERN ALLOWED_FILES_PATTERN
  local what=$1 pattern=$2 allowed=$3 where included
  while read -r where included; do
    [[ $included =~ $pattern ]] || continue
    [[ ${where%%:*} =~ $allowed ]] || tell "$what" "$where" "$included"
  done < <(includes '*.cc' '*.h' '*.c')
}
uses "libbpf: only the kernel edge" '^(bpf/|.*\.skel\.h$|linux/bpf\.h$)' \
  '^(agent/capture/|bpf/|tests/(root|bench|abi|attacks)/)'
uses "gRPC: only the wire" '^(grpc|grpcpp|grpc\+\+)/|\.grpc\.pb\.h$' \
  '^(peer/|include/nodetrail/peer/|agent/(ship|enrol)/|collector/(ingest|query|enrol)/|collector/[^/]+\.(cc|h)$|cli/|tests/)'
uses "spdlog: only the log" '^spdlog/' '^base/log\.cc$'
uses "yaml-cpp: only the configuration" '^yaml-cpp/' '^base/yaml_tree\.cc$'
uses "libcurl: only what asks witnesses" '^curl/' '^(collector/witness/|tests/)'
uses "SQLite: only the index" '^sqlite3\.h$' '^(collector/index/|tests/)'

# 4. /proc, read as a file: who may look at other processes by themselves.
found=$(git grep -nIE '"/proc(/|")' -- '*.cc' '*.h' ':!*_test.cc' ':!tests/' ':!*_bench.cc' |
  grep -vE '"/proc/sys/|^(agent/attribute/proc_reader|agent/enrich/|agent/capture/|agent/redact/|agent/[^/]+\.(cc|h):|cli/doctor|collector/health/|agent/health/)' || true)
[[ -z $found ]] || {
  failed=1
  printf '/proc is read by attribute/proc_reader, enrich, capture, the composition root and doctor alone:\n%s\n' "$found"
}

# 5. What a library links.
while read -r file; do
  if sed 's/#.*//' "$file" | grep -nE 'LIBBPF|gRPC|nt_proto_grpc'; then
    failed=1
    echo "$file: the trail links neither libbpf nor gRPC"
  fi
done < <(git ls-files 'trail/**CMakeLists.txt' trail/CMakeLists.txt | sort -u)

exit "$failed"

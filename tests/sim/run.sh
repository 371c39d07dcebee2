#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Simulated worlds, three ways: many of them must keep every invariant, every
# planted bug must be found, and equal seeds must be equal worlds. With
# --verifiers the trails of some worlds are judged by both verifiers.
# usage: run.sh NT_SIM [--seeds N] [--first N] [--verifiers NT_MAKE_TRAILS]
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
sim=$(realpath "$1")
shift
seeds=200 first=1 make_trails=
while (($#)); do
  case $1 in
    --seeds) seeds=$2 ;;
    --first) first=$2 ;;
    --verifiers) make_trails=$(realpath "$2") ;;
    *)
      echo "run.sh: $1?" >&2
      exit 64
      ;;
  esac
  shift 2
done
work=$(mktemp -d "${TMPDIR:-/tmp}/nodetrail-sim.XXXXXX")
trap 'rm -rf "$work"' EXIT

for seed in 1 2 3; do
  "$sim" --seed "$seed" >"$work/a" 2>"$work/log" && "$sim" --seed "$seed" >"$work/b" 2>"$work/log"
  cmp "$work/a" "$work/b"
done
echo "equal seeds, equal worlds"
"$sim" --planted-bugs --seeds 1000 --jobs "$(nproc)" 2>"$work/log"
"$sim" --seeds "$seeds" --first "$first" --jobs "$(nproc)" 2>"$work/log"
[[ $make_trails ]] || exit 0

"$sim" --seeds 100 --first "$first" --keep "$work/kept" >"$work/out" 2>"$work/log"
cd "$root/verifier"
if [[ ! -e node_modules/.package-lock.json || package-lock.json -nt node_modules/.package-lock.json ]]; then
  npm ci --no-audit --no-fund
fi
npm run --silent build
"$make_trails" --verify "$work/kept" >"$work/kept/cpp.jsonl"
node "$root/tests/verifiers/batch.mjs" "$work/kept" >"$work/kept/batch"
node dist/src/cli.js --batch "$work/kept/batch" >"$work/kept/ts.jsonl"
node "$root/tests/verifiers/compare.mjs" "$work/kept" covered declared_lost stopped | tail -3

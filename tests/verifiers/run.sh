#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Two verifiers, one verdict: builds the one in TypeScript, runs its tests,
# makes good and damaged trails, and compares exit code and first bad batch.
# usage: run.sh NT_MAKE_TRAILS [--mutations N] [--seed N]
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
make_trails=$(realpath "$1")
shift
mutations=200 seed=1
while (($#)); do
  case $1 in
    --mutations) mutations=$2 ;;
    --seed) seed=$2 ;;
    *)
      echo "run.sh: $1?" >&2
      exit 64
      ;;
  esac
  shift 2
done

cd "$root/verifier"
# Again only if the lock file is newer than what is installed.
if [[ ! -e node_modules/.package-lock.json || package-lock.json -nt node_modules/.package-lock.json ]]; then
  npm ci --no-audit --no-fund
fi
npm test

work=$(mktemp -d "${TMPDIR:-/tmp}/nodetrail-verifiers.XXXXXX")
trap 'rm -rf "$work"' EXIT
"$make_trails" "$work" --seed "$seed" --mutations "$mutations"
"$make_trails" --verify "$work/cases.tsv" >"$work/cpp.tsv"
awk -F'\t' -v OFS='\t' '{ print $4, "--ca", $5, "--log-key", $6, ($7 == "-" ? "" : "--prior\t" $7) }' \
  "$work/cases.tsv" | sed 's/\t$//' >"$work/batch"
node dist/src/cli.js --batch "$work/batch" >"$work/ts.json"
node "$root/tests/verifiers/compare.mjs" "$work"

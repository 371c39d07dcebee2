#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Two verifiers, one verdict: builds the one in TypeScript, runs its tests,
# makes good and damaged trails and bundles, and compares exit code, first bad
# batch, reason, and the intervals of each agent's time.
# usage: run.sh NT_MAKE_TRAILS [--mutations N] [--seed N] [--large MEGABYTES]
#   --large   also measures the second verifier on one trail of this size
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
make_trails=$(realpath "$1")
shift
mutations=1000 seed=1 large=0
while (($#)); do
  case $1 in
    --mutations) mutations=$2 ;;
    --seed) seed=$2 ;;
    --large) large=$2 ;;
    *)
      echo "run.sh: $1?" >&2
      exit 64
      ;;
  esac
  shift 2
done
for tool in node npm; do
  command -v "$tool" >/dev/null && continue
  echo "run.sh: no $tool; the second verifier can't be tried. Install nodejs and npm (packaging/ci-deps.txt)." >&2
  exit 1
done

cd "$root/verifier"
# Again only if the lock file is newer than what is installed.
if [[ ! -e node_modules/.package-lock.json || package-lock.json -nt node_modules/.package-lock.json ]]; then
  npm ci --no-audit --no-fund
fi
npm test

# The numbers that a reader needs are in the document; they are the schema's.
# shellcheck disable=SC2016 # backquotes of Markdown
diff <("$make_trails" --fields) <(sed -n '/^```fields$/,/^```$/{/^```/!p}' "$root/docs/trail-format.md") || {
  echo "run.sh: docs/trail-format.md lists other fields than the schema has" >&2
  exit 1
}

work=$(mktemp -d "${TMPDIR:-/tmp}/nodetrail-verifiers.XXXXXX")
trap 'rm -rf "$work"' EXIT
digest() { (cd "$1" && find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum); }
for copy in corpus again; do "$make_trails" "$work/$copy" --seed "$seed" --mutations "$mutations"; done
echo "corpus of seed $seed: $(digest "$work/corpus")"
[[ $(digest "$work/corpus") == "$(digest "$work/again")" ]] || {
  echo "run.sh: the same seed made another corpus" >&2
  diff -rq "$work/corpus" "$work/again" | head >&2
  exit 1
}
rm -rf "$work/again"

"$make_trails" --verify "$work/corpus" >"$work/cpp.jsonl"
node "$root/tests/verifiers/batch.mjs" "$work/corpus" >"$work/batch"
node dist/src/cli.js --batch "$work/batch" >"$work/ts.jsonl"
mv "$work/corpus/cases.jsonl" "$work/"
node "$root/tests/verifiers/compare.mjs" "$work" covered declared_lost retired silent stopped unexplained
# It sees each field of coverage that is another.
mv "$work/ts.jsonl" "$work/ts.whole"
for field in tenant agent batches events holes covered intervals kind from to seconds intervals_dropped; do
  cp "$work/ts.whole" "$work/ts.jsonl"
  node "$root/tests/verifiers/alter.mjs" "$work" "$field"
  # Not in a pipe: grep -q would end it early.
  seen=$(node "$root/tests/verifiers/compare.mjs" "$work" 2>&1) || true
  [[ $seen == *"COVERAGE DIFFERS"*"; 1 failed" ]] || {
    echo "run.sh: the comparison does not see another $field" >&2
    exit 1
  }
done
echo "the comparison sees each of 12 fields of coverage that was altered"

if ((large > 0)); then
  "$make_trails" --large "$work/large" --megabytes "$large"
  TIMEFORMAT="the second verifier on $large MB: %R s, %U s of CPU"
  # Memory may grow with the number of leaves (100 bytes each), not with what they hold.
  time node --max-old-space-size=96 dist/src/cli.js "$work/large" --ca "$work/large.ca.pem" --log-key "$work/large.log.key"
fi

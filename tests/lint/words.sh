#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# usage: words.sh ROOT      what must not be in the tree: notes of unfinished
#                           work, sleeping tests, skips without a reason, throw
set -euo pipefail
cd "$1"
failed=0

# complain WHAT PATTERN PATHSPEC…; lines with "lint: allow" and this file are left out
complain() {
  local what=$1 pattern=$2 found
  shift 2
  found=$(git grep -nIE -e "$pattern" -- "$@" ':!tests/lint/') || {
    (($? == 1)) && return 0 # nothing found; above 1 is trouble
    failed=1
    return 0
  }
  found=$(grep -v 'lint: allow' <<<"$found" || true)
  [[ -n $found ]] || return 0
  failed=1
  printf '%s:\n%s\n' "$what" "$found"
}

complain "unfinished work; do it, or say in the documentation that it isn't there" \
  '\b(TODO|FIXME|XXX|HACK)\b' . ':!LICENSE'
complain "a key or a secret" '-----BEGIN ([A-Z]+ )?PRIVATE KEY-----' . ':!*_test.cc'
complain "we don't throw; return a Status" '\bthrow\b[^;]*;' '*.cc' '*.h'
complain "a test that sleeps; wait on a condition with a deadline" \
  '\b(sleep_for|sleep_until|usleep|[^o]sleep) ?\(' '*_test.cc'
complain "a test that skips without saying why" 'GTEST_SKIP\(\) *;' '*.cc'
exit "$failed"

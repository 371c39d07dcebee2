#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# usage: format.sh ROOT     C++ is formatted as .clang-format says
set -euo pipefail
cd "$1"
mapfile -t files < <(git ls-files '*.cc' '*.h' | grep -vE '^(bpf|include/nodetrail/abi|tests/workloads)/')
bad=$(clang-format-14 --dry-run --ferror-limit=1 "${files[@]}" 2>&1 | sed -nE 's/^([^: ]+\.(cc|h)):[0-9]+:[0-9]+: .*/\1/p' | sort -u || true)
[[ -z $bad ]] || {
  echo "not formatted; ./dev fmt mends it:"
  printf '%s\n' "$bad"
  exit 1
}

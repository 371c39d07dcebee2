#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# usage: tidy.sh ROOT [FILE…]   clang-tidy by .clang-tidy, on the given or on all
#                               C++ sources; needs build/clang to be built
set -euo pipefail
cd "$1"
shift
db=build/clang
[[ -s $db/compile_commands.json ]] || {
  echo "no $db/compile_commands.json; ./dev build clang first"
  exit 1
}
if (($#)); then files=("$@"); else mapfile -t files < <(git ls-files '*.cc' | grep -vE '^tests/|_(test|bench|fuzzer)\.cc$'); fi
printf '%s\n' "${files[@]}" | xargs -P "$(nproc)" -n 4 clang-tidy-14 -p "$db" --quiet 2>/dev/null

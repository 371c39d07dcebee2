#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# usage: tidy.sh ROOT [FILE…]   clang-tidy by .clang-tidy, on the given or on all C++ sources
#
# Needs no build: it configures build/clang and makes only the generated headers.
# Tests, benchmarks and fuzzers are left out: GoogleTest's macros take most of the
# time and the findings are in the macros. Generated code isn't ours to change.
set -euo pipefail
cd "$1"
shift
export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=1
db=build/clang
mkdir -p build/log
log=build/log/tidy-prepare.log
prepare() {
  cmake --preset clang || return
  local headers
  mapfile -t headers < <(ninja -C "$db" -t targets rule CUSTOM_COMMAND | grep -E '^proto/.*\.pb\.h$')
  ninja -C "$db" nt_bpf_skeleton "${headers[@]}"
}
prepare >"$log" 2>&1 || {
  tail -n 25 "$log"
  exit 1
}
# The slow ones, which include gRPC or JSON, come first, so that no core idles at the end.
if (($#)); then files=("$@"); else
  mapfile -t files < <(git ls-files 'cli/*.cc' 'collector/*.cc' && git ls-files '*.cc' ':!cli' ':!collector')
  mapfile -t files < <(printf '%s\n' "${files[@]}" | grep -vE '^tests/|_(test|bench|fuzzer)\.cc$')
fi
# On stderr is only how many findings are in system headers, and why it could not run.
printf '%s\n' "${files[@]}" | xargs -P "$(nproc)" -n 1 clang-tidy-14 -p "$db" --quiet \
  2> >(grep -vE '^[0-9]+ warnings? generated\.$' >&2)

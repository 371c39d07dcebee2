#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Measures per-syscall tracepoints against tp_btf/sys_exit (docs/adr/0002).
# Usage: tests/bench/hooks.sh [BUILD_DIR] [--rounds N] [--scale PERCENT]
set -eu
cd "$(dirname "$0")/../.."
build=build/release
[ -x "$build/bin/nt_hooks_bench" ] || build=build/dev
case "${1:-}" in -*|"") ;; *) build=$1; shift ;; esac
bench=$build/bin/nt_hooks_bench
[ -x "$bench" ] || { echo "$bench is not built: ninja -C $build nt_hooks_bench" >&2; exit 2; }
[ "$(id -u)" = 0 ] || { echo "needs root, to attach probes" >&2; exit 3; }
echo "load before: $(cut -d' ' -f1-3 /proc/loadavg) on $(nproc) CPUs (ratios only; best on a quiet machine)"
exec "$bench" "$@"

# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# ./dev build, test, bench, fmt, lint, docs, package, clean.
# shellcheck disable=SC2154

verb_build() { build "${1:-dev}" "${@:2}"; }

run_ctest() { # PRESET ARGS…
  local preset=$1
  shift
  ctest --test-dir "build/$preset" --output-on-failure --no-tests=error "$@"
}

# Why the root tier can't run here; empty if it can.
root_tier_obstacle() {
  if ((EUID != 0)); then
    echo "not root"
  elif [[ ! -r /sys/kernel/btf/vmlinux ]]; then
    echo "no BTF: /sys/kernel/btf/vmlinux is missing (the kernel needs CONFIG_DEBUG_INFO_BTF)"
  fi
}

verb_test() {
  build dev
  local obstacle
  obstacle=$(root_tier_obstacle)
  if [[ -z $obstacle ]]; then
    ensure_tracefs
    say "unit, attacks, root and e2e tiers"
    # One run, one summary. Root and e2e tests measure and count: they are RUN_SERIAL. `test-fault` has its own run.
    run_ctest dev -LE '^fault$' -j"$(nproc)" --output-junit "$root/build/log/junit.xml" "$@"
    return
  fi
  say "root and e2e tiers can't run: $obstacle"
  if [[ ${NODETRAIL_ALLOW_NO_ROOT_TESTS:-} == 1 ]]; then
    note "left out, as NODETRAIL_ALLOW_NO_ROOT_TESTS=1 asks"
    run_ctest dev -L '^(unit|attacks)$' -j"$(nproc)" "$@"
    return
  fi
  run_ctest dev -L '^(unit|attacks)$' -j"$(nproc)" "$@" || true
  die "root and e2e tiers not run: $obstacle (NODETRAIL_ALLOW_NO_ROOT_TESTS=1 lets this pass)"
}

verb_tier() { # TIER CTEST ARGS…
  local tier=$1 obstacle
  shift
  build dev
  if [[ $tier != unit ]]; then
    obstacle=$(root_tier_obstacle)
    [[ -z $obstacle ]] || die "the $tier tier can't run: $obstacle"
    ensure_tracefs
    run_ctest dev -L "^$tier\$" "$@"
  else
    run_ctest dev -L '^unit$' -j"$(nproc)" "$@"
  fi
}

# The long run; `./dev test` has a short one.
verb_test_sim() { # [--seeds N] [--first N]
  install_packages packaging/build-deps.txt packaging/ci-deps.txt
  build dev nt_sim nt_make_trails
  tests/sim/run.sh "$root/build/dev/bin/nt_sim" --seeds 10000 --verifiers "$root/build/dev/bin/nt_make_trails" "$@"
}

verb_test_attacks() { # [ROW…] | --markdown
  if [[ ${1:-} == --markdown ]]; then
    build dev nt_attack_test >&2
    build/dev/bin/nt_attack_test --markdown
    return
  fi
  build dev nt_attack_test nt_attack_mutant
  build/dev/bin/nt_attack_test --prove "$@" || die "not every attack is found as the table says"
  build/dev/bin/nt_attack_test --check || die "the table of attacks is not in order"
}

verb_test_verifiers() { # [--mutations N] [--seed N]
  install_packages packaging/build-deps.txt packaging/ci-deps.txt
  build dev nt_make_trails
  tests/verifiers/run.sh "$root/build/dev/bin/nt_make_trails" "$@"
}

verb_sanitize() { # asan|tsan CTEST ARGS…
  local preset=${1:-}
  [[ $preset == asan || $preset == tsan ]] || misuse "sanitize asan, or sanitize tsan"
  shift
  build "$preset" unit_tests
  export TSAN_OPTIONS="suppressions=$root/tests/tsan.supp ignore_noninstrumented_modules=1 ${TSAN_OPTIONS:-}"
  # Lint and documents are the same whatever compiles the programs; of two verifiers one isn't
  # compiled at all, and the fuzzers ask the other for the same. The others can't be
  # asked here: the sanitizer's runtime must be loaded before what they preload, needs
  # memory that they measure, or descriptors that they use up. In one thread alone there is no race.
  local without='^(lint|docs)\.|^verifiers$|WitnessDaemon\.(TheRecordIsDurable|KilledAtEvery)|Row14StartsIn|Row17NoFile'
  [[ $preset == asan ]] || without+='|SearchTest\.(EveryField|RandomQueries)|BundleTest\.NoByteIsWithoutMeaning|CorpusTest\.'
  run_ctest "$preset" -L '^unit$' -E "$without" -j"$(nproc)" --timeout 300 "$@"
}

bench_names() {
  git grep -hoE 'nt_program\(nt_[a-z_]+_bench' -- '*CMakeLists.txt' '*.cmake' | sed -E 's/nt_program\(nt_(.*)_bench/\1/' | sort -u
}

verb_bench() {
  local name=${1:-}
  { [[ -n $name ]] && grep -qx "$name" <<<"$(bench_names)"; } || misuse "bench NAME; there are: $(bench_names | tr '\n' ' ')"
  [[ $name != hooks ]] || need_root bench "$@" # it attaches probes
  shift
  if [[ $name == trail && $# == 0 ]]; then
    record_build
    set -- "$recording/trail"
  fi
  build bench "nt_${name}_bench"
  note "load before: $(cut -d' ' -f1-3 /proc/loadavg) on $(nproc) CPUs; best on a quiet machine"
  "build/bench/bin/nt_${name}_bench" "$@"
}

cxx_files() { git ls-files '*.cc' '*.h' | grep -vE '^(bpf|include/nodetrail/abi|tests/workloads)/'; }

verb_fmt() {
  install_packages packaging/ci-deps.txt
  cxx_files | xargs -r clang-format-14 -i
}

verb_lint() {
  install_packages packaging/ci-deps.txt
  local checks=("$@") check failed=''
  ((${#checks[@]})) || checks=(format layers licence words sizes shell)
  for check in "${checks[@]}"; do
    [[ -x tests/lint/$check.sh ]] || misuse "no check '$check'; there are: $(lint_names)"
    say "lint: $check"
    "tests/lint/$check.sh" "$root" || failed+=" $check"
  done
  [[ -z $failed ]] || die "lint failed:$failed"
}

lint_names() {
  local file
  for file in tests/lint/*.sh; do basename "$file" .sh; done | grep -v '^selftest$' | tr '\n' ' '
}

verb_docs() {
  build dev nt_docgen
  build/dev/bin/nt_docgen build/dev/docs/gen/schema.pb --write docs
}

verb_package() {
  install_packages packaging/ci-deps.txt
  build release
  say "packing"
  rm -rf build/release/packages
  quietly build/log/cpack.log cpack --config build/release/CPackConfig.cmake -G DEB -B build/release/packages
  rm -rf build/release/packages/_CPack_Packages
  say "lintian"
  lintian --allow-root --fail-on error,warning --suppress-tags-from-file packaging/deb/lintian-suppressed \
    build/release/packages/*.deb
  ls -l build/release/packages/*.deb
}

verb_clean() {
  rm -rf build
  note "run/ is kept (the trail of ./dev up); remove it by hand if you like, after ./dev down"
}

# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# ./dev build, test, fuzz, bench, fmt, lint, docs, package, clean.
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
  # Lint and documents are the same whatever compiles the programs. The others can't be
  # asked here: the sanitizer's runtime must be loaded before what they preload, needs
  # memory that they measure, or descriptors that they use up.
  local without='^(lint|docs)\.|WitnessDaemon\.(TheRecordIsDurable|KilledAtEvery)|Row14StartsIn|Row17NoFile'
  run_ctest "$preset" -L '^unit$' -E "$without" -j"$(nproc)" --timeout 300 "$@"
}

verb_fuzz() {
  local name=${1:-} runs=1000000 seconds=0 coverage=''
  [[ $name != --list ]] || {
    fuzzer_names
    return
  }
  [[ -n $name && $name != -* ]] || misuse "fuzz NAME; there are: $(fuzzer_names | tr '\n' ' ')"
  shift
  while (($#)); do
    case $1 in
      --runs | --seconds)
        [[ ${2:-} =~ ^[0-9]+$ ]] || misuse "$1 needs a number"
        [[ $1 == --runs ]] && runs=$2 || seconds=$2
        shift
        ;;
      --coverage) coverage=1 ;;
      *) misuse "fuzz: unknown option $1" ;;
    esac
    shift
  done
  grep -qx "$name" <<<"$(fuzzer_names)" || misuse "no fuzzer '$name'; there are: $(fuzzer_names | tr '\n' ' ')"
  build fuzz "nt_${name}_fuzzer"
  local found=build/fuzz/corpus/$name crashes=build/fuzz/crashes/$name
  mkdir -p "$found" "$crashes"
  say "fuzzing $name: $runs runs"
  local options=(-runs="$runs" -artifact_prefix="$crashes/" -print_final_stats=1 -timeout=10 -rss_limit_mb=2048 -verbosity=1)
  ((seconds == 0)) || options+=(-max_total_time="$seconds")
  # What is new goes to the first folder; the corpus of the repository is only read.
  local corpora=("$found")
  [[ ! -d tests/fuzz/corpus/$name ]] || corpora+=("tests/fuzz/corpus/$name")
  if ! "build/fuzz/bin/nt_${name}_fuzzer" "${options[@]}" "${corpora[@]}" 2>&1 |
    tee "build/log/fuzz-$name.log" | grep -E 'ERROR|SUMMARY|stat::|Done|panic|invariant|#[0-9]+.*(pulse|DONE)' >&2; then
    tail -n 40 "build/log/fuzz-$name.log" >&2
    die "fuzzing $name found something: $crashes (whole log: build/log/fuzz-$name.log)"
  fi
  [[ -z $coverage ]] || fuzz_coverage "$name" "${corpora[@]}"
}

fuzzer_names() {
  grep -rhoE 'nt_fuzzer\(nt_[a-z_]+_fuzzer' --include=CMakeLists.txt --include='*.cmake' \
    agent base collector witness cli proto schema trail 2>/dev/null | sed -E 's/nt_fuzzer\(nt_(.*)_fuzzer/\1/' | sort -u
}

# The line coverage of the parser's own files by the corpora.
fuzz_coverage() { # NAME CORPUS…
  local name=$1 dir=build/coverage/fuzz
  shift
  build coverage "nt_${name}_fuzzer"
  mkdir -p "$dir"
  LLVM_PROFILE_FILE=$dir/$name.profraw "build/coverage/bin/nt_${name}_fuzzer" -runs=0 "$@" >/dev/null 2>&1 ||
    die "the coverage build of the $name fuzzer failed on the corpus"
  llvm-profdata-14 merge -sparse "$dir/$name.profraw" -o "$dir/$name.profdata"
  # By the end of the path: ccache may have made the recorded one relative.
  llvm-cov-14 report "build/coverage/bin/nt_${name}_fuzzer" -instr-profile="$dir/$name.profdata" >"$dir/$name.txt"
  fuzzed_sources "$name" | awk -v name="$name" '
    NR == FNR { want[$1] = 1; next }
    { for (f in want) if (substr($1, length($1) - length(f) + 1) == f) {
        lines += $8; missed += $9; printf "  %-40s %5d lines, %5.1f %%\n", f, $8, 100 * ($8 - $9) / $8 } }
    END { covered = lines ? 100 * (lines - missed) / lines : 0
          printf "fuzz %s: line coverage of the parser %.1f %%\n", name, covered; exit covered < 85 }' - "$dir/$name.txt" ||
    die "less than 85 % of the lines of the $name parser"
}

fuzzed_sources() { # NAME: the files whose coverage counts
  case $1 in
    config) printf '%s\n' base/config_loader.cc base/yaml_tree.cc ;;
    decoder) find agent/decode -name '*.cc' ! -name '*_test.cc' ! -name '*_fuzzer.cc' ;;
    header) printf '%s\n' trail/leaf.cc trail/wire.cc ;;
    note) printf '%s\n' trail/note.cc ;;
    redact) find agent/redact -name '*.cc' ! -name 'corpus.cc' ! -name '*_test.cc' ! -name '*_fuzzer.cc' ;;
    spool) printf '%s\n' agent/spool/record_format.cc agent/spool/segment_scanner.cc ;;
    tile) printf '%s\n' trail/tile.cc ;;
    witness_request) printf '%s\n' witness/core.cc witness/http.cc ;;
    *) find . -path ./build -prune -o -name "${1}.cc" -print ;;
  esac
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

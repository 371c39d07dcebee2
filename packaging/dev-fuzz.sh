# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# ./dev fuzz. Sourced with $root set, after dev-lib.sh.
# shellcheck disable=SC2154

# Of the lines of each parser, by the committed seeds.
min_coverage=85

fuzzer_names() {
  git grep -hoE 'nt_fuzzer\(nt_[a-z_]+_fuzzer' -- '*CMakeLists.txt' '*.cmake' |
    sed -E 's/nt_fuzzer\(nt_(.*)_fuzzer/\1/' | sort -u
}

verb_fuzz() {
  local names=() known runs=1000000 seconds=0 coverage='' json=''
  mapfile -t known < <(fuzzer_names)
  while (($#)); do
    case $1 in
      --list)
        printf '%s\n' "${known[@]}"
        return
        ;;
      --all) names=("${known[@]}") ;;
      --runs | --seconds)
        [[ ${2:-} =~ ^[0-9]+$ ]] || misuse "$1 needs a number"
        [[ $1 == --runs ]] && runs=$2 || seconds=$2
        shift
        ;;
      --coverage) coverage=1 ;;
      --json)
        [[ -n ${2:-} ]] || misuse "--json needs a file"
        json=$2
        shift
        ;;
      -*) misuse "fuzz: unknown option $1" ;;
      *)
        grep -qxF -- "$1" <(printf '%s\n' "${known[@]}") || misuse "no fuzzer '$1'; there are: ${known[*]}"
        names+=("$1")
        ;;
    esac
    shift
  done
  ((${#names[@]})) || misuse "fuzz NAME…, or --all; there are: ${known[*]}"

  local targets=("${names[@]/#/nt_}") name failed=''
  targets=("${targets[@]/%/_fuzzer}")
  build fuzz "${targets[@]}"
  if [[ -n $coverage ]]; then
    targets=("${known[@]/#/nt_}")
    build coverage "${targets[@]/%/_fuzzer}"
  fi
  local results
  results=$(mktemp build/log/fuzz.XXXXXX)
  for name in "${names[@]}"; do
    fuzz_one "$name" "$runs" "$seconds" "$coverage" >>"$results"
  done
  fuzz_table <"$results"
  [[ -z $json ]] || fuzz_json <"$results" >"$json"
  failed=$(awk -F'\t' '$5 > 0 { print $1 }' "$results" | tr '\n' ' ')
  [[ -z $failed ]] || die "findings, in build/fuzz/crashes/ and build/log/fuzz-NAME.log, of: $failed"
  failed=$(awk -F'\t' -v min=$min_coverage '$6 != "-" && $6 < min { print $1 }' "$results" | tr '\n' ' ')
  rm -f "$results"
  [[ -z $failed ]] || die "the seeds reach less than $min_coverage % of the lines of a parser of: $failed"
}

count_files() { find "$@" -type f 2>/dev/null | wc -l; }

# One line: name, runs, seconds, corpus size, findings, coverage in percent or "-".
fuzz_one() { # NAME RUNS SECONDS COVERAGE
  local name=$1 runs=$2 seconds=$3 log=build/log/fuzz-$1.log covered=-
  local found=build/fuzz/corpus/$name crashes=build/fuzz/crashes/$name
  mkdir -p "$found" "$crashes"
  say "fuzzing $name: $runs runs$( ((seconds == 0)) || echo ", at most $seconds s")"
  local options=(-runs="$runs" -artifact_prefix="$crashes/" -print_final_stats=1 -timeout=10 -rss_limit_mb=2048 -verbosity=1)
  ((seconds == 0)) || options+=(-max_total_time="$seconds")
  local before start=$SECONDS findings
  before=$(count_files "$crashes")
  # What is new goes to the first folder; the corpus of the repository is only read.
  if "build/fuzz/bin/nt_${name}_fuzzer" "${options[@]}" "$found" "tests/fuzz/corpus/$name" >"$log" 2>&1; then
    findings=$(($(count_files "$crashes") - before))
  else
    findings=$(($(count_files "$crashes") - before))
    ((findings)) || findings=1
    tail -n 40 "$log" >&2
  fi
  local took=$((SECONDS - start)) executed
  executed=$(awk '/^stat::number_of_executed_units:/ { n = $2 } END { print n + 0 }' "$log")
  [[ -z $4 ]] || covered=$(fuzz_coverage "$name")
  printf '%s\t%d\t%d\t%d\t%d\t%s\n' "$name" "$executed" "$took" \
    "$(count_files "$found" "tests/fuzz/corpus/$name")" "$findings" "$covered"
}

# The percentage of its lines that the committed seeds reach of the parser that they
# reach least of; those of all of its parsers to stderr. With the seeds of the other
# fuzzers that aim at one of the same files: what one is there for another need not do.
fuzz_coverage() { # NAME
  local name=$1 dir=build/coverage/fuzz with objects=() profiles=() log
  mkdir -p "$dir"
  while read -r with; do
    with=$(basename "$with")
    log=$dir/$with.log
    LLVM_PROFILE_FILE=$dir/$with.profraw "build/coverage/bin/nt_${with}_fuzzer" -runs=0 "tests/fuzz/corpus/$with" \
      >"$log" 2>&1 || die "the coverage build of the $with fuzzer fails on the seeds ($log)"
    objects+=(-object "build/coverage/bin/nt_${with}_fuzzer")
    profiles+=("$dir/$with.profraw")
  done < <(grep -lxFf "build/coverage/fuzzers/$name" build/coverage/fuzzers/*)
  llvm-profdata-14 merge -sparse "${profiles[@]}" -o "$dir/$name.profdata"
  llvm-cov-14 report "${objects[@]}" -instr-profile="$dir/$name.profdata" >"$dir/$name.txt"
  # By the end of the path: ccache may have made the recorded one relative.
  awk '
    NR == FNR { want[$1] = 1; ++files; next }
    { for (f in want) if (substr($1, length($1) - length(f) + 1) == f) {
        reached = 100 * ($8 - $9) / $8
        if (!seen++ || reached < least) least = reached
        printf "    %-36s %5d lines, %5.1f %%\n", f, $8, reached >"/dev/stderr" } }
    END { if (seen != files) print "a parser is not in the coverage report" >"/dev/stderr"
          printf "%.1f", seen == files ? least : 0 }' \
    "build/coverage/fuzzers/$name" "$dir/$name.txt"
}

fuzz_table() {
  awk -F'\t' '
    BEGIN { printf "%-18s %10s %8s %8s %9s %9s\n", "fuzzer", "runs", "seconds", "corpus", "findings", "reached" }
    { printf "%-18s %10d %8d %8d %9d %9s\n", $1, $2, $3, $4, $5, $6 == "-" ? "-" : $6 " %" }'
}

fuzz_json() {
  awk -F'\t' '
    { printf "%s{\"fuzzer\": \"%s\", \"runs\": %d, \"seconds\": %d, \"corpus\": %d, \"findings\": %d, \"line_coverage_percent\": %s}",
        NR == 1 ? "[\n" : ",\n", $1, $2, $3, $4, $5, $6 == "-" ? "null" : $6 }
    END { print "\n]" }'
}

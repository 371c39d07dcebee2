# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# ./dev test-kernel: the ground-truth tests on other kernels.
# shellcheck disable=SC2154

# What tests rings, scopes and options is the same on every kernel, and loads
# the probes again for each test: that takes minutes in emulation.
readonly guest_filter='*-PlumbingTest.*:StormTest.*:TamperTest.SignalsToOtherUsers*:TamperTest.WhoHides*:TamperTest.ALink*:TamperTest.HooksThat*'

verb_test_kernel() { # [KERNEL…] [--hooks MODE] [--filter GTEST_FILTER] [--json FILE] [--write-docs] [--write-insns]
  local cpus=1 kernels=() modes=(per_syscall sys_exit) filter=$guest_filter json=$root/build/log/kernel.json docs=() insns=''
  # shellcheck source=tests/guest/lib.sh
  . tests/guest/lib.sh
  while (($#)); do
    case $1 in
      --hooks | --filter | --json)
        [[ -n ${2:-} ]] || misuse "$1 needs a value"
        case $1 in
          --hooks) modes=("$2") ;;
          --filter) filter=$2 ;;
          --json) json=$2 ;;
        esac
        shift
        ;;
      --write-docs) docs+=(--docs docs/kernel-support.md) ;;
      --write-insns)
        docs+=(--insns bpf/insns.tsv)
        insns=1
        ;;
      -*) misuse "test-kernel: unknown option $1" ;;
      *)
        guest_kernels | grep -q "^$1 " || misuse "no kernel '$1'; there are: $(guest_kernels | awk '{printf "%s ", $1}')"
        kernels+=("$1")
        ;;
    esac
    shift
  done
  [[ ${modes[*]} =~ ^(per_syscall|sys_exit|per_syscall sys_exit)$ ]] || misuse "--hooks per_syscall, or --hooks sys_exit"
  if ((${#kernels[@]} == 0)); then
    mapfile -t kernels < <(guest_kernels | awk '{print $1}')
  elif ((${#docs[@]})); then
    misuse "--write-docs and --write-insns are for a run of all kernels"
  fi
  if [[ -n $insns ]]; then
    ((${#modes[@]} == 2)) || misuse "--write-insns is for both kinds of hooks"
    # With one CPU the verifier walks less: tables are smaller.
    cpus=2
    # Alone it needs the one test only.
    ((${#docs[@]} > 2)) || filter='VerifierTest.*'
  fi
  install_packages packaging/build-deps.txt packaging/guest-deps.txt
  build dev nt_root_test nt_workload
  say "kernels"
  guest_apt_update
  local kernel mode vmlinuz jobs=() out=$root/build/log/kernel
  rm -rf "$out"
  mkdir -p "$out"
  for kernel in "${kernels[@]}"; do
    vmlinuz=$(guest_kernel "$kernel")
    note "$kernel: $(basename "$(dirname "$vmlinuz")")"
    for mode in "${modes[@]}"; do jobs+=("$kernel $mode $vmlinuz"); done
  done
  local program=$root/build/dev/bin/nt_root_test
  guest_image "$out/image.cpio" tests/guest/root_tier.sh "$program" "$root/build/dev/bin/nt_workload" "$root/bpf/insns.tsv"
  say "ground truth in ${#jobs[@]} guests"
  local job running=0
  for job in "${jobs[@]}"; do
    read -r kernel mode vmlinuz <<<"$job"
    (
      begun=$SECONDS
      code=0
      expect=$(guest_kernels | awk -v n="$kernel" '$1 == n {print $3}')
      [[ $expect == works ]] || filter=ProcessTest.ExecTellsProgramArgumentsAndPlace # one is enough to be refused
      GUEST_CPUS=$cpus GUEST_APPEND="NT_HOOKS=$mode NT_PROGRAM=$program NT_FILTER=$filter${insns:+ NT_UPDATE_INSNS=1}" \
        guest_boot "$vmlinuz" "$out/image.cpio" "$out/$kernel-$mode" 400 || code=$?
      printf '%s\t%s\t%s\t%s\t%s\n' "$kernel" "$mode" "$expect" "$code" "$((SECONDS - begun))" >"$out/$kernel-$mode.done"
      note "$kernel $mode: $((SECONDS - begun)) s"
    ) &
    if ((++running >= $(nproc))); then
      wait -n
      ((running--)) || true
    fi
  done
  wait
  rm -f "$out/image.cpio"
  cat "$out"/*.done >"$out/jobs.tsv"
  node tests/guest/kernel_table.mjs --dir "$out" --json "$json" "${docs[@]}" || die "not every kernel passes"
}

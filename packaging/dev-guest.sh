# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# ./dev test-guest: what needs a machine that may be harmed or copied.
# shellcheck disable=SC2154

# The packages of this tree under a real systemd, in a guest with Debian 12's
# kernel, with rows of the fault table; and a machine that is copied as it runs.
verb_test_guest() { # [--seconds N]
  local seconds=700 failed=0 out=$root/build/guest/systemd rows=$root/build/log/guest-rows.txt
  # shellcheck source=tests/guest/lib.sh
  . tests/guest/lib.sh
  # shellcheck source=tests/guest/clone.sh
  . tests/guest/clone.sh
  while (($#)); do
    case $1 in
      --seconds)
        [[ ${2:-} =~ ^[0-9]+$ ]] || misuse "--seconds needs a number"
        seconds=$2
        shift
        ;;
      *) misuse "test-guest: unknown option $1" ;;
    esac
    shift
  done
  need_root test-guest # chroot
  install_packages packaging/build-deps.txt packaging/ci-deps.txt packaging/guest-deps.txt
  build dev
  mkdir -p "$out"
  say "packages, and a Debian with them"
  rm -rf "$out"/packages
  quietly build/log/guest-cpack.log cpack --config build/dev/CPackConfig.cmake -G DEB -B "$out/packages" -D CPACK_STRIP_FILES=ON
  guest_apt_update
  local vmlinuz
  vmlinuz=$(guest_kernel 6.1)
  guest_debian_image "$out/image.cpio" tests/guest/systemd.sh "$out"/packages/*.deb
  say "a machine is copied as it runs; the services under systemd, in a guest"
  clone_stage "$vmlinuz" "$(dirname "$vmlinuz")/modules" "$root/build/guest/clone" >"$root/build/log/guest-clone.txt" 2>&1 &
  GUEST_MEMORY=2048 guest_boot "$vmlinuz" "$out/image.cpio" "$out/run" "$seconds" || failed=$?
  rm -f "$out/image.cpio"
  wait "$!" || ((++failed))
  tr -d '\r' <"$out/run.out" | cat - "$root/build/log/guest-clone.txt" | tee "$rows"
  ((failed == 0)) || die "not all does in a guest what it should (exit code $failed; consoles: $out/run.console, build/guest/clone)"
}

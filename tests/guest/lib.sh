# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# Guests: a Debian kernel, an initramfs of the given files, and QEMU in software
# emulation (never KVM: a guest must behave the same on every machine). Sourced
# with $root set; everything that is fetched stays in build/guest.
# shellcheck disable=SC2154

guest_dir=$root/build/guest
# The mirror of this machine, unless told.
guest_mirror=${NODETRAIL_DEBIAN_MIRROR:-$(apt-get indextargets --format "\$(REPO_URI)" 'Created-By: Packages' 'Label: Debian' | sort | sed -n 1p)}
guest_mirror=${guest_mirror%/}

# The kernels of the matrix: what a user says, the start of its version, and
# whether the probes are to work there or to say that the kernel is too old.
guest_kernels() {
  cat <<'EOF'
5.10 5.10. refused
6.1 6.1. works
6.12 6.12. works
6.18 6.18. works
newest - works
EOF
}

# apt with lists and a cache of its own: the machine's are left alone.
guest_apt() { # apt-get|apt-cache ARGS…
  local program=$1 apt=$guest_dir/apt
  shift
  "$program" -q -o Dir::State="$apt/state" -o Dir::State::Lists="$apt/lists" -o Dir::State::status="$apt/status" \
    -o Dir::Cache="$apt/cache" -o Dir::Etc::SourceList="$apt/sources.list" -o Dir::Etc::SourceParts=/dev/null \
    -o APT::Sandbox::User=root -o Acquire::Languages=none "$@"
}

guest_apt_update() {
  local apt=$guest_dir/apt suite
  # Half a day: a kernel that a mirror has withdrawn since is not fetched.
  [[ -z $(find "$apt/updated" -mmin -720 2>/dev/null) ]] || return 0
  mkdir -p "$apt"/{state,lists/partial,cache/archives/partial}
  : >"$apt/status"
  for suite in bullseye bookworm bookworm-backports trixie trixie-backports; do
    printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n' "$guest_mirror" "$suite"
  done >"$apt/sources.list"
  guest_apt apt-get update >"$apt/update.log" 2>&1 || {
    tail -n 5 "$apt/update.log" >&2
    die "Debian's package lists can't be fetched from $guest_mirror (NODETRAIL_DEBIAN_MIRROR names another mirror)"
  }
  touch "$apt/updated"
}

# The newest package with a kernel image of that version.
guest_kernel_package() { # PREFIX|-
  local prefix=$1
  # Since 6.19 the image is in linux-binary-*, and linux-image-* only depends on it.
  guest_apt apt-cache pkgnames | sed -nE 's/^linux-(image|binary)-([0-9].*)-cloud-amd64$/\2 \1/p' |
    awk -v p="$prefix" '(p == "-" || index($1, p) == 1) && !($1 in kind && kind[$1] == "binary") {kind[$1] = $2}
      END {for (v in kind) print v, kind[v]}' | sort -V | awk 'END {if (NR) print "linux-" $2 "-" $1 "-cloud-amd64"}'
}

# Prints the path of the kernel image; fetches it if it is not there. Beside it
# in modules/ is what a network card of QEMU's needs.
guest_kernel() { # NAME
  local name=$1 prefix package dir
  prefix=$(guest_kernels | awk -v n="$name" '$1 == n {print $2}')
  [[ -n $prefix ]] || die "no kernel '$name'; there are: $(guest_kernels | awk '{printf "%s ", $1}')"
  package=$(guest_kernel_package "$prefix")
  [[ -n $package ]] || die "$guest_mirror has no kernel package for $name"
  dir=$guest_dir/kernel/$package
  if [[ ! -s $dir/vmlinuz || ! -d $dir/modules ]]; then
    rm -rf "$dir"
    mkdir -p "$dir/deb"
    (cd "$dir/deb" && guest_apt apt-get download "$package" >"$dir/fetch.log" 2>&1) || {
      tail -n 5 "$dir/fetch.log" >&2
      die "$package can't be fetched"
    }
    dpkg-deb -x "$dir"/deb/*.deb "$dir/root"
    # In /boot, or with the modules since 7.1.
    find "$dir/root" -type f -name 'vmlinuz*' -exec cp {} "$dir/vmlinuz.new" \;
    mkdir -p "$dir/modules"
    find "$dir/root" -type f -regex '.*/\(virtio\|virtio_ring\|virtio_pci.*\|failover\|net_failover\|virtio_net\)\.ko' \
      -exec cp {} "$dir/modules" \;
    rm -rf "$dir/deb" "$dir/root"
    [[ -s $dir/vmlinuz.new ]] || die "$package has no kernel image"
    mv "$dir/vmlinuz.new" "$dir/vmlinuz"
  fi
  printf '%s\n' "$dir/vmlinuz"
}

# An initramfs of busybox, the programs with the libraries they load, and an
# init that runs /run-it. Programs keep their paths.
guest_image() { # OUT RUN-SCRIPT PROGRAM…
  local out=$1 script=$2 tree program library
  shift 2
  tree=$(mktemp -d)
  chmod 755 "$tree" # the root of the guest: everybody passes through it
  mkdir -p "$tree"/{bin,sbin,proc,sys,dev,tmp,etc,run,root,usr/bin,var/tmp,home}
  cp /bin/busybox "$tree/bin/busybox"
  (cd "$tree/bin" && ./busybox --list | grep -vx busybox | xargs -n 1 ln -s busybox)
  for program in "$@"; do
    mkdir -p "$tree/$(dirname "$program")"
    cp -L "$program" "$tree/$program"
    for library in $(ldd "$program" 2>/dev/null | grep -oE '/[^ ]+' | sort -u); do
      mkdir -p "$tree/$(dirname "$library")"
      [[ -e $tree/$library ]] || cp -L "$library" "$tree/$library"
    done
  done
  printf 'root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1::/:/bin/false\nnobody:x:65534:65534::/:/bin/false\n' >"$tree/etc/passwd"
  printf 'root:x:0:\ndaemon:x:1:\nnogroup:x:65534:\n' >"$tree/etc/group"
  cp "$root/tests/guest/init.sh" "$tree/init"
  cp "$script" "$tree/run-it"
  chmod 755 "$tree/init" "$tree/run-it"
  (cd "$tree" && find . | cpio -o -H newc --quiet) >"$out"
  rm -rf "$tree"
}

# The machine of all guests, as a command in guest_machine. GUEST_CPUS=1 where probes are attached
# over and over: of two emulated CPUs one can meet the breakpoint by which the other patches an
# instruction after the patch is done, and the kernel takes that for a fault of its own.
guest_set_machine() { # VMLINUZ IMAGE LOG
  guest_machine=(qemu-system-x86_64 -accel "tcg,thread=multi" -cpu max -smp "${GUEST_CPUS:-2}" -m "${GUEST_MEMORY:-1024}"
    -nodefaults -no-user-config -display none -no-reboot -kernel "$1" -initrd "$2"
    -append "console=ttyS0 quiet panic=-1 ${GUEST_APPEND:-}"
    -serial "file:$3.console" -serial "file:$3.out")
}

# Boots, waits for the end. What the script printed goes to LOG.out, the
# console to LOG.console; the script's exit code is this function's.
guest_boot() { # VMLINUZ IMAGE LOG SECONDS [QEMU ARGS…]
  local vmlinuz=$1 image=$2 log=$3 seconds=$4 code
  shift 4
  rm -f "$log.out" "$log.console"
  guest_set_machine "$vmlinuz" "$image" "$log"
  timeout --kill-after=5 "$seconds" "${guest_machine[@]}" "$@" </dev/null >"$log.qemu" 2>&1 || {
    printf 'the guest did not end within %s s\n' "$seconds" >>"$log.out"
    return 124
  }
  code=$(sed -nE 's/^guest: exit code ([0-9]+).*/\1/p' "$log.out" | tail -n 1)
  [[ -n $code ]] || {
    printf 'the guest ended early; its console is in %s\n' "$log.console" >>"$log.out"
    return 125
  }
  return "$code"
}

# A Debian 12 with systemd and what the packages need, made once; prints its folder.
guest_debian() { # DEB…
  local packages=systemd,systemd-sysv,openssl,procps,openssh-server,openssh-client,sudo,cron,at needs base
  needs=$(for deb in "$@"; do dpkg-deb -f "$deb" Depends | tr ',' '\n'; done | sed -E 's/^ *([^ |:]+).*/\1/' | grep -v '^nodetrail' | sort -u | tr '\n' ',')
  base=$guest_dir/debian-$(printf '%s' "$packages,$needs" | sha256sum | cut -c1-12)
  if [[ ! -d $base ]]; then
    rm -rf "$base.new"
    # Not all in one go: debootstrap knows no virtual packages.
    { debootstrap --variant=minbase --include="$packages" bookworm "$base.new" "$guest_mirror" &&
      chroot "$base.new" sh -c "apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install ${needs//,/ }"
    } >"$guest_dir/debootstrap.log" 2>&1 || {
      tail -n 5 "$guest_dir/debootstrap.log" >&2
      die "Debian can't be installed into $base.new (log: build/guest/debootstrap.log)"
    }
    rm -rf "$base.new"/usr/share/{doc,man,locale,info} "$base.new"/var/{cache/apt,lib/apt/lists}/*
    mv "$base.new" "$base"
  fi
  printf '%s\n' "$base"
}

# An initramfs that is that Debian with the packages installed; systemd is its
# init, and runs SCRIPT as /run-it.
guest_debian_image() { # OUT SCRIPT DEB…
  local out=$1 script=$2 base tree
  shift 2
  base=$(guest_debian "$@")
  tree=$(mktemp -d)
  cp -a "$base/." "$tree"
  chmod 755 "$tree"
  mkdir -p "$tree/debs"
  cp "$@" "$tree/debs/"
  # As on a real system: by dpkg, with the scripts of the packages. Nothing is started: systemd isn't there yet.
  chroot "$tree" sh -c 'dpkg -i /debs/*.deb' >"$out.dpkg.log" 2>&1 || {
    tail -n 20 "$out.dpkg.log" >&2
    die "the packages can't be installed (log: $out.dpkg.log)"
  }
  rm -rf "$tree/debs"
  cp "$script" "$tree/run-it"
  cp "$root"/tests/guest/{faults,people}.sh "$root/packaging/dev-pki" "$tree/root/"
  cp "$root/tests/guest/run-it.service" "$tree/etc/systemd/system/"
  ln -s ../run-it.service "$tree/etc/systemd/system/multi-user.target.wants/run-it.service" 2>/dev/null ||
    { mkdir -p "$tree/etc/systemd/system/multi-user.target.wants" && ln -s ../run-it.service "$tree/etc/systemd/system/multi-user.target.wants/"; }
  local unit
  for unit in serial-getty@ttyS0 getty@tty1 systemd-timesyncd apt-daily.timer apt-daily-upgrade.timer; do
    ln -sf /dev/null "$tree/etc/systemd/system/${unit%.timer}$([[ $unit == *.timer ]] && echo .timer || echo .service)"
  done
  chmod 755 "$tree/run-it" "$tree/root/dev-pki"
  ln -sf lib/systemd/systemd "$tree/init"
  (cd "$tree" && find . -xdev | cpio -o -H newc --quiet) >"$out"
  rm -rf "$tree"
}

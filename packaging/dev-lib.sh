# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# For ./dev and .ci/run: messages, packages, builds. Sourced with $root set.
# shellcheck disable=SC2154

# git refuses a clone that belongs to another user, as under sudo; this one is meant.
export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0=$root

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }
note() { printf '    %s\n' "$*" >&2; }
die() {
  printf 'dev: %s\n' "$*" >&2
  exit 1
}
misuse() {
  printf 'dev: %s; see ./dev help\n' "$*" >&2
  exit 64
}

# Runs what follows as root: directly, or by sudo where there is one.
as_root() {
  if ((EUID == 0)); then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    die "'$1' needs root, and there is no sudo; run as root"
  fi
}

# The verb that calls this needs root throughout: begin again as root.
need_root() { # VERB ARGS…
  ((EUID == 0)) && return 0
  command -v sudo >/dev/null || die "$1 needs root (it loads eBPF programs); run as root"
  say "$1 needs root: going on with sudo"
  exec sudo -- "$root/dev" "$@"
}

# Runs a command with its output in a log file, and shows the last lines of it
# if the command fails. A dot every few seconds says that it lives.
quietly() { # LOG COMMAND…
  local log=$1 pid
  shift
  mkdir -p "$(dirname "$log")"
  "$@" >"$log" 2>&1 </dev/null &
  pid=$!
  if [[ -t 2 ]]; then
    while kill -0 "$pid" 2>/dev/null; do
      printf '.' >&2
      sleep 2
    done
    printf '\n' >&2
  fi
  wait "$pid" && return 0
  tail -n 25 "$log" | sed 's/^/    /' >&2
  printf 'dev: failed: %s (whole log: %s)\n' "$*" "$log" >&2
  return 1
}

packages_in() { sed 's/#.*//; /^[[:space:]]*$/d' "$@"; }

missing_packages() { # FILE…
  local package
  while read -r package; do
    # Node.js from elsewhere brings npm with it.
    [[ $package == npm ]] && command -v npm >/dev/null && continue
    [[ $(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || echo "$package"
  done < <(packages_in "$@")
}

apt_get() {
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -o Acquire::Retries=3 -o DPkg::Lock::Timeout=300 "$@"
}

# Installs the packages of the lists that are not there yet.
install_packages() { # FILE…
  command -v dpkg-query >/dev/null || die "this needs Debian 12 (no dpkg here); packaging/build-deps.txt lists what to install elsewhere"
  local missing
  mapfile -t missing < <(missing_packages "$@")
  ((${#missing[@]})) || return 0
  local release
  # shellcheck source=/dev/null
  release=$(. /etc/os-release && echo "${ID:-} ${VERSION_ID:-}")
  [[ $release == "debian 12" ]] || note "made for Debian 12, this is '$release': trying all the same"
  say "installing ${#missing[@]} packages with apt"
  local try
  for try in 1 2 3; do
    if quietly "$root/build/log/apt-update.log" apt_get update -q &&
      quietly "$root/build/log/apt-install.log" apt_get install -y -q --no-install-recommends "${missing[@]}"; then
      return 0
    fi
    note "apt failed (try $try of 3)"
    sleep $((try * 5))
  done
  die "could not install: ${missing[*]}"
}

jobs_flag() { [[ -z ${NODETRAIL_JOBS:-} ]] || echo "-j$NODETRAIL_JOBS"; }

configure() { # PRESET
  # A preset's cache from another folder (a moved clone) is of no use.
  local cache=build/$1/CMakeCache.txt
  if [[ -f $cache ]] && ! grep -qxF "CMAKE_HOME_DIRECTORY:INTERNAL=$root" "$cache"; then
    note "build/$1 is from another folder: beginning it anew"
    rm -rf "build/$1"
  fi
  if ! cmake --preset "$1" >"build/log/configure-$1.log" 2>&1; then
    tail -n 25 "build/log/configure-$1.log" >&2
    die "cmake --preset $1 failed (whole log: build/log/configure-$1.log)"
  fi
}

build() { # PRESET TARGET…
  local preset=$1
  shift
  mkdir -p build/log
  install_packages packaging/build-deps.txt
  export CCACHE_BASEDIR=$root CCACHE_NOHASHDIR=1
  configure "$preset"
  say "building ${*:-everything} ($preset)"
  # shellcheck disable=SC2046
  NINJA_STATUS='    [%f/%t %es] ' ninja -C "build/$preset" $(jobs_flag) "$@" | show_progress
}

# On a terminal, ninja rewrites its line by itself; in a log, every 20th step is
# enough, and what a compiler says.
show_progress() {
  if [[ -t 1 ]]; then
    cat
  else
    awk '/^ +\[[0-9]+\/[0-9]+ / { split($1, n, /[\[\/]/); if (n[2] % 20 && !/FAILED/) next }
         /^ninja: (Entering|no work)/ { next } { print; fflush() }'
  fi
}

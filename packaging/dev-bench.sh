# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# ./dev bench trail without a trail: records one first, of a real build.
# shellcheck disable=SC2034,SC2154

readonly recording=$root/build/bench/recording

# What is compiled while the agent looks on: the libraries of this tree, from
# nothing and without a compiler cache, so that every step is a process.
recorded_work() {
  local dir=$recording/work
  rm -rf "$dir"
  export CCACHE_DISABLE=1
  cmake -S "$root" -B "$dir" -G Ninja -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_FLAGS_DEBUG=-O0 -DNODETRAIL_TESTS=OFF
  # shellcheck disable=SC2046
  ninja $(jobs_flag) -C "$dir" nt_base nt_bpf_skeleton
  tar -C "$root" --exclude=./build --exclude=./.git --exclude=./run -cf - . | tar -C "$dir" -xf - --one-top-level=copy
  rm -rf "$dir"
}

# Leaves the trail of a build in $recording/trail.
record_build() {
  need_root bench trail
  check_kernel
  build dev nodetrail nodetrail-agent nodetrail-collector nodetrail-witness
  run=$recording
  rm -rf "$run"
  mkdir -p "$run/log"
  chmod 0711 "$run"
  set_agent_id
  ensure_tracefs
  say "recording a build"
  local gate=$run/gate work begun
  mkfifo "$gate"
  # It waits until it is observed.
  (read -r _ <"$gate" && recorded_work) >"$run/log/work.log" 2>&1 &
  work=$!
  start_collector
  enrol_agent "$(<"$run/enrol.port")"
  write_agent_config "$(<"$run/port")" "$work"
  start_daemon agent
  await agent 30 agent_answers || die "the agent did not start"
  begun=$SECONDS
  echo go >"$gate"
  wait "$work" || die "the build that is recorded failed: $run/log/work.log"
  note "$((SECONDS - begun)) s of work"
  stop_daemon agent
  stop_daemon collector
  stop_daemon witness
}

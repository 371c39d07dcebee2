# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# ./dev up, down, nodetrail: one witness, one collector and one agent under run/.
# shellcheck disable=SC2154

run=$root/run
bin=$root/build/dev/bin
trust_domain=nodetrail.dev

# ---- processes ------------------------------------------------------------

# The pid in run/NAME.pid, if it is a live process of our own program.
live_pid() { # NAME (agent, collector, witness)
  local pid exe
  [[ -s $run/$1.pid ]] || return 1
  read -r pid _ <"$run/$1.pid"
  [[ $pid =~ ^[0-9]+$ ]] || return 1
  exe=$(readlink "/proc/$pid/exe" 2>/dev/null) || return 1
  # A rebuilt binary shows as "… (deleted)".
  [[ ${exe% (deleted)} == "$bin/nodetrail-$1" ]] || return 1
  echo "$pid"
}

start_daemon() { # NAME
  : >"$run/log/$1.log"
  # shellcheck disable=SC2016 # expanded by the inner shell
  setsid -f sh -c 'echo $$ >"$1" && shift && exec "$@"' sh "$run/$1.pid" \
    "$bin/nodetrail-$1" --config "$run/$1.yaml" </dev/null >>"$run/log/$1.log" 2>&1
}

# Waits for CONDITION (a function); fails when the daemon ends or time is over.
await() { # NAME SECONDS CONDITION…
  local name=$1 deadline=$((SECONDS + $2))
  shift 2
  sleep 0.1
  until "$@"; do
    if [[ -s $run/$name.pid ]] && ! kill -0 "$(<"$run/$name.pid")" 2>/dev/null; then
      show_log "$name" "ended at once"
      return 1
    fi
    if ((SECONDS >= deadline)); then
      show_log "$name" "is not ready in time"
      return 1
    fi
    sleep 0.1
  done
}

show_log() { # NAME WHAT
  printf 'dev: nodetrail-%s %s; the end of %s:\n' "$1" "$2" "$run/log/$1.log" >&2
  tail -n 20 "$run/log/$1.log" | sed 's/^/    /' >&2
}

stop_daemon() { # NAME
  local pid deadline=$((SECONDS + 15))
  pid=$(live_pid "$1") || {
    rm -f "$run/$1.pid"
    return 0
  }
  kill -TERM "$pid"
  while live_pid "$1" >/dev/null; do
    if ((SECONDS >= deadline)); then
      show_log "$1" "(pid $pid) does not stop within 15 s"
      return 1
    fi
    sleep 0.1
  done
  rm -f "$run/$1.pid"
}

# ---- scope ----------------------------------------------------------------

ppid_of() { awk '/^PPid:/ { print $2 }' "/proc/$1/status" 2>/dev/null; }

# The topmost ancestor of this shell below pid 1: everything that this login
# started descends from it. Nothing is printed when there is no login: the chain
# ends at 0 (we were put into this pid namespace from outside), or its top is a
# shell without a terminal that was started to run this one command and ends
# with it: nothing that is done later would descend from it.
login_root() {
  local pid=$$ parent
  while parent=$(ppid_of "$pid") && [[ -n $parent ]]; do
    case $parent in
      0) return 0 ;;
      1)
        runs_one_command "$pid" || echo "$pid"
        return 0
        ;;
    esac
    pid=$parent
  done
}

runs_one_command() { # PID
  local comm rest
  read -r comm <"/proc/$1/comm" || return 0
  case $comm in
    sh | bash | dash | zsh | ksh | dev | env | timeout | nice | sudo | su | setsid | nohup | stdbuf) ;;
    *) return 1 ;;
  esac
  # The field after the command name: state ppid pgrp session tty_nr
  rest=$(sed 's/.*) //' "/proc/$1/stat")
  # shellcheck disable=SC2086
  set -- $rest
  [[ $5 == 0 ]]
}

is_below() { # ANCESTOR: is this shell it, or started by it?
  local pid=$$
  while [[ -n $pid && $pid -gt 0 ]]; do
    [[ $pid != "$1" ]] || return 0
    pid=$(ppid_of "$pid")
  done
  return 1
}

# ---- files of run/ --------------------------------------------------------

port_in_use() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

choose_port() { # FILE (holds the port of last time) FIRST
  local port
  if [[ -s $1 ]] && port=$(<"$1") && ! port_in_use "$port"; then
    echo "$port"
    return
  fi
  for ((port = $2; port < $2 + 100; port++)); do
    if ! port_in_use "$port"; then
      echo "$port"
      return
    fi
  done
  die "no free port from $2 to $(($2 + 99)) on 127.0.0.1"
}

# The authorities, and what stands by itself; the agent gets its certificates
# from the collector, as any node does.
make_pki() {
  local pki=$run/pki
  packaging/dev-pki init "$pki"
  packaging/dev-pki reader "$pki" dev
  packaging/dev-pki collector "$pki" localhost 127.0.0.1
  packaging/dev-pki log-key "$pki" nodetrail.dev/default
}

# Paths are relative to the configuration's folder: run/ can be looked through
# and moved as a whole.
write_collector_config() { # PORT ENROL_PORT
  cat >"$run/collector.yaml" <<YAML
# Written by ./dev up.
trail_dir: trail
listen: 127.0.0.1:$1
tls: {ca_file: pki/tls-ca/ca.pem, cert_file: pki/collector/tls.pem, key_file: pki/collector/tls.key}
identity_ca_file: pki/identity-ca/ca.pem
log_key_file: pki/log/log.key
log_origin: nodetrail.dev/default
witness: {policy_file: policy.txt}
enrol:
  listen: 127.0.0.1:$2
  trust_domain: $trust_domain
  identity_ca_cert_file: pki/identity-ca/ca.pem
  identity_ca_key_file: pki/identity-ca/ca.key
  tls_ca_cert_file: pki/tls-ca/ca.pem
  tls_ca_key_file: pki/tls-ca/ca.key
YAML
  cat >"$run/cli.yaml" <<YAML
# Written by ./dev up.
collector: 127.0.0.1:$1
tls: {ca_file: pki/tls-ca/ca.pem, cert_file: pki/readers/dev/tls.pem, key_file: pki/readers/dev/tls.key}
agent_socket: agent.sock
agent_config: agent.yaml
trail_dir: trail
identity_ca_file: pki/identity-ca/ca.pem
log_public_key: $run/trail/log/log.vkey
YAML
}

# After write_collector_config: the collector says what its log's key is.
write_witness_config() { # PORT
  local key=$run/pki/witness/witness.key name=nodetrail.dev/witness log_vkey
  mkdir -p "$run/pki/witness"
  # The collector's configuration is only good once its policy is there.
  [[ -s $key ]] || "$bin/nodetrail-witness" keygen --name "$name" --out "$key" >"$run/pki/witness/witness.vkey"
  printf 'witness dev %s http://127.0.0.1:%s\nquorum dev\n' "$(<"$run/pki/witness/witness.vkey")" "$1" >"$run/policy.txt"
  log_vkey=$("$bin/nodetrail-collector" --config "$run/collector.yaml" --log-vkey)
  printf 'log %s\nwitness dev %s http://127.0.0.1:%s\nquorum dev\n' \
    "$log_vkey" "$(<"$run/pki/witness/witness.vkey")" "$1" >"$run/policy.txt"
  cat >"$run/witness.yaml" <<YAML
# Written by ./dev up. A real one runs where whoever runs the collector has no access.
name: $name
key_file: pki/witness/witness.key
state_dir: witness
listen: 127.0.0.1:$1
logs: ['$log_vkey']
max_connections: 8
YAML
}

write_agent_config() { # PORT SCOPE ("host", or a pid)
  local scope="{mode: host}"
  [[ $2 == host ]] || scope="{mode: process_tree, root_pid: $2}"
  cat >"$run/agent.yaml" <<YAML
# Written by ./dev up.
agent_id: $agent_id
state_dir: agent
status_socket: agent.sock
labels: {env: dev}
capture:
  scope: $scope
  # The collector's own acts are counted, not recorded: else each batch would
  # make the next one.
  companions: [{name: collector, exe: $bin/nodetrail-collector}]
identity: {cert_file: node/identity.pem, key_file: node/identity.key}
ship:
  endpoint: 127.0.0.1:$1
  log_policy_file: pki/log/policy
  tls: {ca_file: node/ca.pem, cert_file: node/tls.pem, key_file: node/tls.key}
YAML
}

# A token, and with it keys and certificates in run/node. They are kept while the
# TLS certificate, which is valid for a day, has an hour left.
enrol_agent() { # ENROL_PORT
  local node=$run/node
  if [[ -s $node/identity.pem && -s $node/agent_id && $(<"$node/agent_id") == "$agent_id" ]] &&
    openssl x509 -in "$node/tls.pem" -noout -checkend 3600 >/dev/null 2>&1; then
    return
  fi
  rm -rf "$node" "$run/token"
  (umask 077 && "$bin/nodetrail-collector" --config "$run/collector.yaml" token create --agent "$agent_id" --ttl 5m >"$run/token") ||
    die "no token for the agent"
  "$bin/nodetrail-agent" enrol --collector "127.0.0.1:$1" --token-file "$run/token" --ca "$run/pki/tls-ca/ca.pem" \
    --out "$node" --agent-id "$agent_id" || die "the agent could not enrol"
  rm -f "$run/token"
  echo "$agent_id" >"$node/agent_id"
}

set_agent_id() {
  agent_id=$(hostname 2>/dev/null || cat /proc/sys/kernel/hostname)
  agent_id=$(printf %s "${agent_id%%.*}" | tr -c 'A-Za-z0-9_-' '-' | cut -c1-60)
  [[ $agent_id == [A-Za-z0-9_]* ]] || agent_id=node
}

# Per-syscall tracepoints, the cheaper hooks, are looked up in tracefs.
ensure_tracefs() {
  ((EUID == 0)) || return 0
  [[ ! -d /sys/kernel/tracing/events && ! -d /sys/kernel/debug/tracing/events ]] || return 0
  if mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null; then
    note "mounted tracefs on /sys/kernel/tracing"
  else
    note "tracefs can't be mounted here: the agent falls back to sys_exit hooks"
  fi
}

cli() { "$bin/nodetrail" --config "$run/cli.yaml" "$@"; }

# A key of `status --json` is null while nobody answers for it.
tells() { [[ $(cli status --json 2>/dev/null || true) =~ \"$1\":[[:space:]]*\"/ ]]; } # KEY
collector_answers() { tells trail_dir; }
witness_answers() { port_in_use "$(<"$run/witness.port")"; }
agent_answers() { [[ -S $run/agent.sock ]] && tells spool_dir; }

# ---- verbs ----------------------------------------------------------------

verb_up() {
  need_root up "$@"
  local scope='' port wanted_scope
  while (($#)); do
    case $1 in
      --all-host) scope=host ;;
      --scope)
        scope=${2:-}
        [[ $scope =~ ^[0-9]+$ && -d /proc/$scope ]] || misuse "--scope needs the pid of a live process"
        shift
        ;;
      *) misuse "up: unknown option $1" ;;
    esac
    shift
  done
  [[ -n $scope ]] || scope=$(login_root)
  [[ -n $scope ]] || scope=host

  check_kernel
  build dev nodetrail nodetrail-agent nodetrail-collector nodetrail-witness
  mkdir -p "$run/log"
  chmod 0711 "$run"
  set_agent_id
  ensure_tracefs

  local pid fresh=''
  if pid=$(live_pid collector); then
    note "the collector already runs (pid $pid)"
    port=$(<"$run/port")
  else
    stop_daemon agent # its configuration names the port
    start_collector
    port=$(<"$run/port")
    fresh=1
  fi

  wanted_scope=$scope
  if pid=$(live_pid agent) && [[ -s $run/scope ]] && scope=$(<"$run/scope") &&
    { [[ $scope == "$wanted_scope" ]] || { [[ $wanted_scope != host && $scope != host ]] && is_below "$scope"; }; }; then
    note "the agent already runs (pid $pid)"
  else
    [[ -z ${pid:-} ]] || note "what is observed changes: starting the agent again"
    scope=$wanted_scope
    stop_daemon agent
    enrol_agent "$(<"$run/enrol.port")"
    write_agent_config "$port" "$scope"
    start_daemon agent
    await agent 30 agent_answers || die "the agent did not start"
    echo "$scope" >"$run/scope"
    note "agent: pid $(live_pid agent), node $agent_id, spool in run/agent"
    fresh=1
  fi
  [[ -n $fresh ]] || say "already running"
  tell_scope "$scope"
  act_and_show
  tell_next
}

# With its witness, on free ports: run/port, run/enrol.port.
start_collector() {
  local port enrol_port
  port=$(choose_port "$run/port" 7443)
  echo "$port" >"$run/port"
  enrol_port=$(choose_port "$run/enrol.port" 7545) # above the ports that a witness may get
  echo "$enrol_port" >"$run/enrol.port"
  make_pki
  write_collector_config "$port" "$enrol_port"
  start_witness
  start_daemon collector
  await collector 30 collector_answers || die "the collector did not start"
  note "collector: pid $(live_pid collector), 127.0.0.1:$port, trail in $run/trail"
}

start_witness() {
  local port
  stop_daemon witness
  port=$(choose_port "$run/witness.port" 7445)
  echo "$port" >"$run/witness.port"
  write_witness_config "$port"
  start_daemon witness
  await witness 30 witness_answers || die "the witness did not start"
  note "witness: pid $(live_pid witness), 127.0.0.1:$port, cosigns the log's checkpoints, memory in run/witness"
}

check_kernel() {
  [[ -r /sys/kernel/btf/vmlinux ]] ||
    die "this kernel has no BTF (/sys/kernel/btf/vmlinux is missing); use one with CONFIG_DEBUG_INFO_BTF, such as Debian's"
}

tell_scope() { # SCOPE
  if [[ $1 == host ]]; then
    say "observed: everything on this host"
  else
    say "observed: process $1 ($(tr -d '\0' <"/proc/$1/comm" 2>/dev/null)) and all that it starts, this shell included"
    note "the whole host: ./dev up --all-host"
  fi
}

# A few real acts, and what the trail says about them.
act_and_show() {
  local since file=/tmp/nt-hello-$$ port=9 deadline
  while port_in_use "$port"; do ((port++)); done
  since=$(date -u +%Y-%m-%dT%H:%M:%S.%3NZ) # after the search for a closed port, which is an act as well
  say "acting: make and delete a file, become nobody, read /etc/shadow as nobody, connect to a closed port"
  sh -c "echo hello >$file && rm $file"
  su nobody -s /bin/sh -c id >/dev/null 2>&1 || true
  su nobody -s /bin/sh -c 'cat /etc/shadow' >/dev/null 2>&1 || true
  bash -c "exec 3<>/dev/tcp/127.0.0.1/$port" >/dev/null 2>&1 || true

  local terms="path:$file or (path:/etc/shadow and kind:file.denied) or (kind:net.connect and rport:$port)"
  terms+=' or (kind:process.exec and exe:*/id)'
  deadline=$((SECONDS + 15))
  until [[ $(cli query --since "$since" --json "$terms" 2>/dev/null | grep -cE "$(acts_pattern)") -ge 5 ]]; do
    if ((SECONDS >= deadline)); then
      cli query --since "$since" --oldest-first "$terms" >&2 || true
      die "not all acts are in the trail after 15 s; ./dev nodetrail status, and the logs in $run/log"
    fi
    sleep 0.2
  done
  say "./dev nodetrail query --since $since --oldest-first '$terms'"
  cli query --since "$since" --oldest-first "$terms"
}

acts_pattern() { echo '"kind": ?"(file\.create|file\.delete|file\.denied|net\.connect|process\.exec)"'; }

tell_next() {
  say "running; try"
  cat >&2 <<'TRY'
    ./dev nodetrail tail                                 what happens, live
    ./dev nodetrail query --since 5m 'user:nobody'       who did what: field:value, and, or, not, *
    ./dev nodetrail query --since 5m --kind file.denied --json
    ./dev nodetrail tree PID                             a process, its ancestors, what each did
    ./dev nodetrail show EVENT_ID                        everything known of one event, and its proof
    ./dev nodetrail verify                               is the trail intact? (signatures, chain, root, bodies)
    ./dev nodetrail agents                               who is enrolled, and who reports
    ./dev nodetrail status | ./dev nodetrail doctor
    ./dev down                                           stop
TRY
}

verb_down() {
  need_root down "$@"
  (($# == 0)) || misuse "down takes nothing"
  local name failed='' any=''
  # The agent first: it drains, seals and ships what it has seen.
  for name in agent collector witness; do
    ! live_pid "$name" >/dev/null || any=1
    stop_daemon "$name" || failed=1
  done
  [[ -z $failed ]] || die "not everything stopped"
  if [[ -n $any ]]; then say "stopped; the trail stays in run/trail"; else say "nothing was running"; fi
}

verb_nodetrail() {
  [[ -x $bin/nodetrail && -s $run/cli.yaml ]] || die "nothing to ask yet; ./dev up first"
  need_root nodetrail "$@"
  local scope
  if [[ -s $run/scope ]] && scope=$(<"$run/scope") && [[ $scope != host ]] && live_pid agent >/dev/null && ! is_below "$scope"; then
    note "note: only process $scope and what it starts is observed, not this shell; ./dev up moves that, --all-host widens it"
  fi
  exec "$bin/nodetrail" --config "$run/cli.yaml" "$@"
}

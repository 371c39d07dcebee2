# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# T21: a machine with a live agent is copied, memory and all, and both go on.
# One collector outside hears both. Sourced after lib.sh.
# shellcheck disable=SC2154

clone_pids=()

clone_stop() {
  ((${#clone_pids[@]})) || return 0
  kill "${clone_pids[@]}" 2>/dev/null || true
  wait "${clone_pids[@]}" 2>/dev/null || true
  clone_pids=()
}

clone_check() { # WHAT COMMAND…
  local what=$1
  shift
  if "$@"; then
    printf 'ok      %3d s  row T21: %s\n' "$((SECONDS - clone_begun))" "$what"
  else
    printf 'FAILED  %3d s  row T21: %s: %s\n' "$((SECONDS - clone_begun))" "$what" "$*"
    return 1
  fi
}

# Until a command succeeds, for 90 s.
clone_until() {
  local i
  for ((i = 0; i < 450; i++)); do
    "$@" && return 0
    sleep 0.2
  done
  return 1
}

# Size of the log, as the newest checkpoint says it.
clone_log_has() { (($(sed -n 2p "$1/trail/log/checkpoint" 2>/dev/null || echo 0) >= $2)); }
clone_collector_port() { sed -nE 's/.*\(port ([0-9]+)\).*/\1/p' "$1/collector.log" | head -n 1; }
clone_serves() { [[ -n $(clone_collector_port "$1") ]]; }
clone_evidence() { grep -lqs '^equivocation' "$1"/trail/quarantine/*.reason; }
# The monitor has taken the second command, and the copy is written.
clone_copied() { grep -qs 'cont' "$1/monitor.log" && [[ -s $1/state ]] && ! pgrep -P "${clone_pids[1]}" >/dev/null; }
# Exit status 3, and why.
clone_twice() { # LOG COMMAND…
  local log=$1 status=0
  shift
  "$@" >"$log" 2>&1 || status=$?
  ((status == 3)) && grep -q 'node-1:.*equivocation' "$log"
}
# The first line names the place, the batch that is known and the one that came.
clone_same_place() {
  local reason file
  for reason in "$1"/trail/quarantine/*.reason; do
    grep -qE '^equivocation: two signed batches for [0-9]+:[0-9]+: [0-9a-f]{64} is known, [0-9a-f]{64} came' "$reason" || return 1
    file=${reason%.reason}.leaf
    [[ -s $file ]] || return 1
  done
}

clone_collector() { # OUT
  local out=$1 tool=$root/packaging/dev-pki pki=$1/pki
  {
    "$tool" agent "$pki" node-1
    "$tool" collector "$pki" 10.0.2.2 127.0.0.1 localhost
    "$tool" log-key "$pki" trail.example.com/default
  } >"$out/pki.log" 2>&1
  cat >"$out/collector.yaml" <<YAML
trail_dir: $out/trail
listen: 127.0.0.1:0
tls: {ca_file: $pki/tls-ca/ca.pem, cert_file: $pki/collector/tls.pem, key_file: $pki/collector/tls.key}
identity_ca_file: $pki/identity-ca/ca.pem
log_key_file: $pki/log/log.key
log_origin: trail.example.com/default
admin_socket: $out/admin.sock
YAML
  "$root/build/dev/bin/nodetrail-collector" --config "$out/collector.yaml" >"$out/collector.log" 2>&1 &
  clone_pids+=($!)
}

# What the node has of its own, as a second archive behind its image.
clone_image() { # OUT MODULES-DIR
  local out=$1 tree=$1/tree etc=$1/tree/etc/nodetrail
  guest_image "$out/image.cpio" tests/guest/clone_node.sh "$root/build/dev/bin/nodetrail-agent"
  rm -rf "$tree"
  mkdir -p "$etc" "$tree/modules" "$tree/var/lib/nodetrail/agent"
  cp "$2"/*.ko "$tree/modules/"
  cp "$out"/pki/agents/node-1/* "$out/pki/tls-ca/ca.pem" "$out/pki/log/policy" "$etc/"
  cat >"$etc/agent.yaml" <<YAML
agent_id: node-1
identity: {cert_file: identity.pem, key_file: identity.key}
ship:
  endpoint: 10.0.2.2:$(clone_collector_port "$out")
  max_backoff_s: 1
  log_policy_file: policy
  tls: {ca_file: ca.pem, cert_file: tls.pem, key_file: tls.key}
YAML
  (cd "$tree" && find . | cpio -o -H newc --quiet) >>"$out/image.cpio"
}

clone_boot() { # VMLINUZ OUT NAME [QEMU ARGS…]
  local vmlinuz=$1 out=$2 name=$3
  shift 3
  GUEST_APPEND="NT_PROGRAM=$root/build/dev/bin/nodetrail-agent" guest_set_machine "$vmlinuz" "$out/image.cpio" "$out/$name"
  "${guest_machine[@]}" -nic user,model=virtio-net-pci "$@" </dev/null >"$out/$name.qemu" 2>&1 &
  clone_pids+=($!)
}

# Number of checks that failed.
clone_stage() { # VMLINUZ MODULES-DIR OUT
  local vmlinuz=$1 out=$3 failed=0 size
  local verify=("$root/build/dev/bin/nodetrail" verify --identity-ca "$out/pki/identity-ca/ca.pem"
    --log-key "$out/trail/log/log.vkey" "$out/trail")
  clone_begun=$SECONDS
  rm -rf "$out"
  mkdir -p "$out"
  clone_collector "$out"
  clone_check "the collector serves" clone_until clone_serves "$out" || return 1
  clone_image "$out" "$2"
  mkfifo "$out/monitor.in" "$out/monitor.out"
  clone_boot "$vmlinuz" "$out" node -chardev "pipe,id=monitor,path=$out/monitor" -mon chardev=monitor,mode=readline
  cat "$out/monitor.out" >"$out/monitor.log" &
  clone_pids+=($!)
  clone_check "a node ships" clone_until clone_log_has "$out" 5 || return 1
  # The monitor takes the second command when the first is done.
  printf 'migrate "exec:cat >%s/state"\ncont\n' "$out" >"$out/monitor.in"
  clone_check "it is copied as it runs" clone_until clone_copied "$out" || return 1
  size=$(sed -n 2p "$out/trail/log/checkpoint")
  clone_check "the node goes on" clone_until clone_log_has "$out" $((size + 3)) || failed=1
  clone_boot "$vmlinuz" "$out" copy -incoming "exec:cat $out/state"
  clone_check "the collector has evidence of equivocation" clone_until clone_evidence "$out" || failed=1
  clone_stop
  # The log has one of the two; what the other said differently is beside it, as it came.
  clone_check "verify names the batch that was signed twice" clone_twice "$out/verify.log" "${verify[@]}" || failed=1
  clone_check "the evidence is a signed batch of the same place" clone_same_place "$out" || failed=1
  return "$failed"
}

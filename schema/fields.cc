// SPDX-License-Identifier: Apache-2.0
#include "nodetrail/schema/fields.h"

#include <fmt/format.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <limits>

#include "nodetrail/schema/labels.h"
#include "nodetrail/schema/text.h"

namespace nodetrail::schema {
namespace {

namespace ev = event::v1;
using I = FieldId;
using T = FieldType;

// clang-format off
constexpr FieldInfo kFields[] = {
  {I::kEventId, T::kText, "id", "event_id", "the event's address AGENT:EPOCH:SEQ", "id:web-1:3:1057"},
  {I::kKind, T::kKind, "kind", "", "what happened", "kind:process.exec"},
  {I::kAction, T::kText, "action", "", "the kind's last part", "action:delete"},
  {I::kTime, T::kTime, "time", "", "when it happened", "time:>10m"},
  {I::kNode, T::kText, "node", "", "host name or agent id", "node:web-*"},
  {I::kAgent, T::kText, "agent", "agent_id", "id of the agent", "agent:web-1"},
  {I::kHost, T::kText, "host", "hostname", "host name of the node", "host:web-1.example.com"},
  {I::kTenant, T::kText, "tenant", "", "tenant of the trail", "tenant:default"},
  {I::kEpoch, T::kNumber, "epoch", "trail.epoch", "run of the agent", "epoch:3"},
  {I::kSeq, T::kNumber, "seq", "", "number of the event in its epoch", "seq:[100..200]"},
  {I::kBatch, T::kNumber, "batch", "batch_seq trail.batch_seq", "number of the batch in its epoch", "batch:7"},
  {I::kLogIndex, T::kNumber, "log_index", "trail.log_index", "position of the batch in the log", "log_index:>1000"},
  {I::kCpu, T::kNumber, "cpu", "", "processor it happened on", "cpu:0"},
  {I::kHook, T::kText, "hook", "", "probe that saw it", "hook:*exec*"},
  {I::kOutcome, T::kOutcome, "outcome", "", "success or failure", "outcome:failure"},
  {I::kSuccess, T::kBool, "success", "outcome.success", "true or false", "success:false"},
  {I::kErrno, T::kErrno, "errno", "error outcome.errno", "error of a failure, by name or number", "errno:EACCES"},
  {I::kRetval, T::kNumber, "retval", "outcome.retval", "as the kernel returned it", "retval:<0"},

  {I::kUser, T::kUser, "user", "actor.user", "real, effective or login user, by name or id", "user:alice"},
  {I::kLogin, T::kUser, "login", "login_user auid actor.login_user", "who logged in, whatever user acts now", "login:alice"},
  {I::kGroup, T::kUser, "group", "actor.group", "real group, by name or id", "group:wheel"},
  {I::kUid, T::kNumber, "uid", "actor.uid", "real user id", "uid:>=1000"},
  {I::kEuid, T::kNumber, "euid", "actor.euid", "effective user id", "euid:0"},
  {I::kSuid, T::kNumber, "suid", "actor.suid", "saved user id", "suid:0"},
  {I::kFsuid, T::kNumber, "fsuid", "actor.fsuid", "file system user id", "fsuid:0"},
  {I::kGid, T::kNumber, "gid", "actor.gid", "real group id", "gid:0"},
  {I::kEgid, T::kNumber, "egid", "actor.egid", "effective group id", "egid:0"},
  {I::kSgid, T::kNumber, "sgid", "actor.sgid", "saved group id", "sgid:0"},
  {I::kFsgid, T::kNumber, "fsgid", "actor.fsgid", "file system group id", "fsgid:0"},
  {I::kLoginUid, T::kNumber, "login_uid", "loginuid actor.login_uid", "login user id; `unset` if nobody logged in", "login_uid:unset"},
  {I::kSession, T::kNumber, "session", "session_id ses actor.session_id", "audit session", "session:12"},
  {I::kCap, T::kText, "cap", "caps", "an effective capability", "cap:CAP_SYS_ADMIN"},
  {I::kUserns, T::kNumber, "userns_level", "actor.userns_level", "nesting of the user namespace; 0 is the host's", "userns_level:>0"},
  {I::kNoNewPrivs, T::kBool, "no_new_privs", "actor.no_new_privs", "can't gain privileges by exec", "no_new_privs:true"},

  {I::kPid, T::kNumber, "pid", "actor.pid", "process id of the actor", "pid:4711"},
  {I::kTid, T::kNumber, "tid", "actor.tid", "thread id", "tid:4711"},
  {I::kPpid, T::kNumber, "ppid", "actor.ppid", "parent's process id", "ppid:1"},
  {I::kProc, T::kId, "proc", "proc_uid actor.proc_uid", "identity of the actor, safe against pid reuse", "proc:3f9a"},
  {I::kParent, T::kId, "parent", "parent_uid actor.parent_uid", "identity of the actor's parent", "parent:3f9a"},
  {I::kAncestor, T::kId, "ancestor", "", "identity of any ancestor: a whole process tree", "ancestor:3f9a"},
  {I::kAncestorExe, T::kPath, "ancestor_exe", "under", "program of any ancestor", "under:sshd"},
  {I::kComm, T::kText, "comm", "actor.comm", "command name of the thread group leader", "comm:nginx"},
  {I::kExe, T::kPath, "exe", "program actor.exe", "program that ran", "exe:/usr/bin/curl"},
  {I::kScript, T::kPath, "script", "actor.script", "script of an interpreted program", "script:backup.sh"},
  {I::kArg, T::kText, "arg", "argv actor.argv", "any one argument", "arg:--force"},
  {I::kCmd, T::kText, "cmd", "cmdline", "the command line, arguments joined by spaces", "cmd:\"*rm -rf*\""},
  {I::kCwd, T::kPath, "cwd", "actor.cwd", "working directory at exec", "cwd:/tmp"},
  {I::kTty, T::kText, "tty", "actor.tty", "controlling terminal", "tty:pts/*"},
  {I::kContainer, T::kText, "container", "container_id actor.container.id", "container id", "container:4fd1*"},
  {I::kRuntime, T::kText, "runtime", "actor.container.runtime", "container runtime", "runtime:docker"},
  {I::kPod, T::kText, "pod", "pod_uid actor.container.pod_uid", "Kubernetes pod uid", "pod:*"},
  {I::kCgroup, T::kPath, "cgroup", "actor.cgroup", "control group path", "cgroup:*ssh.service*"},
  {I::kVia, T::kPath, "via", "elevation", "tool by which the actor, or whom it descends from, became another user", "via:sudo"},
  {I::kFromUser, T::kUser, "from_user", "", "user that such a tool was called by, by name or id", "from_user:alice euid:0"},
  {I::kEntry, T::kText, "entry", "actor.entry.kind", "door the actor came in by: ssh, console, cron, at, container, init", "entry:ssh"},
  {I::kLoginAddr, T::kAddress, "login_addr", "actor.login.ip", "address that the login came from", "login_addr:192.0.2.0/24"},
  {I::kComplete, T::kBool, "complete", "actor.complete", "no fact about the actor is missing", "complete:false"},

  {I::kPath, T::kPath, "path", "file resource.path", "file acted on: old or new name, or the program of an exec", "path:/etc/*"},
  {I::kNewPath, T::kPath, "new_path", "resource.new_path", "new name of a rename", "new_path:/etc/passwd"},
  {I::kPathSource, T::kText, "path_source", "resource.path_source", "kernel_object or user_string_resolved", "path_source:kernel_object"},
  {I::kInode, T::kNumber, "ino", "inode resource.ino", "inode number", "ino:131"},
  {I::kDevice, T::kText, "dev", "resource.dev", "device, major:minor", "dev:8:1"},
  {I::kMode, T::kNumber, "mode", "resource.mode", "permission bits, 0o prefix for octal", "mode:0o4755"},
  {I::kFileUid, T::kNumber, "owner", "file_uid resource.uid", "owner of the file", "owner:0"},
  {I::kFlags, T::kText, "flags", "open_flags resource.open_flags", "flags of an open", "flags:*O_TRUNC*"},
  {I::kSyscall, T::kText, "syscall", "resource.syscall", "system call of a file event or of a call", "syscall:unlinkat"},
  {I::kOperation, T::kText, "op", "operation resource.operation", "what a call asked for", "op:PTRACE_ATTACH"},
  {I::kText, T::kText, "text", "resource.text xattr resource.xattr link_target abstract_name resource.abstract_name", "module, host name, file system type, attribute, target of a symbolic link, abstract name of a unix socket", "text:security.capability"},
  {I::kTargetPid, T::kNumber, "target_pid", "resource.target.pid", "process that a call was about, as the caller counts", "target_pid:1"},

  {I::kAddr, T::kAddress, "addr", "ip address", "either end's address", "addr:10.0.0.0/8"},
  {I::kRemoteAddr, T::kAddress, "remote", "raddr remote_ip resource.remote_ip", "remote address", "remote:192.0.2.7"},
  {I::kLocalAddr, T::kAddress, "local", "laddr local_ip resource.local_ip", "local address", "local:127.0.0.1"},
  {I::kPort, T::kNumber, "port", "", "either end's port", "port:443"},
  {I::kRemotePort, T::kNumber, "rport", "remote_port resource.remote_port", "remote port", "rport:22"},
  {I::kLocalPort, T::kNumber, "lport", "local_port resource.local_port", "local port", "lport:<1024"},
  {I::kProtocol, T::kText, "protocol", "proto resource.protocol", "transport protocol", "protocol:tcp"},
  {I::kDirection, T::kText, "direction", "resource.direction", "outbound or inbound", "direction:inbound"},
  {I::kBytesSent, T::kNumber, "sent", "bytes_sent resource.bytes_sent", "bytes sent on a closed connection", "sent:>1000000"},
  {I::kBytesReceived, T::kNumber, "received", "bytes_received resource.bytes_received", "bytes received on a closed connection", "received:0"},
  {I::kFamily, T::kText, "family", "resource.family", "address family of a socket made, bound or listened on", "family:packet"},
  {I::kSocketType, T::kText, "socket_type", "resource.socket_type", "stream, dgram, raw, seqpacket", "socket_type:raw"},
  {I::kPeerPid, T::kNumber, "peer_pid", "resource.peer.pid", "process that listened on a unix socket", "peer_pid:1"},
  {I::kPeerUid, T::kNumber, "peer_uid", "resource.peer.uid", "its effective user id then", "peer_uid:0"},
  {I::kPeerExe, T::kPath, "peer_exe", "resource.peer.exe", "its program", "peer_exe:dockerd"},
  {I::kDuration, T::kDuration, "duration", "", "life of a process or connection that ended", "duration:>1h"},

  {I::kCause, T::kText, "cause", "resource.cause", "what changed the credentials", "cause:setuid"},
  {I::kOldUid, T::kNumber, "old_uid", "before.uid", "real user id before a credential change or exec", "old_uid:1000"},
  {I::kOldEuid, T::kNumber, "old_euid", "before.euid", "effective user id before", "old_euid:>0 euid:0"},
  {I::kChildPid, T::kNumber, "child_pid", "", "process id of a forked child", "child_pid:4712"},
  {I::kChild, T::kId, "child", "child_uid", "identity of a forked child", "child:3f9a"},

  {I::kExitCode, T::kNumber, "exit_code", "resource.exit_code", "exit status, 0..255", "exit_code:>0"},
  {I::kSignal, T::kNumber, "signal", "resource.signal", "signal that ended the process", "signal:9"},
  {I::kReason, T::kText, "reason", "resource.reason", "why the agent started or stopped", "reason:*"},
  {I::kStage, T::kText, "stage", "resource.stage", "where events were lost", "stage:ring"},
  {I::kCount, T::kNumber, "count", "resource.count", "how many were lost or withheld", "count:>0"},
  {I::kGap, T::kText, "gap", "gaps", "a fact that is missing", "gap:actor.exe"},
  {I::kRedaction, T::kText, "redaction", "redactions", "rule that removed a secret", "redaction:*"},
  {I::kRule, T::kText, "rule", "rule_ids", "rule that touched the event", "rule:*"},
  {I::kTruncated, T::kBool, "truncated", "", "a value was cut", "truncated:true"},
};
// clang-format on

constexpr std::span<const FieldInfo> Table() { return kFields; }

bool HasAlias(std::string_view aliases, std::string_view name) {
  while (!aliases.empty()) {
    const size_t space = std::min(aliases.find(' '), aliases.size());
    if (aliases.substr(0, space) == name) return true;
    aliases.remove_prefix(std::min(space + 1, aliases.size()));
  }
  return false;
}

size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t up = row[j];
      row[j] = std::min({up + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
      diagonal = up;
    }
  }
  return row[b.size()];
}

int64_t Saturate(uint64_t value) {
  constexpr auto kMax = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  return static_cast<int64_t>(std::min(value, kMax));
}

// Adds to a FieldValues; absent values (empty text, unset ids) are not added.
class Adder {
 public:
  explicit Adder(FieldValues* out) : out_(out) {}
  void Text(std::string_view text) {
    if (!text.empty()) out_->text.push_back(text);
  }
  void Own(std::string text) {
    if (text.empty()) return;
    out_->own.push_back(std::move(text));
    out_->text.push_back(out_->own.back());
  }
  void Number(uint64_t value) { out_->numbers.push_back(Saturate(value)); }
  void Signed(int64_t value) { out_->numbers.push_back(value); }
  void Id(uint32_t id) {
    if (id != kUnsetId) Number(id);
  }

 private:
  FieldValues* out_;
};

const ev::Credentials* Before(const ev::Event& e) {
  if (e.has_cred_change() && e.cred_change().has_before()) return &e.cred_change().before();
  if (e.has_exec() && e.exec().has_cred_before()) return &e.exec().cred_before();
  return nullptr;
}

const ev::FileRef* FileOf(const EventView& view) {
  if (view.event.has_file()) return view.event.file().has_file() ? &view.event.file().file() : nullptr;
  if (view.event.has_call()) return view.event.call().has_file() ? &view.event.call().file() : nullptr;
  if (view.event.has_exec() && view.process != nullptr && view.process->has_exe_file())
    return &view.process->exe_file();
  return nullptr;
}

void GetTrailField(const EventView& view, FieldId field, Adder* add) {
  const auto& e = view.event;
  const auto& facts = view.facts;
  switch (field) {
    case I::kEventId: add->Own(FormatEventId(view)); break;
    case I::kKind: add->Signed(e.kind()); break;
    case I::kAction: {
      const auto label = KindLabel(e.kind());
      add->Text(label.substr(label.find('.') + 1));
      break;
    }
    case I::kTime: add->Number(e.t_wall_ns()); break;
    case I::kNode:
      add->Text(facts.agent_id);
      add->Text(facts.hostname);
      break;
    case I::kAgent: add->Text(facts.agent_id); break;
    case I::kHost: add->Text(facts.hostname); break;
    case I::kTenant: add->Text(facts.tenant); break;
    case I::kEpoch: add->Number(facts.epoch); break;
    case I::kSeq: add->Number(e.seq()); break;
    case I::kBatch: add->Number(facts.batch_seq); break;
    case I::kLogIndex: add->Number(facts.log_index); break;
    case I::kCpu: add->Number(e.cpu()); break;
    case I::kHook: add->Text(e.hook()); break;
    case I::kOutcome:
    case I::kSuccess: add->Number(e.outcome().success() ? 1 : 0); break;
    case I::kErrno:
      if (e.outcome().error() != 0) add->Signed(e.outcome().error());
      break;
    case I::kRetval: add->Signed(e.outcome().retval()); break;
    case I::kReason: add->Text(e.agent().reason()); break;
    case I::kStage: add->Text(e.agent().stage()); break;
    case I::kCount:
      if (e.kind() == ev::KIND_AGENT_LOSS) add->Number(e.agent().count());
      for (const auto& f : e.agent().filtered()) add->Number(f.count());
      break;
    case I::kGap:
      for (const auto& gap : e.gaps()) add->Text(gap.what());
      break;
    case I::kRedaction:
      for (const auto& r : e.redactions()) add->Text(r.rule());
      break;
    case I::kRule:
      for (const auto& rule : e.rule_ids()) add->Text(rule);
      break;
    case I::kTruncated: add->Number(e.truncated() ? 1 : 0); break;
    default: break;
  }
}

void GetCredentialField(const EventView& view, FieldId field, Adder* add) {
  const auto& e = view.event;
  const auto& names = view.Names();
  const auto& cred = e.cred();
  const bool has = e.has_cred();
  const auto cred_number = [&](uint32_t id) {
    if (has) add->Number(id);
  };
  switch (field) {
    case I::kUser:
      add->Text(names.user());
      if (names.euser() != names.user()) add->Text(names.euser());
      add->Text(names.login_user());
      cred_number(cred.uid());
      cred_number(cred.euid());
      if (view.HasActor()) add->Id(e.login_uid());
      break;
    case I::kLogin:
      add->Text(names.login_user());
      if (view.HasActor()) add->Id(e.login_uid());
      break;
    case I::kGroup:
      add->Text(names.group());
      cred_number(cred.gid());
      break;
    case I::kUid: cred_number(cred.uid()); break;
    case I::kEuid: cred_number(cred.euid()); break;
    case I::kSuid: cred_number(cred.suid()); break;
    case I::kFsuid: cred_number(cred.fsuid()); break;
    case I::kGid: cred_number(cred.gid()); break;
    case I::kEgid: cred_number(cred.egid()); break;
    case I::kSgid: cred_number(cred.sgid()); break;
    case I::kFsgid: cred_number(cred.fsgid()); break;
    case I::kLoginUid:
      if (view.HasActor()) add->Id(e.login_uid());
      break;
    case I::kSession:
      if (view.HasActor()) add->Id(e.session_id());
      break;
    case I::kCap:
      for (unsigned bit = 0; bit < 64; ++bit) {
        if (((cred.caps().effective() >> bit) & 1U) != 0) add->Own(CapabilityName(bit));
      }
      break;
    case I::kUserns: cred_number(cred.userns_level()); break;
    case I::kNoNewPrivs:
      if (has) add->Number(cred.no_new_privs() ? 1 : 0);
      break;
    case I::kCause:
      if (e.has_cred_change()) add->Text(CredCauseLabel(e.cred_change().cause()));
      break;
    case I::kOldUid:
      if (const auto* before = Before(e)) add->Number(before->uid());
      break;
    case I::kOldEuid:
      if (const auto* before = Before(e)) add->Number(before->euid());
      break;
    default: break;
  }
}

void GetProcessField(const EventView& view, FieldId field, Adder* add) {
  const auto& e = view.event;
  const bool known = view.process != nullptr;
  const auto& p = known ? *view.process : ev::Process::default_instance();
  switch (field) {
    case I::kPid:
      if (known) add->Number(p.pid());
      break;
    case I::kTid:
      if (view.HasActor()) add->Number(e.tid());
      break;
    case I::kPpid:
      if (known) add->Number(p.ppid());
      break;
    case I::kProc: add->Text(e.proc_uid()); break;
    case I::kParent: add->Text(p.parent_uid()); break;
    case I::kAncestor:
      for (const auto& a : p.ancestors()) add->Text(a.proc_uid());
      break;
    case I::kAncestorExe:
      for (const auto& a : p.ancestors()) add->Text(a.exe());
      break;
    case I::kComm: add->Text(p.comm()); break;
    case I::kExe: add->Text(p.exe()); break;
    case I::kScript: add->Text(p.script()); break;
    case I::kArg:
      for (const auto& arg : p.argv()) add->Text(arg);
      break;
    case I::kCmd:
      if (known) add->Own(CommandLine(p));
      break;
    case I::kCwd: add->Text(p.cwd()); break;
    case I::kTty: add->Own(FormatTty(p.tty_nr())); break;
    case I::kContainer: add->Text(p.container().id()); break;
    case I::kRuntime: add->Text(p.container().runtime()); break;
    case I::kPod: add->Text(p.container().pod_uid()); break;
    case I::kCgroup: add->Text(p.cgroup_path()); break;
    case I::kVia:
      for (const auto& link : p.elevation()) add->Text(link.tool());
      break;
    case I::kFromUser:
      for (const auto& link : p.elevation()) {
        add->Text(link.from_user());
        add->Number(link.from_uid());
      }
      break;
    case I::kEntry: add->Text(p.entry().kind()); break;
    case I::kLoginAddr: add->Text(p.login().source().ip()); break;
    case I::kComplete:
      if (known) add->Number(p.complete() ? 1 : 0);
      break;
    case I::kChildPid:
      if (e.has_fork()) add->Number(e.fork().child_pid());
      break;
    case I::kChild:
      if (e.has_fork()) add->Text(e.fork().child_uid());
      break;
    case I::kExitCode:
      if (e.has_exit()) add->Number(e.exit().exit_code());
      break;
    case I::kSignal:
      if (e.has_exit() && e.exit().signal() != 0) add->Number(e.exit().signal());
      break;
    case I::kDuration:
      if (e.has_exit()) add->Number(e.exit().duration_ns());
      if (e.kind() == ev::KIND_NET_CLOSE) add->Number(e.net().duration_ns());
      break;
    default: break;
  }
}

void GetResourceField(const EventView& view, FieldId field, Adder* add) {
  const auto& e = view.event;
  const auto& file = e.file();
  const auto& net = e.net();
  const bool closed = e.kind() == ev::KIND_NET_CLOSE;
  switch (field) {
    case I::kPath:
      if (e.has_file()) {
        add->Text(file.path().path());
        add->Text(file.new_path().path());
      } else if (e.has_call()) {
        add->Text(e.call().path().path());
        add->Text(e.call().source().path());
      } else if (e.has_net()) {
        add->Text(net.path().path());
      } else if (e.has_exec() && view.process != nullptr) {
        add->Text(view.process->exe());
        add->Text(view.process->script());
      }
      break;
    case I::kNewPath: add->Text(file.new_path().path()); break;
    case I::kPathSource:
      if (e.has_file()) add->Text(PathSourceLabel(file.path().source()));
      if (e.call().has_path()) add->Text(PathSourceLabel(e.call().path().source()));
      if (net.has_path()) add->Text(PathSourceLabel(net.path().source()));
      break;
    case I::kInode:
      if (const auto* ref = FileOf(view)) add->Number(ref->ino());
      break;
    case I::kDevice:
      if (const auto* ref = FileOf(view)) add->Own(fmt::format("{}:{}", major(ref->dev()), minor(ref->dev())));
      break;
    case I::kMode:
      if (const auto* ref = FileOf(view)) add->Number(ref->mode() & 07777U);
      break;
    case I::kFileUid:
      if (const auto* ref = FileOf(view)) add->Number(ref->uid());
      break;
    case I::kFlags:
      if (e.has_file()) add->Own(OpenFlagsText(file.open_flags()));
      break;
    case I::kSyscall: add->Text(e.has_call() ? e.call().syscall() : file.syscall()); break;
    case I::kOperation: add->Text(e.call().operation()); break;
    case I::kText:
      add->Text(e.call().text());
      add->Text(file.xattr());
      add->Text(file.link_target());
      add->Text(net.abstract_name());
      break;
    case I::kTargetPid:
      if (e.call().target_pid() != 0) add->Number(e.call().target_pid());
      break;
    case I::kAddr:
      add->Text(net.remote().ip());
      add->Text(net.local().ip());
      break;
    case I::kRemoteAddr: add->Text(net.remote().ip()); break;
    case I::kLocalAddr: add->Text(net.local().ip()); break;
    case I::kPort:
      if (net.has_remote()) add->Number(net.remote().port());
      if (net.has_local()) add->Number(net.local().port());
      break;
    case I::kRemotePort:
      if (net.has_remote()) add->Number(net.remote().port());
      break;
    case I::kLocalPort:
      if (net.has_local()) add->Number(net.local().port());
      break;
    case I::kProtocol: add->Text(net.protocol()); break;
    case I::kDirection: add->Text(net.direction()); break;
    case I::kBytesSent:
      if (closed) add->Number(net.bytes_sent());
      break;
    case I::kBytesReceived:
      if (closed) add->Number(net.bytes_received());
      break;
    case I::kFamily: add->Text(net.family()); break;
    case I::kSocketType: add->Text(net.socket_type()); break;
    case I::kPeerPid:
      if (net.has_peer()) add->Number(net.peer().pid());
      break;
    case I::kPeerUid:
      if (net.has_peer()) add->Number(net.peer().uid());
      break;
    case I::kPeerExe: add->Text(net.peer().exe()); break;
    default: break;
  }
}

}  // namespace

std::span<const FieldInfo> Fields() { return Table(); }

const FieldInfo& Info(FieldId id) {
  for (const auto& field : Table()) {
    if (field.id == id) return field;
  }
  return Table().front();
}

const FieldInfo* FindField(std::string_view name) {
  for (const auto& field : Table()) {
    if (field.name == name || HasAlias(field.aliases, name)) return &field;
  }
  return nullptr;
}

std::string_view SuggestField(std::string_view name) {
  std::string_view best;
  size_t least = name.size() <= 3 ? 2 : 3;  // distance below which a name is near
  for (const auto& field : Table()) {
    const size_t distance = EditDistance(name, field.name);
    if (distance < least) least = distance, best = field.name;
  }
  return best;
}

std::string_view TypeName(FieldType type) {
  switch (type) {
    case T::kText: return "text";
    case T::kPath: return "path";
    case T::kId: return "hex id";
    case T::kKind: return "kind";
    case T::kNumber: return "number";
    case T::kUser: return "name or id";
    case T::kBool: return "bool";
    case T::kErrno: return "errno";
    case T::kOutcome: return "outcome";
    case T::kAddress: return "address";
    case T::kTime: return "time";
    case T::kDuration: return "duration";
  }
  return "text";
}

void GetField(const EventView& view, FieldId field, FieldValues* out) {
  out->Clear();
  Adder add(out);
  // A field belongs to one of these groups; the others add nothing.
  GetTrailField(view, field, &add);
  GetCredentialField(view, field, &add);
  GetProcessField(view, field, &add);
  GetResourceField(view, field, &add);
}

void GetMainText(const EventView& view, FieldValues* out) {
  out->Clear();
  Adder add(out);
  const auto& e = view.event;
  // A kind this build does not know has a number for a name; nobody searches that.
  if (ev::Kind_IsValid(e.kind())) add.Text(KindLabel(e.kind()));
  add.Text(view.facts.agent_id);
  add.Text(view.facts.hostname);
  const auto& names = view.Names();
  add.Text(names.user());
  add.Text(names.euser());
  add.Text(names.login_user());
  if (view.process != nullptr) {
    const auto& p = *view.process;
    add.Text(p.exe());
    add.Text(p.script());
    add.Text(p.comm());
    add.Own(CommandLine(p));
    add.Text(p.container().id());
  }
  if (e.has_file()) {
    add.Text(e.file().path().path());
    add.Text(e.file().new_path().path());
  }
  if (e.has_call()) {
    add.Text(e.call().path().path());
    add.Text(e.call().source().path());
  }
  if (e.has_net()) {
    add.Own(FormatIp(e.net().remote().ip()));
    add.Own(FormatIp(e.net().local().ip()));
    add.Text(e.net().path().path());
  }
  if (e.has_agent()) {
    add.Text(e.agent().reason());
    add.Text(e.agent().stage());
    add.Text(e.agent().tamper().what());
    add.Text(e.agent().tamper().target());
  }
}

std::string CommandLine(const ev::Process& process) {
  if (process.argv().empty()) return process.exe();
  std::string out;
  for (const auto& arg : process.argv()) {
    if (!out.empty()) out.push_back(' ');
    out += arg;
  }
  return out;
}

std::string FieldsMarkdown() {
  std::string out = "| field | type | meaning | also called | example |\n|---|---|---|---|---|\n";
  for (const auto& field : Table()) {
    std::string aliases;
    for (const char c : field.aliases) {
      if (c == ' ') aliases += "`, `";
      else aliases.push_back(c);
    }
    out += fmt::format("| `{}` | {} | {} | {} | `{}` |\n", field.name, TypeName(field.type), field.help,
                       aliases.empty() ? std::string() : fmt::format("`{}`", aliases), field.example);
  }
  return out;
}

}  // namespace nodetrail::schema

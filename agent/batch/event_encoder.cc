// SPDX-License-Identifier: Apache-2.0
#include "agent/batch/event_encoder.h"

#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <utility>

#include "agent/decode/acts.h"
#include "agent/enrich/socket_names.h"

namespace nodetrail::agent {
namespace {

constexpr uint32_t kUnset = 0xffffffffU;

std::string_view View(const ProcUid& uid) { return {reinterpret_cast<const char*>(uid.data()), uid.size()}; }

void WriteCredentials(uint32_t field, const nt_cred& cred, uint32_t task_flags, uint32_t seccomp, WireWriter* out) {
  const size_t at = out->Begin(field);
  out->Varint(1, cred.uid);
  out->Varint(2, cred.euid);
  out->Varint(3, cred.suid);
  out->Varint(4, cred.fsuid);
  out->Varint(5, cred.gid);
  out->Varint(6, cred.egid);
  out->Varint(7, cred.sgid);
  out->Varint(8, cred.fsgid);
  const size_t caps = out->Begin(9);
  out->Fixed64(1, cred.cap_inheritable);
  out->Fixed64(2, cred.cap_permitted);
  out->Fixed64(3, cred.cap_effective);
  out->Fixed64(4, cred.cap_bset);
  out->Fixed64(5, cred.cap_ambient);
  out->End(caps);
  out->Varint(10, cred.securebits);
  out->Varint(11, cred.userns_level);
  out->Varint(12, cred.userns_inum);
  out->Bool(13, (task_flags & NT_T_NO_NEW_PRIVS) != 0);
  out->Varint(14, seccomp);
  out->End(at);
}

void WriteFileRef(uint32_t field, const nt_file& file, WireWriter* out) {
  const size_t at = out->Begin(field);
  out->Fixed64(1, file.dev);
  out->Varint(2, file.ino);
  out->Varint(3, file.mode);
  out->Varint(4, file.uid);
  out->Varint(5, file.gid);
  out->Varint(6, file.nlink);
  out->Varint(7, file.size);
  out->Varint(8, file.fs_magic);
  out->Bool(9, (file.flags & NT_FILE_DELETED) != 0);
  out->Bool(10, (file.flags & NT_FILE_MEMFD) != 0);
  out->End(at);
}

void WritePath(uint32_t field, const PathFacts& path, WireWriter* out) {
  if (!path.present) return;
  const size_t at = out->Begin(field);
  out->Bytes(1, path.path);
  out->Varint(2, static_cast<uint64_t>(path.source));
  out->Bytes(3, path.user_string);
  out->Bool(4, path.truncated);
  out->End(at);
}

void WriteGap(uint32_t field, const GapNote& gap, WireWriter* out) {
  const size_t at = out->Begin(field);
  out->Bytes(1, gap.what);
  out->Bytes(2, gap.why);
  out->End(at);
}

void WriteRedaction(uint32_t field, const RedactionNote& note, WireWriter* out) {
  const size_t at = out->Begin(field);
  out->Bytes(1, note.field);
  out->Bytes(2, note.rule);
  out->End(at);
}

// Negative is an errno, anything else is success.
void WriteOutcome(int64_t ret, WireWriter* out) {
  const size_t at = out->Begin(8);
  if (ret < 0) {
    out->Varint(2, ret > -4096 ? static_cast<uint64_t>(-ret) : 0);
  } else {
    out->Bool(1, true);
  }
  out->Zigzag(3, ret);
  out->End(at);
}

void WriteEndpoint(uint32_t field, uint16_t family, const nt_u8 (&address)[16], uint16_t port, WireWriter* out) {
  const size_t at = out->Begin(field);
  out->Bytes(1, {reinterpret_cast<const char*>(address), family == AF_INET6 ? size_t{16} : size_t{4}});
  out->Varint(2, port);
  out->End(at);
}

void WriteNet(const RawEvent& raw, WireWriter* out) {
  const nt_net& net = raw.body.net;
  const size_t at = out->Begin(35);
  if (net.protocol == 6) out->Bytes(1, "tcp");
  WriteEndpoint(2, net.family, net.local_addr, net.local_port, out);
  WriteEndpoint(3, net.family, net.remote_addr, net.remote_port, out);
  out->Fixed64(4, net.cookie);
  out->Varint(5, net.netns);
  out->Bytes(6, net.inbound != 0 ? "inbound" : "outbound");
  out->Varint(7, net.bytes_sent);
  out->Varint(8, net.bytes_received);
  if (raw.header.type == NT_NET_CLOSE && net.opened_boot_ns != 0 && raw.header.ktime_boot_ns > net.opened_boot_ns) {
    out->Varint(9, raw.header.ktime_boot_ns - net.opened_boot_ns);
  }
  out->Bool(10, net.reset != 0);
  out->Bool(11, net.nonblocking != 0);
  out->End(at);
}

void WriteSocket(const EventFacts& facts, WireWriter* out) {
  const RawEvent& raw = *facts.raw;
  const nt_socket& socket = raw.body.socket;
  const size_t at = out->Begin(35);
  out->Bytes(1, ProtocolName(socket.family, socket.protocol));
  if (socket.addr_family != 0) WriteEndpoint(2, socket.addr_family, socket.local_addr, socket.local_port, out);
  out->Fixed64(4, socket.cookie);
  out->Varint(5, socket.netns);
  if (raw.header.type == NT_NET_UNIX_CONNECT) out->Bytes(6, "outbound");
  out->Bool(11, (socket.flags & NT_SK_NONBLOCKING) != 0);
  out->Bytes(12, FamilyName(socket.family));
  out->Bytes(13, SocketTypeName(socket.sock_type));
  out->Varint(14, socket.inode);
  WritePath(15, facts.path, out);
  out->Bytes(16, facts.text);
  if (raw.header.type == NT_NET_LISTEN) out->Zigzag(17, socket.backlog);
  if ((socket.flags & NT_SK_PEER) != 0) {
    const size_t peer = out->Begin(18);
    out->Varint(1, socket.peer_pid);
    out->Varint(2, socket.peer_uid);
    out->Varint(3, socket.peer_gid);
    if (facts.target != nullptr) {
      out->Bytes(4, View(facts.target->uid));
      if (facts.target->image != nullptr) out->Bytes(5, facts.target->image->exe);
    }
    out->End(peer);
  }
  out->Varint(19, socket.ifindex);
  out->End(at);
}

void WriteExec(const EventFacts& facts, WireWriter* out) {
  const nt_exec& exec = facts.raw->body.exec;
  const nt_task& task = facts.raw->task;
  const size_t at = out->Begin(30);
  if (exec.has_old_cred != 0) WriteCredentials(1, exec.old_cred, task.flags, task.seccomp_mode, out);
  out->Bool(2, exec.secureexec != 0);
  // The caller of execve takes over the leader's id.
  if (exec.old_pid != 0 && exec.old_pid != task.tgid) {
    out->Bool(3, true);
    out->Varint(4, exec.old_pid);
  }
  out->Bytes(5, facts.prev_exe);
  out->End(at);
}

void WriteExit(const RawEvent& raw, WireWriter* out) {
  const nt_exit& exit = raw.body.exit;
  const size_t at = out->Begin(32);
  out->Varint(1, (exit.code >> 8U) & 0xffU);
  out->Varint(2, exit.code & 0x7fU);
  out->Bool(3, (exit.code & 0x80U) != 0);
  if (raw.header.ktime_boot_ns > raw.task.start_boottime_ns) {
    out->Varint(4, raw.header.ktime_boot_ns - raw.task.start_boottime_ns);
  }
  out->Varint(5, exit.user_ns);
  out->Varint(6, exit.system_ns);
  out->Varint(7, exit.max_rss_bytes);
  out->End(at);
}

void WriteCredChange(const RawEvent& raw, WireWriter* out) {
  const nt_cred_change& change = raw.body.cred;
  const size_t at = out->Begin(33);
  out->Varint(1, change.cause <= NT_CAUSE_EXEC ? change.cause : 0);
  WriteCredentials(2, change.old_cred, raw.task.flags, raw.task.seccomp_mode, out);
  const uint32_t nargs = change.nargs <= 3 ? change.nargs : 3;
  if (nargs > 0) {
    const size_t args = out->Begin(3);
    for (uint32_t i = 0; i < nargs; ++i) out->PackedVarint(change.args[i]);
    out->End(args);
  }
  out->End(at);
}

// FileChange: what the call's arguments ask for.
void WriteRequested(const RawEvent& raw, const ActCall& call, WireWriter* out) {
  const nt_act& act = raw.body.act;
  const bool compat = (raw.header.flags & NT_F_COMPAT32) != 0;
  // The first argument after those that say which file.
  const size_t first = std::max(NT_S_OF(call.shape, NT_S_AT_PATH), NT_S_OF(call.shape, NT_S_AT_FD));
  if (first + 1 >= std::size(act.args)) return;
  const auto word = [&](size_t i) { return act.args[first + i] & 0xffffffffU; };
  const size_t at = out->Begin(10);
  switch (raw.header.type) {
    case NT_FILE_CHMOD:
    case NT_FILE_MKDIR: out->AlwaysVarint(1, word(0) & 07777U); break;
    case NT_FILE_MKNOD:
      out->AlwaysVarint(1, word(0) & 0177777U);
      if (word(1) != 0) out->Fixed64(5, word(1));
      break;
    case NT_FILE_CHOWN:
      out->AlwaysVarint(2, word(0));
      out->AlwaysVarint(3, word(1));
      break;
    case NT_FILE_TRUNCATE:
      // i386's 64-bit variants take the length in two halves.
      out->AlwaysVarint(4, compat ? word(0) | (call.nr == 0 ? word(1) << 32U : 0) : act.args[first]);
      break;
    default: break;
  }
  out->End(at);
}

bool IsDirectory(const RawEvent& raw, std::string_view call) {
  const nt_act& act = raw.body.act;
  constexpr uint64_t kRemoveDir = 0x200;  // AT_REMOVEDIR
  return raw.header.type == NT_FILE_MKDIR || call == "rmdir" || (call == "unlinkat" && (act.args[2] & kRemoveDir) != 0);
}

bool HasRequest(uint16_t type) {
  return type == NT_FILE_CHMOD || type == NT_FILE_MKDIR || type == NT_FILE_MKNOD || type == NT_FILE_CHOWN ||
         type == NT_FILE_TRUNCATE;
}

void WriteFileAct(const EventFacts& facts, WireWriter* out) {
  const RawEvent& raw = *facts.raw;
  const nt_act& act = raw.body.act;
  const uint16_t type = raw.header.type;
  const ActCall* call = FindActCall(act.syscall_nr, (raw.header.flags & NT_F_COMPAT32) != 0);
  if ((act.after.flags & NT_FILE_VALID) != 0) WriteFileRef(3, act.after, out);
  // By io_uring, too: a record's arguments are those of the call that does the same.
  const std::string_view name = call == nullptr ? std::string_view() : call->name;
  out->Bool(6, IsDirectory(raw, name));
  if (name == "renameat2") out->Varint(7, act.args[4] & 0xffffffffU);
  out->Bytes(8, facts.syscall);
  if ((act.before.flags & NT_FILE_VALID) != 0) WriteFileRef(9, act.before, out);
  if (call != nullptr && HasRequest(type)) WriteRequested(raw, *call, out);
  if (type == NT_FILE_SETXATTR || type == NT_FILE_REMOVEXATTR) out->Bytes(11, facts.text);
  if (type == NT_FILE_SYMLINK) out->Bytes(12, facts.text);
}

void WriteFile(const EventFacts& facts, WireWriter* out) {
  const RawEvent& raw = *facts.raw;
  const size_t at = out->Begin(34);
  WritePath(1, facts.path, out);
  WritePath(2, facts.new_path, out);
  if (IsAct(raw.header.type)) {
    WriteFileAct(facts, out);
  } else {
    if ((raw.body.open.file.flags & NT_FILE_VALID) != 0) WriteFileRef(3, raw.body.open.file, out);
    out->Varint(4, raw.body.open.open_flags);
    out->Varint(5, raw.body.open.open_mode);
    out->Bytes(8, facts.syscall);
  }
  out->End(at);
}

void WriteCall(const EventFacts& facts, WireWriter* out) {
  const nt_act& act = facts.raw->body.act;
  const size_t at = out->Begin(37);
  out->Bytes(1, facts.syscall);
  out->Bytes(2, facts.operation);
  WritePath(3, facts.path, out);
  WritePath(4, facts.new_path, out);
  const nt_file& file = (act.after.flags & NT_FILE_VALID) != 0 ? act.after : act.before;
  if ((file.flags & NT_FILE_VALID) != 0) WriteFileRef(5, file, out);
  out->Bytes(6, facts.text);
  const size_t args = out->Begin(7);
  for (const uint64_t arg : act.args) out->PackedVarint(arg);
  out->End(args);
  out->Varint(8, facts.target_pid);
  if (facts.target != nullptr) {
    out->Bytes(9, View(facts.target->uid));
    if (facts.target->image != nullptr) out->Bytes(10, facts.target->image->exe);
  }
  out->End(at);
}

std::string_view CauseName(ElevationCause cause) {
  switch (cause) {
    case ElevationCause::kUnknown: return "";
    case ElevationCause::kSetuidFile: return "setuid_file";
    case ElevationCause::kCapabilities: return "capabilities";
    case ElevationCause::kCall: return "call";
  }
  return "";
}

bool IsFileAct(uint16_t type) {
  return type == NT_FILE_DELETE || type == NT_FILE_RENAME || (type >= NT_FILE_LINK && type <= NT_FILE_BY_HANDLE);
}

int64_t ReturnValue(const EventFacts& facts) {
  const RawEvent& raw = *facts.raw;
  switch (raw.header.type) {
    case NT_FORK: return raw.body.fork.child_tgid;
    case NT_CRED: return raw.body.cred.ret;
    case NT_FILE_OPEN:
    case NT_FILE_DENIED: return raw.body.open.ret;
    case NT_NET_CONNECT: return -int64_t{raw.body.net.err};
    case NT_NET_BIND:
    case NT_NET_LISTEN:
    case NT_NET_UNIX_CONNECT:
    case NT_NET_RAW_SOCKET:
    case NT_NET_PACKET_SOCKET: return raw.body.socket.ret;
    default: return IsAct(raw.header.type) ? raw.body.act.ret : 0;
  }
}

void WriteBody(const EventFacts& facts, WireWriter* out) {
  switch (facts.raw->header.type) {
    case NT_EXEC: WriteExec(facts, out); break;
    case NT_FORK: {
      const size_t at = out->Begin(31);
      if (facts.child != nullptr) out->Bytes(1, View(facts.child->uid));
      out->Varint(2, facts.raw->body.fork.child_tgid);
      out->Varint(3, facts.raw->body.fork.child_ns_tgid);
      out->End(at);
      break;
    }
    case NT_EXIT: WriteExit(*facts.raw, out); break;
    case NT_CRED: WriteCredChange(*facts.raw, out); break;
    case NT_FILE_OPEN:
    case NT_FILE_DENIED: WriteFile(facts, out); break;
    case NT_NET_CONNECT:
    case NT_NET_ACCEPT:
    case NT_NET_CLOSE: WriteNet(*facts.raw, out); break;
    case NT_NET_BIND:
    case NT_NET_LISTEN:
    case NT_NET_UNIX_CONNECT:
    case NT_NET_RAW_SOCKET:
    case NT_NET_PACKET_SOCKET: WriteSocket(facts, out); break;
    default:
      if (IsFileAct(facts.raw->header.type)) {
        WriteFile(facts, out);
      } else if (IsAct(facts.raw->header.type)) {
        WriteCall(facts, out);
      }
      break;
  }
}

void WriteGapsAndRedactions(const EventFacts& facts, bool names_pending, WireWriter* out) {
  const Process& actor = *facts.actor;
  for (const GapNote& gap : actor.gaps) WriteGap(21, gap, out);
  if (actor.image != nullptr) {
    for (const GapNote& gap : actor.image->gaps) WriteGap(21, gap, out);
  }
  if (actor.place == nullptr) WriteGap(21, {"actor.cgroup", "the path of the cgroup was not seen"}, out);
  if (names_pending) WriteGap(21, {"actor.user", "name look-up pending"}, out);
  for (const GapNote& gap : facts.gaps) WriteGap(21, gap, out);
  if (actor.image != nullptr) {
    for (const RedactionNote& note : actor.image->redactions) WriteRedaction(22, note, out);
  }
  for (const RedactionNote& note : facts.redactions) WriteRedaction(22, note, out);
}

}  // namespace

std::string ToUtf8(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  for (size_t i = 0; i < bytes.size();) {
    const auto lead = static_cast<unsigned char>(bytes[i]);
    size_t length = lead < 0x80 ? 1 : lead >= 0xc2 && lead < 0xe0 ? 2 : (lead & 0xf0U) == 0xe0 ? 3 : 0;
    if (lead >= 0xf0 && lead < 0xf5) length = 4;
    bool valid = length != 0 && i + length <= bytes.size();
    for (size_t k = 1; valid && k < length; ++k) {
      const auto next = static_cast<unsigned char>(bytes[i + k]);
      // Overlong forms, surrogates and what lies beyond Unicode.
      const unsigned char low = k > 1 ? 0x80 : lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
      const unsigned char high = k > 1 ? 0xbf : lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
      valid = next >= low && next <= high;
    }
    if (valid) {
      out.append(bytes.substr(i, length));
      i += length;
    } else {
      out.append("\xef\xbf\xbd");
      ++i;
    }
  }
  return out;
}

bool EventEncoder::NamesField(uint32_t field, uint32_t uid, uint32_t euid, uint32_t gid, uint32_t loginuid,
                              WireWriter* out) {
  bool pending = false;
  const auto write = [&](uint32_t number, const NameAnswer& answer) {
    pending |= answer.state == NameState::kPending;
    if (answer.state == NameState::kKnown) out->Bytes(number, answer.name);
  };
  const size_t at = out->Begin(field);
  write(1, names_->User(uid));
  if (euid != uid) write(2, names_->User(euid));
  write(3, names_->Group(gid));
  if (loginuid != kUnset) write(4, names_->User(loginuid));
  if (out->size() > at) out->Bytes(5, "host");
  out->End(at);
  return pending;
}

// Fields 13 to 16: the same from event to event, until the process changes
// them. Written once and copied from then on.
void EventEncoder::CredFields(const nt_cred& cred, uint32_t flags, uint32_t seccomp, uint32_t loginuid,
                              uint32_t sessionid, Process* process) {
  auto& slot = process->event_cred;
  if (slot.valid && slot.names_generation == names_->Generation() && slot.flags == flags && slot.seccomp == seccomp &&
      slot.loginuid == loginuid && slot.sessionid == sessionid && std::memcmp(&slot.cred, &cred, sizeof cred) == 0) {
    return;
  }
  scratch_.Clear();
  WriteCredentials(13, cred, flags, seccomp, &scratch_);
  scratch_.Varint(14, loginuid);
  scratch_.Varint(15, sessionid);
  slot.pending = NamesField(16, cred.uid, cred.euid, cred.gid, loginuid, &scratch_);
  slot.names_generation = names_->Generation();
  slot.flags = flags;
  slot.seccomp = seccomp;
  slot.loginuid = loginuid;
  slot.sessionid = sessionid;
  slot.cred = cred;
  slot.bytes.assign(scratch_.view());
  slot.valid = true;
}

void EventEncoder::Encode(const EventFacts& facts, WireWriter* out) {
  const nt_header& header = facts.raw->header;
  const nt_task& task = facts.raw->task;
  Process* actor = facts.actor;
  CredFields(task.cred, task.flags, task.seccomp_mode, task.loginuid, task.sessionid, actor);
  out->Varint(1, kSchemaVersion);
  out->Varint(2, facts.seq);
  out->Varint(3, static_cast<uint64_t>(facts.kind));
  out->Varint(4, header.ktime_boot_ns);
  out->Fixed64(5, facts.t_wall_ns);
  if (facts.said == nullptr) {  // else it is no record's event, but about one
    out->Varint(6, header.cpu);
    out->Varint(7, header.cpu_seq);
  }
  WriteOutcome(ReturnValue(facts), out);
  out->Bytes(9, facts.hook);
  out->Bytes(10, View(actor->uid));
  out->Varint(11, actor->exec_count);
  out->Varint(12, task.pid);
  out->Splice(actor->event_cred.bytes);
  out->Varint(17, task.cgroup_v2_id);
  out->Bool(18, (header.flags & NT_F_COMPAT32) != 0);
  out->Bool(19, (header.flags & NT_F_IO_URING) != 0);
  out->Bool(20, (header.flags & NT_F_TRUNCATED) != 0);
  WriteGapsAndRedactions(facts, actor->event_cred.pending, out);
  if (facts.said != nullptr) {
    out->AlwaysBytes(36, facts.said->SerializeAsString());
  } else {
    WriteBody(facts, out);
  }
}

void EventEncoder::EncodeSnapshot(uint64_t seq, uint64_t t_boot_ns, uint64_t t_wall_ns, Process* process,
                                  WireWriter* out) {
  CredFields(process->cred, process->task_flags, process->seccomp_mode, process->loginuid, process->sessionid, process);
  out->Varint(1, kSchemaVersion);
  out->Varint(2, seq);
  out->Varint(3, static_cast<uint64_t>(event::v1::KIND_PROCESS_SNAPSHOT));
  out->Varint(4, t_boot_ns);
  out->Fixed64(5, t_wall_ns);
  WriteOutcome(0, out);
  out->Bytes(9, "proc");
  out->Bytes(10, View(process->uid));
  out->Varint(11, process->exec_count);
  out->Varint(12, process->tgid);
  out->Splice(process->event_cred.bytes);
  EventFacts facts;
  facts.actor = process;
  if (!process->exact) facts.gaps.push_back({"actor.proc_uid", "/proc gives the start time to a clock tick only"});
  if (!process->has_cred) facts.gaps.push_back({"actor.cred", "not readable in /proc"});
  WriteGapsAndRedactions(facts, process->event_cred.pending, out);
}

void EventEncoder::EncodeAgent(event::v1::Kind kind, uint64_t seq, uint64_t t_boot_ns, uint64_t t_wall_ns,
                               const event::v1::AgentEvent& body, WireWriter* out) {
  out->Varint(1, kSchemaVersion);
  out->Varint(2, seq);
  out->Varint(3, static_cast<uint64_t>(kind));
  out->Varint(4, t_boot_ns);
  out->Fixed64(5, t_wall_ns);
  WriteOutcome(0, out);
  out->Varint(14, kUnset);
  out->Varint(15, kUnset);
  out->AlwaysBytes(36, body.SerializeAsString());
}

void EventEncoder::RefreshDictionary(Process* process) {
  auto& slot = process->dictionary;
  if (slot.revision == process->revision && slot.names_generation == names_->Generation()) return;
  scratch_.Clear();
  WriteProcess(*process, &scratch_);
  slot.bytes.assign(scratch_.view());
  slot.leaf_valid = false;
  slot.revision = process->revision;
  slot.names_generation = names_->Generation();
}

void EventEncoder::WriteProcess(const Process& process, WireWriter* out) {
  static const Image kNoImage;
  const Image& image = process.image != nullptr ? *process.image : kNoImage;
  out->Bytes(1, View(process.uid));
  out->Varint(2, process.exec_count);
  out->Varint(3, process.tgid);
  out->Varint(4, process.ppid);
  out->Varint(5, process.ns_tgid);
  if (!process.ancestors.empty()) out->Bytes(6, View(process.ancestors.front()->uid));
  out->Varint(7, process.start_boot_ns);
  if (process.exec_count > 0) out->Varint(8, image.exec_boot_ns);
  out->Bytes(9, image.exe);
  if (image.has_file) WriteFileRef(10, image.file, out);
  for (const std::string& arg : image.argv) out->AlwaysBytes(11, arg);
  out->Varint(12, image.argc);
  out->Varint(13, image.argv_bytes);
  out->Bytes(14, image.cwd);
  out->Bytes(15, ToUtf8(image.comm));
  for (const auto& node : process.ancestors) {
    const size_t at = out->Begin(16);
    out->Bytes(1, View(node->uid));
    out->Varint(2, node->pid);
    out->Bytes(3, node->exe);
    out->Bytes(4, node->argv0);
    out->Varint(5, node->user_id);
    if (const NameAnswer name = names_->User(node->user_id); name.state == NameState::kKnown) out->Bytes(6, name.name);
    out->End(at);
  }
  if (process.place != nullptr) {
    const ContainerRef& container = process.place->container;
    if (!container.id.empty() || !container.pod_uid.empty()) {
      const size_t at = out->Begin(17);
      out->Bytes(1, ToUtf8(container.id));
      out->Bytes(2, container.runtime);
      out->Bytes(3, container.pod_uid);
      out->Bytes(4, process.place->path);
      out->End(at);
    }
    out->Bytes(18, process.place->path);
  }
  const size_t ns = out->Begin(19);
  out->Varint(1, process.pid_ns);
  out->Varint(2, process.mnt_ns);
  out->Varint(3, process.net_ns);
  out->Varint(4, process.ipc_ns);
  out->Varint(5, process.uts_ns);
  out->Varint(6, process.cgroup_ns);
  out->Varint(7, process.cred.userns_inum);
  out->End(ns);
  out->Bool(20, image.from_proc);
  out->Bytes(21, image.script);
  out->Varint(22, process.loginuid);
  out->Varint(23, process.sessionid);
  if (process.has_cred) {
    WriteCredentials(24, process.cred, process.task_flags, process.seccomp_mode, out);
    NamesField(25, process.cred.uid, process.cred.euid, process.cred.gid, process.loginuid, out);
  }
  out->Bool(26, process.complete() && process.place != nullptr);
  out->Bool(27, process.ancestors_truncated);
  out->Varint(28, process.tty_nr);
  out->Varint(29, process.pgid);
  out->Varint(30, process.sid);
  WritePerson(process, out);
}

void EventEncoder::WritePerson(const Process& process, WireWriter* out) {
  const auto name = [&](uint32_t field, uint32_t uid) {
    if (const NameAnswer answer = names_->User(uid); answer.state == NameState::kKnown) out->Bytes(field, answer.name);
  };
  if (process.elevation != nullptr) {
    for (const Elevation& link : *process.elevation) {
      const size_t at = out->Begin(31);
      out->Bytes(1, View(link.process));
      out->Bytes(2, CauseName(link.cause));
      out->Bytes(3, link.tool);
      out->Varint(4, link.from_uid);
      name(5, link.from_uid);
      out->Varint(6, link.to_uid);
      name(7, link.to_uid);
      for (const std::string& arg : link.command) out->AlwaysBytes(8, arg);
      out->Bool(9, link.command_truncated);
      out->Varint(10, link.boot_ns);
      out->Bool(11, link.from_proc);
      out->Fixed64(12, link.added_caps);
      out->End(at);
    }
  }
  if (process.entry != nullptr) {
    const size_t at = out->Begin(32);
    out->Bytes(1, EntryName(process.entry->kind));
    out->Bytes(2, View(process.entry->leader));
    out->Varint(3, process.entry->pid);
    out->Bytes(4, process.entry->exe);
    out->Bool(5, process.entry->from_proc);
    out->End(at);
  }
  if (process.login != nullptr) {
    const size_t at = out->Begin(33);
    WriteEndpoint(1, process.login->family, process.login->address, process.login->port, out);
    out->Varint(2, process.login->boot_ns);
    out->End(at);
  }
}

}  // namespace nodetrail::agent

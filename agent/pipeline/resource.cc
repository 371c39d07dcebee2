// SPDX-License-Identifier: Apache-2.0
#include "agent/pipeline/resource.h"

#include <fmt/format.h>

#include "agent/decode/acts.h"
#include "agent/decode/paths.h"
#include "agent/enrich/operations.h"
#include "agent/enrich/syscall_names.h"

namespace nodetrail::agent {
namespace {

constexpr uint32_t kNsfsMagic = 0x6e736673;  // linux/magic.h

bool Cut(const RawEvent& raw) { return (raw.header.flags & NT_F_TRUNCATED) != 0; }

// A tail as long as a tail gets was probably longer: one more name did not fit.
bool Full(std::string_view tail) { return tail.size() + 256 > NT_PATH_MAX; }

// A mount from something that is a file: bound or moved. Otherwise its source
// is a device's name, or any word.
bool MountsAFile(const nt_act& act) {
  constexpr uint64_t kBind = 4096, kMove = 8192;
  return (act.args[3] & (kBind | kMove)) != 0;
}

// Attributes of a file that is named and not open can't be reached from here.
bool LacksBefore(const RawEvent& raw) {
  switch (raw.header.type) {
    case NT_FILE_CHMOD:
    case NT_FILE_CHOWN:
    case NT_FILE_SETXATTR:
    case NT_FILE_REMOVEXATTR:
    case NT_FILE_UTIMES:
    case NT_FILE_TRUNCATE: return raw.body.act.ret >= 0 && (raw.body.act.before.flags & NT_FILE_VALID) == 0;
    default: return false;
  }
}

void NoteDetached(const nt_file& file, EventFacts* facts) {
  if ((file.flags & NT_FILE_DETACHED) == 0) return;
  facts->gaps.push_back({"resource.path", "the path ends outside the actor's root directory"});
}

std::string_view WhyMissing(const RawEvent& raw) {
  return Cut(raw) ? "did not fit in the record" : "the kernel could not read the caller's memory";
}

}  // namespace

void ResourceReader::User(const RawEvent& raw, nt_tail user, std::string_view field, Buffers* buffers, PathFacts* out,
                          EventFacts* facts) {
  const std::string_view string = raw.Tail(user);
  if (!scrubber_->Suspect(string)) {
    out->user_string = string;
    return;
  }
  buffers->user.assign(string);
  scrubber_->ScrubPath(field, &buffers->user, &facts->redactions);
  out->user_string = buffers->user;
}

void ResourceReader::FromUser(const RawEvent& raw, nt_tail user, nt_tail base, int64_t ret, std::string_view field,
                              Buffers* buffers, PathFacts* out, EventFacts* facts) {
  out->present = true;
  if (!raw.Has(user)) {
    facts->gaps.push_back({field, WhyMissing(raw)});
    out->truncated = Cut(raw);
    return;
  }
  const std::string_view string = raw.Tail(user);
  out->source = event::v1::PATH_SOURCE_USER_STRING_RESOLVED;
  out->truncated = Cut(raw) && (Full(string) || (raw.Has(base) && Full(raw.Tail(base))));
  User(raw, user, field, buffers, out, facts);
  const bool absolute = !string.empty() && string.front() == '/';
  if (raw.Has(base)) {
    ReversePath(raw.Tail(base), &buffers->base);
    if (absolute) {
      JoinPathInRoot(buffers->base, string, &buffers->path);
    } else {
      JoinPath(buffers->base, string, &buffers->path);
    }
  } else if (absolute || string.empty()) {
    JoinPath("/", string, &buffers->path);
  } else {
    // A bad descriptor has no directory: the failure itself says so (EBADF, ENOTDIR).
    buffers->path.assign(string);
    if (ret >= 0 || (ret != -9 && ret != -20)) {
      facts->gaps.push_back({field, "relative to a directory that the kernel side could not walk"});
    }
  }
  if (scrubber_->Suspect(buffers->path)) scrubber_->ScrubPath(field, &buffers->path, &facts->redactions);
  out->path = buffers->path;
}

void ResourceReader::FromKernel(const RawEvent& raw, EventFacts* facts) {
  facts->path.present = true;
  facts->path.source = event::v1::PATH_SOURCE_KERNEL_OBJECT;
  facts->path.truncated = Cut(raw) && Full(raw.Tail(NT_TAIL_PATH));
  ReversePath(raw.Tail(NT_TAIL_PATH), &first_.path);
  if (scrubber_->Suspect(first_.path)) scrubber_->ScrubPath("resource.path", &first_.path, &facts->redactions);
  facts->path.path = first_.path;
}

void ResourceReader::Text(const RawEvent& raw, nt_tail tail, std::string_view field, EventFacts* facts) {
  facts->text = raw.Tail(tail);
  if (!scrubber_->Suspect(facts->text)) return;
  text_.assign(facts->text);
  scrubber_->ScrubPath(field, &text_, &facts->redactions);
  facts->text = text_;
}

void ResourceReader::ReadSocket(const RawEvent& raw, EventFacts* facts) {
  const nt_socket& socket = raw.body.socket;
  if (raw.Has(NT_TAIL_PATH)) {
    FromKernel(raw, facts);
    if (raw.Has(NT_TAIL_USER_PATH)) {
      User(raw, NT_TAIL_USER_PATH, "resource.user_string", &first_, &facts->path, facts);
    }
  } else if (raw.Has(NT_TAIL_USER_PATH)) {
    FromUser(raw, NT_TAIL_USER_PATH, NT_TAIL_BASE, socket.ret, "resource.path", &first_, &facts->path, facts);
  }
  if (raw.Has(NT_TAIL_SOCKET_NAME)) Text(raw, NT_TAIL_SOCKET_NAME, "resource.abstract_name", facts);
  if ((socket.flags & NT_SK_UNREAD) != 0) facts->gaps.push_back({"resource.address", WhyMissing(raw)});
  if ((socket.flags & NT_SK_USER_ADDR) != 0 && (socket.flags & NT_SK_UNREAD) == 0) {
    facts->gaps.push_back(
        {"resource.address", "from the caller's memory: the kernel keeps none of a call that failed"});
  }
  if ((socket.flags & NT_SK_DETACHED) != 0) {
    facts->gaps.push_back({"resource.path", "as who bound it sees it: outside the actor's root directory"});
  }
  if (raw.header.type != NT_NET_UNIX_CONNECT || socket.ret < 0) return;
  if ((socket.flags & NT_SK_PEER) == 0) {
    facts->gaps.push_back({"resource.peer", "the kernel keeps no peer of a datagram socket"});
  } else if (socket.peer_start_boottime_ns == 0) {
    facts->gaps.push_back({"resource.peer.exe", "the process that listened has ended"});
  }
}

void ResourceReader::ReadAct(const RawEvent& raw, EventFacts* facts) {
  const nt_act& act = raw.body.act;
  const bool compat = (raw.header.flags & NT_F_COMPAT32) != 0;
  const bool ring = (raw.header.flags & NT_F_IO_URING) != 0;
  if (raw.header.type == NT_SIGNAL) {
    // The kernel's own word, whatever the sender's pid namespace is.
    facts->operation = OperationName(raw.header.type, act, false);
    facts->target_pid = static_cast<uint32_t>(act.args[NT_SIGNAL_TGID]);
    if ((act.has & NT_ACT_BY_KERNEL) != 0) {
      facts->gaps.push_back({"actor", "the kernel sent the signal while this process ran"});
    }
    return;
  }
  const ActCall* call = FindActCall(act.syscall_nr, compat);
  facts->syscall = ring ? kUringCall : SyscallName(act.syscall_nr, compat);
  facts->operation = OperationName(raw.header.type, act, compat);
  if (call == nullptr) {
    facts->gaps.push_back({"resource", "a system call that this agent does not know"});
    return;
  }
  // A null pointer names nothing: utimensat on a descriptor, a mount without source. A request's pointers are not kept.
  const auto named = [&](uint32_t at) {
    const auto argument = ActArgument(act, *call, at);
    return argument && (*argument != 0 || ring);
  };
  if (raw.Has(NT_TAIL_PATH)) {
    const nt_file& file = (act.before.flags & NT_FILE_VALID) != 0 ? act.before : act.after;
    FromKernel(raw, facts);
    if (file.fs_magic == kNsfsMagic) {
      // It has no path; /proc spells it so, with the namespace's type.
      first_.path = fmt::format("ns:[{}]", file.ino);
      facts->path.path = first_.path;
    } else {
      NoteDetached(file, facts);
    }
  } else if (named(NT_S_AT_PATH)) {
    FromUser(raw, NT_TAIL_USER_PATH, NT_TAIL_BASE, act.ret, "resource.path", &first_, &facts->path, facts);
  }
  if (named(NT_S_AT_PATH2)) {
    if (raw.header.type == NT_FS_MOUNT && !MountsAFile(act) && raw.Has(NT_TAIL_USER_PATH2)) {
      facts->new_path.present = true;
      facts->new_path.source = event::v1::PATH_SOURCE_USER_STRING_RESOLVED;
      User(raw, NT_TAIL_USER_PATH2, "resource.source", &second_, &facts->new_path, facts);
      facts->new_path.path = facts->new_path.user_string;
    } else {
      FromUser(raw, NT_TAIL_USER_PATH2, NT_TAIL_BASE2, act.ret, "resource.new_path", &second_, &facts->new_path, facts);
    }
  }
  if (raw.Has(NT_TAIL_TEXT)) {
    Text(raw, NT_TAIL_TEXT, "resource.text", facts);
  } else if (named(NT_S_AT_TEXT)) {
    facts->gaps.push_back({"resource.text", WhyMissing(raw)});
  }
  if ((act.has & NT_ACT_READ_LATE) != 0) {
    facts->gaps.push_back({"resource.path", "the caller's string could be read only after the call"});
  }
  if (LacksBefore(raw)) {
    facts->gaps.push_back({"resource.before", "the file was named, not open: these hooks see the name only"});
  }
  if (const auto pid = ActArgument(act, *call, NT_S_AT_PID)) {
    const auto signed_pid = static_cast<int32_t>(*pid);
    facts->target_pid = signed_pid > 0 ? static_cast<uint32_t>(signed_pid) : 0;
  }
}

void ResourceReader::Read(const RawEvent& raw, const Image* replaced, EventFacts* facts) {
  const bool compat = (raw.header.flags & NT_F_COMPAT32) != 0;
  const bool ring = (raw.header.flags & NT_F_IO_URING) != 0;
  switch (raw.header.type) {
    case NT_EXEC:
      if (raw.Has(NT_TAIL_PREV_EXE)) {
        ReversePath(raw.Tail(NT_TAIL_PREV_EXE), &prev_exe_);
        scrubber_->ScrubPath("resource.prev_exe", &prev_exe_, &facts->redactions);
        facts->prev_exe = prev_exe_;
      } else if (replaced != nullptr) {
        facts->prev_exe = replaced->exe;
      }
      if (raw.body.exec.has_old_cred == 0) facts->gaps.push_back({"before", "the start of the exec was not seen"});
      break;
    case NT_FILE_OPEN:
    case NT_FILE_DENIED: {
      const nt_file_open& open = raw.body.open;
      facts->syscall = ring ? kUringCall : SyscallName(open.syscall_nr, compat);
      if (raw.Has(NT_TAIL_PATH)) {
        FromKernel(raw, facts);
        if (raw.Has(NT_TAIL_USER_PATH)) {
          User(raw, NT_TAIL_USER_PATH, "resource.user_string", &first_, &facts->path, facts);
        }
      } else {
        FromUser(raw, NT_TAIL_USER_PATH, NT_TAIL_BASE, open.ret, "resource.path", &first_, &facts->path, facts);
      }
      NoteDetached(open.file, facts);
      break;
    }
    case NT_NET_ACCEPT:
      if (ring) facts->syscall = kUringCall;
      break;
    case NT_NET_CONNECT:
      if (raw.body.net.addr_from_user != 0) {
        if (ring) facts->syscall = kUringCall;  // otherwise the state of the socket told it
        facts->gaps.push_back(
            {"resource.remote_ip", "from the caller's memory: the attempt failed before the kernel used an address"});
      }
      break;
    default:
      if (IsAct(raw.header.type)) ReadAct(raw, facts);
      if (IsSocket(raw.header.type)) ReadSocket(raw, facts);
      break;
  }
  if ((raw.header.flags & NT_F_URING_ENTRY) != 0) {
    facts->gaps.push_back(
        {"resource", "from the caller's entry in the ring: the request was refused before it was one"});
  }
  // For a connect, the opening of the socket is the act itself.
  if ((raw.task.flags & NT_T_SNAPSHOT) != 0 && raw.header.type != NT_NET_CONNECT) {
    facts->gaps.push_back({"actor.cred", "as of the opening of the socket"});
  }
}

}  // namespace nodetrail::agent

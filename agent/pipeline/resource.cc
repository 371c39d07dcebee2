// SPDX-License-Identifier: Apache-2.0
#include "agent/pipeline/resource.h"

#include "agent/decode/paths.h"
#include "agent/enrich/syscall_names.h"

namespace nodetrail::agent {
namespace {

bool Cut(const RawEvent& raw) { return (raw.header.flags & NT_F_TRUNCATED) != 0; }

// A tail as long as a tail gets was probably longer: one more name did not fit.
bool Full(std::string_view tail) { return tail.size() + 256 > NT_PATH_MAX; }

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
      facts->syscall = ring ? "io_uring" : SyscallName(open.syscall_nr, compat);
      if (raw.Has(NT_TAIL_PATH)) {
        facts->path.present = true;
        facts->path.source = event::v1::PATH_SOURCE_KERNEL_OBJECT;
        facts->path.truncated = Cut(raw) && Full(raw.Tail(NT_TAIL_PATH));
        ReversePath(raw.Tail(NT_TAIL_PATH), &first_.path);
        if (scrubber_->Suspect(first_.path)) {
          scrubber_->ScrubPath("resource.path", &first_.path, &facts->redactions);
        }
        facts->path.path = first_.path;
        if (raw.Has(NT_TAIL_USER_PATH)) {
          User(raw, NT_TAIL_USER_PATH, "resource.user_string", &first_, &facts->path, facts);
        }
      } else {
        FromUser(raw, NT_TAIL_USER_PATH, NT_TAIL_BASE, open.ret, "resource.path", &first_, &facts->path, facts);
      }
      if ((open.file.flags & NT_FILE_DETACHED) != 0) {
        facts->gaps.push_back({"resource.path", "the path ends outside the actor's root directory"});
      }
      break;
    }
    case NT_FILE_DELETE:
    case NT_FILE_RENAME: {
      const nt_file_names& names = raw.body.names;
      facts->syscall = ring ? "io_uring" : SyscallName(names.syscall_nr, compat);
      FromUser(raw, NT_TAIL_USER_PATH, NT_TAIL_BASE, names.ret, "resource.path", &first_, &facts->path, facts);
      if (raw.header.type == NT_FILE_RENAME) {
        FromUser(raw, NT_TAIL_USER_PATH2, NT_TAIL_BASE2, names.ret, "resource.new_path", &second_, &facts->new_path,
                 facts);
      }
      if (names.user_read_late != 0) {
        facts->gaps.push_back({"resource.path", "the caller's string could be read only after the call"});
      }
      break;
    }
    case NT_NET_CONNECT:
      if (raw.body.net.addr_from_user != 0) {
        facts->gaps.push_back(
            {"resource.remote_ip", "from the caller's memory: the attempt failed before the kernel used an address"});
      }
      break;
    default: break;
  }
  // For a connect, the opening of the socket is the act itself.
  if ((raw.task.flags & NT_T_SNAPSHOT) != 0 && raw.header.type != NT_NET_CONNECT) {
    facts->gaps.push_back({"actor.cred", "as of the opening of the socket"});
  }
}

}  // namespace nodetrail::agent

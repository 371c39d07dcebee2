// SPDX-License-Identifier: Apache-2.0
#include "nodetrail/base/status.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>

namespace nodetrail {
namespace {

Code CodeOfErrno(int err) {
  switch (err) {
    case ENOENT:
    case ENOTDIR: return Code::kNotFound;
    case EACCES:
    case EPERM: return Code::kPermissionDenied;
    case ENOSPC:
    case EDQUOT:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case EFBIG: return Code::kResourceExhausted;
    case EEXIST: return Code::kAlreadyExists;
    case EINVAL: return Code::kInvalidArgument;
    case EAGAIN:
    case EIO:
    case ECONNREFUSED:
    case ECONNRESET:
    case EROFS: return Code::kUnavailable;
    default: return Code::kUnknown;
  }
}

}  // namespace

std::string_view CodeName(Code code) {
  switch (code) {
    case Code::kOk: return "OK";
    case Code::kCancelled: return "CANCELLED";
    case Code::kUnknown: return "UNKNOWN";
    case Code::kInvalidArgument: return "INVALID_ARGUMENT";
    case Code::kDeadlineExceeded: return "DEADLINE_EXCEEDED";
    case Code::kNotFound: return "NOT_FOUND";
    case Code::kAlreadyExists: return "ALREADY_EXISTS";
    case Code::kPermissionDenied: return "PERMISSION_DENIED";
    case Code::kResourceExhausted: return "RESOURCE_EXHAUSTED";
    case Code::kFailedPrecondition: return "FAILED_PRECONDITION";
    case Code::kAborted: return "ABORTED";
    case Code::kOutOfRange: return "OUT_OF_RANGE";
    case Code::kUnimplemented: return "UNIMPLEMENTED";
    case Code::kInternal: return "INTERNAL";
    case Code::kUnavailable: return "UNAVAILABLE";
    case Code::kDataLoss: return "DATA_LOSS";
    case Code::kUnauthenticated: return "UNAUTHENTICATED";
  }
  return "UNKNOWN";
}

std::string Status::ToString() const {
  return ok() ? std::string("OK") : fmt::format("{}: {}", CodeName(code()), message());
}

Status Annotate(const Status& status, std::string_view context) {
  if (status.ok()) return status;
  return {status.code(), fmt::format("{}: {}", context, status.message())};
}

std::string ErrnoName(int err) {
  if (const char* name = strerrorname_np(err); name != nullptr) return name;
  return fmt::format("errno {}", err);
}

Status ErrnoStatus(int err, std::string_view context) {
  const char* text = strerrordesc_np(err);
  return {CodeOfErrno(err), text != nullptr ? fmt::format("{}: {} ({})", context, ErrnoName(err), text)
                                            : fmt::format("{}: {}", context, ErrnoName(err))};
}

void CheckFailed(const char* condition, const char* file, int line) {
  std::fprintf(stderr, "%s:%d: invariant broken: %s\n", file, line, condition);
  std::abort();
}

}  // namespace nodetrail

// SPDX-License-Identifier: Apache-2.0
//
// Status and Result<T>: how a function says that it failed. Codes equal
// gRPC's (grpc/status.h). Both are [[nodiscard]]. A message names the thing,
// the cause and, where there is one, the fix:
// "spool: append segment 000042: fdatasync: EIO (Input/output error)".
//
// Ours, not absl's: Debian 12 builds absl for C++14, so its string_view is
// another type than std::string_view and leaks into every signature.
#ifndef NODETRAIL_BASE_STATUS_H_
#define NODETRAIL_BASE_STATUS_H_

#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace nodetrail {

enum class Code : int {
  kOk = 0,
  kCancelled = 1,
  kUnknown = 2,
  kInvalidArgument = 3,
  kDeadlineExceeded = 4,
  kNotFound = 5,
  kAlreadyExists = 6,
  kPermissionDenied = 7,
  kResourceExhausted = 8,
  kFailedPrecondition = 9,
  kAborted = 10,
  kOutOfRange = 11,
  kUnimplemented = 12,
  kInternal = 13,
  kUnavailable = 14,
  kDataLoss = 15,
  kUnauthenticated = 16,
};

// "NOT_FOUND" for kNotFound.
std::string_view CodeName(Code code);

class [[nodiscard]] Status {
 public:
  Status() = default;  // OK
  Status(Code code, std::string message)
      : rep_(code == Code::kOk ? nullptr : std::make_shared<const Rep>(Rep{code, std::move(message)})) {}

  [[nodiscard]] bool ok() const { return rep_ == nullptr; }
  [[nodiscard]] Code code() const { return rep_ ? rep_->code : Code::kOk; }
  [[nodiscard]] std::string_view message() const { return rep_ ? std::string_view(rep_->message) : std::string_view(); }
  // "OK", or "NOT_FOUND: open /x: ENOENT (No such file or directory)".
  [[nodiscard]] std::string ToString() const;
  // Where failing is expected and handled otherwise; says so at the call.
  void Ignore() const {}

 private:
  struct Rep {
    Code code;
    std::string message;
  };
  std::shared_ptr<const Rep> rep_;
};

inline Status OkStatus() { return {}; }

// A value, or why there is none. Reading the value of a failed Result aborts:
// it is our bug.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}         // NOLINT(google-explicit-constructor)
  Result(Status status) : status_(std::move(status)) {  // NOLINT(google-explicit-constructor)
    if (status_.ok()) std::abort();
  }

  [[nodiscard]] bool ok() const { return value_.has_value(); }
  [[nodiscard]] const Status& status() const& { return status_; }
  [[nodiscard]] Status status() && { return std::move(status_); }

  T& value() & { return Checked(*this); }
  const T& value() const& { return Checked(*this); }
  T&& value() && { return std::move(Checked(*this)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }
  template <typename U>
  T value_or(U&& other) const& {
    return value_.has_value() ? *value_ : static_cast<T>(std::forward<U>(other));
  }

 private:
  template <typename Self>
  static auto& Checked(Self& self) {
    if (!self.value_.has_value()) std::abort();
    return *self.value_;
  }
  Status status_;
  std::optional<T> value_;
};

// "context: message", same code. Once per layer, with the object's name.
Status Annotate(const Status& status, std::string_view context);

// "context: EIO (Input/output error)". The code follows the errno: ENOENT
// kNotFound; EACCES, EPERM kPermissionDenied; ENOSPC, EDQUOT, EMFILE, ENFILE,
// ENOMEM, EFBIG kResourceExhausted; EEXIST kAlreadyExists; EINVAL
// kInvalidArgument; EAGAIN, EIO, ECONNREFUSED, ECONNRESET, EROFS kUnavailable;
// any other kUnknown.
Status ErrnoStatus(int err, std::string_view context);

// "EACCES" for 13; "errno 4095" for an unknown one. `err` is positive.
std::string ErrnoName(int err);

// Shorthands: NotFound("no such agent: x").
inline Status InvalidArgument(std::string message) { return {Code::kInvalidArgument, std::move(message)}; }
inline Status NotFound(std::string message) { return {Code::kNotFound, std::move(message)}; }
inline Status FailedPrecondition(std::string message) { return {Code::kFailedPrecondition, std::move(message)}; }
inline Status ResourceExhausted(std::string message) { return {Code::kResourceExhausted, std::move(message)}; }
inline Status PermissionDenied(std::string message) { return {Code::kPermissionDenied, std::move(message)}; }
inline Status Unavailable(std::string message) { return {Code::kUnavailable, std::move(message)}; }
inline Status DataLoss(std::string message) { return {Code::kDataLoss, std::move(message)}; }
inline Status Internal(std::string message) { return {Code::kInternal, std::move(message)}; }
inline Status OutOfRange(std::string message) { return {Code::kOutOfRange, std::move(message)}; }
inline Status AlreadyExists(std::string message) { return {Code::kAlreadyExists, std::move(message)}; }
inline Status Unimplemented(std::string message) { return {Code::kUnimplemented, std::move(message)}; }
inline Status Cancelled(std::string message) { return {Code::kCancelled, std::move(message)}; }

// Exit codes of the daemons (docs/operations.md). The CLI's own errors are
// >= 64; `nodetrail verify` uses 0-3 for its verdict.
enum class ExitCode : int {
  kOk = 0,
  kConfig = 2,
  kKernelUnsupported = 3,
  kKeys = 4,
  kStorage = 5,
  kInternal = 70,
};

}  // namespace nodetrail

#define NT_CONCAT_INNER(a, b) a##b
#define NT_CONCAT(a, b) NT_CONCAT_INNER(a, b)

#define NT_RETURN_IF_ERROR(expr)                                                      \
  do {                                                                                \
    if (::nodetrail::Status nt_status_ = (expr); !nt_status_.ok()) return nt_status_; \
  } while (false)

// NT_ASSIGN_OR_RETURN(auto fd, OpenFd(path, O_RDONLY));
#define NT_ASSIGN_OR_RETURN(lhs, expr) NT_ASSIGN_OR_RETURN_IMPL(NT_CONCAT(nt_result_, __LINE__), lhs, expr)
#define NT_ASSIGN_OR_RETURN_IMPL(result, lhs, expr)    \
  auto result = (expr);                                \
  if (!result.ok()) return std::move(result).status(); \
  lhs = std::move(result).value()

// An invariant of our own. A failure is our bug: abort, the supervisor
// restarts, the spool recovers. Never for untrusted input.
#define NT_CHECK(cond) ((cond) ? static_cast<void>(0) : ::nodetrail::CheckFailed(#cond, __FILE__, __LINE__))

namespace nodetrail {
[[noreturn]] void CheckFailed(const char* condition, const char* file, int line);
}  // namespace nodetrail

#endif  // NODETRAIL_BASE_STATUS_H_

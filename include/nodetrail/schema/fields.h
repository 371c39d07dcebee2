// SPDX-License-Identifier: Apache-2.0
//
// The fields of an event by name, for queries. One table says name, aliases,
// type and meaning; the parser, the evaluator, shell completion and
// docs/query.md all read it.
#ifndef NODETRAIL_SCHEMA_FIELDS_H_
#define NODETRAIL_SCHEMA_FIELDS_H_

#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "nodetrail/schema/event_view.h"

namespace nodetrail::schema {

enum class FieldType : uint8_t {
  kText,      // whole value, wildcards * and ?
  kPath,      // as text; a pattern without '/' is matched with the last component too
  kId,        // hexadecimal identity: a prefix of at least 4 digits is enough
  kKind,      // a kind label, wildcards
  kNumber,    // decimal or 0x…, ranges
  kUser,      // a user name (wildcards) or a numeric id
  kBool,      // true or false
  kErrno,     // EACCES or 13
  kOutcome,   // success or failure
  kAddress,   // an address or CIDR block; wildcards on the printed form
  kTime,      // RFC 3339, or relative to now: 10m means ten minutes ago
  kDuration,  // 1s, 20ms, 3m; ranges
};

enum class FieldId : uint8_t {
  kEventId,
  kKind,
  kAction,
  kTime,
  kNode,
  kAgent,
  kHost,
  kTenant,
  kEpoch,
  kSeq,
  kBatch,
  kLogIndex,
  kCpu,
  kHook,
  kOutcome,
  kSuccess,
  kErrno,
  kRetval,
  kUser,
  kLogin,
  kGroup,
  kUid,
  kEuid,
  kSuid,
  kFsuid,
  kGid,
  kEgid,
  kSgid,
  kFsgid,
  kLoginUid,
  kSession,
  kCap,
  kUserns,
  kNoNewPrivs,
  kPid,
  kTid,
  kPpid,
  kProc,
  kParent,
  kAncestor,
  kAncestorExe,
  kComm,
  kExe,
  kScript,
  kArg,
  kCmd,
  kCwd,
  kTty,
  kContainer,
  kRuntime,
  kPod,
  kCgroup,
  kComplete,
  kVia,
  kFromUser,
  kEntry,
  kLoginAddr,
  kPath,
  kNewPath,
  kPathSource,
  kInode,
  kDevice,
  kMode,
  kFileUid,
  kFlags,
  kSyscall,
  kOperation,
  kText,
  kTargetPid,
  kAddr,
  kRemoteAddr,
  kLocalAddr,
  kPort,
  kRemotePort,
  kLocalPort,
  kProtocol,
  kDirection,
  kBytesSent,
  kBytesReceived,
  kFamily,
  kSocketType,
  kPeerPid,
  kPeerUid,
  kPeerExe,
  kDuration,
  kCause,
  kOldUid,
  kOldEuid,
  kChildPid,
  kChild,
  kExitCode,
  kSignal,
  kReason,
  kStage,
  kCount,
  kGap,
  kRedaction,
  kRule,
  kTruncated,
};

struct FieldInfo {
  FieldId id;
  FieldType type;
  std::string_view name;
  std::string_view aliases;  // separated by spaces
  std::string_view help;     // one line
  std::string_view example;  // a term that uses it
};

[[nodiscard]] std::span<const FieldInfo> Fields();
[[nodiscard]] const FieldInfo& Info(FieldId id);
// By name or alias; nullptr if there is none.
[[nodiscard]] const FieldInfo* FindField(std::string_view name);
// The nearest names, for "did you mean"; empty if none is near.
[[nodiscard]] std::string_view SuggestField(std::string_view name);
[[nodiscard]] std::string_view TypeName(FieldType type);

// The values of one field: none, one, or many (a field of many matches if any
// value does). Views point into the event, the process or `own`.
struct FieldValues {
  std::vector<std::string_view> text;
  std::vector<int64_t> numbers;  // beyond 2^63-1 they saturate
  std::deque<std::string> own;

  void Clear() {
    text.clear();
    numbers.clear();
    own.clear();
  }
};

// Replaces *out. Text types fill `text`; kNumber, kBool, kErrno, kOutcome
// (1 success, 0 failure), kTime (ns), kDuration (ns) and kKind (the number)
// fill `numbers`; kUser fills both; kAddress fills `text` with 4 or 16 bytes;
// kId with raw bytes.
void GetField(const EventView& view, FieldId field, FieldValues* out);

// What a bare word searches, case-insensitively: kind, node, agent, users,
// program, script, command line, command name, paths, addresses (printed),
// container, reason.
void GetMainText(const EventView& view, FieldValues* out);

// argv joined by single spaces; the executable's path if argv is empty.
[[nodiscard]] std::string CommandLine(const event::v1::Process& process);

// The table of docs/query.md, Markdown.
[[nodiscard]] std::string FieldsMarkdown();

}  // namespace nodetrail::schema

#endif  // NODETRAIL_SCHEMA_FIELDS_H_

// SPDX-License-Identifier: Apache-2.0
#include "agent/decode/decode.h"

#include <sys/socket.h>

#include <cstring>
#include <type_traits>

#include "agent/decode/acts.h"

namespace nodetrail::agent {
namespace {

static_assert(std::is_trivially_copyable_v<RecordBody>);
static_assert(NT_TAIL_MAX <= 32, "RawEvent::present has one bit per tail kind");

enum class TailForm : uint8_t { kNone, kPath, kUserString, kBytes };

struct TailRule {
  TailForm form;
  uint32_t max_len;
};

constexpr std::array<TailRule, NT_TAIL_MAX> kTailRules = [] {
  std::array<TailRule, NT_TAIL_MAX> rules{};
  rules[NT_TAIL_PATH] = {TailForm::kPath, NT_PATH_MAX};
  rules[NT_TAIL_CWD] = {TailForm::kPath, NT_PATH_MAX};
  rules[NT_TAIL_USER_PATH] = {TailForm::kUserString, NT_PATH_MAX};
  rules[NT_TAIL_BASE] = {TailForm::kPath, NT_PATH_MAX};
  rules[NT_TAIL_USER_PATH2] = {TailForm::kUserString, NT_PATH_MAX};
  rules[NT_TAIL_BASE2] = {TailForm::kPath, NT_PATH_MAX};
  rules[NT_TAIL_ARGV] = {TailForm::kBytes, NT_ARGV_MAX};
  rules[NT_TAIL_SCRIPT] = {TailForm::kUserString, NT_PATH_MAX};
  rules[NT_TAIL_CGROUP] = {TailForm::kPath, NT_PATH_MAX};
  rules[NT_TAIL_PREV_EXE] = {TailForm::kPath, NT_PATH_MAX};
  rules[NT_TAIL_TEXT] = {TailForm::kUserString, NT_PATH_MAX};
  rules[NT_TAIL_SOCKET_NAME] = {TailForm::kBytes, NT_SUN_PATH_MAX};
  return rules;
}();

// Every component is non-empty and ends in a NUL; empty stands for "/". A lone
// NUL is an object without a name, a pipe say.
bool WellFormedPath(std::string_view path) {
  if (path.empty() || path == std::string_view("\0", 1)) return true;
  if (path.back() != '\0' || path.front() == '\0') return false;
  return path.find(std::string_view("\0\0", 2)) == std::string_view::npos;
}

Reject DecodeTails(std::string_view rest, RawEvent* out) {
  while (!rest.empty()) {
    nt_tail_header tail;
    if (rest.size() < sizeof tail) return Reject::kTailHeader;
    std::memcpy(&tail, rest.data(), sizeof tail);
    rest.remove_prefix(sizeof tail);
    if (tail.kind >= NT_TAIL_MAX || kTailRules[tail.kind].form == TailForm::kNone) return Reject::kTailKind;
    const TailRule& rule = kTailRules[tail.kind];
    if (tail.len > rest.size() || tail.len > rule.max_len) return Reject::kTailLength;
    const uint32_t bit = 1U << tail.kind;
    if ((out->present & bit) != 0) return Reject::kTailRepeated;
    const std::string_view bytes = rest.substr(0, tail.len);
    if (rule.form == TailForm::kPath && !WellFormedPath(bytes)) return Reject::kPath;
    if (rule.form == TailForm::kUserString && bytes.find('\0') != std::string_view::npos) return Reject::kUserString;
    out->present |= bit;
    out->tails[tail.kind] = bytes;
    rest.remove_prefix(tail.len);
  }
  return Reject::kNone;
}

bool Internet(uint16_t family) { return family == AF_INET || family == AF_INET6; }

// Addresses are printed by their family: it must be one of the two.
bool FamilyFits(const RawEvent& event) {
  switch (event.header.type) {
    case NT_NET_CONNECT:
    case NT_NET_ACCEPT:
    case NT_NET_CLOSE: return Internet(event.body.net.family);
    default: break;
  }
  return !IsSocket(event.header.type) || event.body.socket.addr_family == AF_UNSPEC ||
         Internet(event.body.socket.addr_family);
}

}  // namespace

int BodySize(uint16_t type) {
  switch (type) {
    case NT_EXEC: return sizeof(nt_exec);
    case NT_FORK: return sizeof(nt_fork);
    case NT_EXIT: return sizeof(nt_exit);
    case NT_CRED: return sizeof(nt_cred_change);
    case NT_FILE_OPEN:
    case NT_FILE_DENIED: return sizeof(nt_file_open);
    case NT_NET_CONNECT:
    case NT_NET_ACCEPT:
    case NT_NET_CLOSE: return sizeof(nt_net);
    case NT_CGROUP: return sizeof(nt_cgroup);
    case NT_NET_BIND:
    case NT_NET_LISTEN:
    case NT_NET_UNIX_CONNECT:
    case NT_NET_RAW_SOCKET:
    case NT_NET_PACKET_SOCKET: return sizeof(nt_socket);
    default: return IsAct(type) ? static_cast<int>(sizeof(nt_act)) : -1;
  }
}

Reject Decode(std::span<const std::byte> record, RawEvent* out) {
  constexpr size_t kFixed = sizeof(nt_header) + sizeof(nt_task);
  if (record.size() >= sizeof(nt_header)) std::memcpy(&out->header, record.data(), sizeof(nt_header));
  if (record.size() < kFixed) return Reject::kShort;
  if (out->header.abi_version != NT_ABI_VERSION) return Reject::kVersion;
  if (out->header.total_len != record.size() || record.size() > NT_RECORD_MAX) return Reject::kLength;
  const int body_size = BodySize(out->header.type);
  if (body_size < 0) return Reject::kType;
  const auto body_bytes = static_cast<size_t>(body_size);
  if (record.size() - kFixed < body_bytes) return Reject::kBody;

  std::memcpy(&out->task, record.data() + sizeof(nt_header), sizeof(nt_task));
  std::memcpy(&out->body, record.data() + kFixed, body_bytes);
  if (!FamilyFits(*out)) return Reject::kFamily;

  out->present = 0;
  out->tails.fill({});
  const std::span<const std::byte> rest = record.subspan(kFixed + body_bytes);
  // Bytes seen as characters: the one cast between the two worlds.
  return DecodeTails({reinterpret_cast<const char*>(rest.data()), rest.size()}, out);  // NOLINT
}

std::string_view RejectName(Reject reason) {
  switch (reason) {
    case Reject::kNone: return "none";
    case Reject::kShort: return "short";
    case Reject::kVersion: return "version";
    case Reject::kLength: return "length";
    case Reject::kType: return "type";
    case Reject::kBody: return "body";
    case Reject::kTailHeader: return "tail_header";
    case Reject::kTailLength: return "tail_length";
    case Reject::kTailKind: return "tail_kind";
    case Reject::kTailRepeated: return "tail_repeated";
    case Reject::kPath: return "path";
    case Reject::kUserString: return "user_string";
    case Reject::kFamily: return "family";
    case Reject::kMax: break;
  }
  return "unknown";
}

}  // namespace nodetrail::agent

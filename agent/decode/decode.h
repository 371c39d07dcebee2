// SPDX-License-Identifier: Apache-2.0
//
// One ring record, checked. Pure: no allocation, no clock, no state; the same
// bytes give the same answer. This is the only place that reads ring bytes,
// and it is the target of decoder_fuzzer.cc.
#ifndef NODETRAIL_AGENT_DECODE_DECODE_H_
#define NODETRAIL_AGENT_DECODE_DECODE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "nodetrail/abi/record.h"

namespace nodetrail::agent {

// Why bytes are not a record. A reject is a loss of stage "decode".
enum class Reject : uint8_t {
  kNone = 0,      // not rejected
  kShort,         // fewer bytes than header and task block
  kVersion,       // abi_version is not NT_ABI_VERSION
  kLength,        // total_len is not the number of bytes, or above NT_RECORD_MAX
  kType,          // no such record type
  kBody,          // fewer bytes than the type's body
  kTailHeader,    // a tail's header is cut
  kTailLength,    // a tail runs past the record, or past the bound of its kind
  kTailKind,      // no such tail
  kTailRepeated,  // the same tail twice
  kPath,          // a kernel path whose components are empty or not terminated
  kUserString,    // a NUL inside a user string
  kFamily,        // a connection of, or an address in, another family than AF_INET and AF_INET6
  kMax,
};

// "tail_length" for kTailLength.
[[nodiscard]] std::string_view RejectName(Reject reason);

union RecordBody {
  nt_exec exec;         // NT_EXEC
  nt_fork fork;         // NT_FORK
  nt_exit exit;         // NT_EXIT
  nt_cred_change cred;  // NT_CRED
  nt_file_open open;    // NT_FILE_OPEN, NT_FILE_DENIED
  nt_act act;           // the types of abi/acts.h: acts.h tells what its arguments mean
  nt_net net;           // NT_NET_CONNECT, NT_NET_ACCEPT, NT_NET_CLOSE
  nt_socket socket;     // NT_NET_BIND to NT_NET_PACKET_SOCKET
  nt_cgroup cgroup;     // NT_CGROUP
};

// The fixed parts are copied out, since a record may lie unaligned; the tails
// are views into the record and live as long as it does. Use paths.h to turn
// a path tail into a path.
struct RawEvent {
  nt_header header;
  nt_task task;
  RecordBody body;
  std::array<std::string_view, NT_TAIL_MAX> tails;
  uint32_t present;  // bit k: a tail of kind k is there, maybe empty

  [[nodiscard]] bool Has(nt_tail kind) const { return (present >> kind & 1U) != 0; }
  [[nodiscard]] std::string_view Tail(nt_tail kind) const { return tails[kind]; }
};

// kNone and a filled `out`, or the first thing that is wrong; `out` is then
// unspecified, save that `header` is filled whenever 32 bytes are there.
[[nodiscard]] Reject Decode(std::span<const std::byte> record, RawEvent* out);

// Whether `type`'s body is nt_socket.
[[nodiscard]] constexpr bool IsSocket(uint16_t type) { return type >= NT_NET_BIND && type <= NT_NET_PACKET_SOCKET; }

// Bytes of the body of `type` (nt_type); -1 for no such type.
[[nodiscard]] int BodySize(uint16_t type);

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_DECODE_DECODE_H_

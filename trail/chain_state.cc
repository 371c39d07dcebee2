// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "nodetrail/trail/chain.h"

namespace nodetrail::trail {
namespace {

constexpr uint32_t kStateVersion = 1;
constexpr size_t kChecksumBytes = 4;

std::string Checksum(std::string_view bytes) {
  const uint32_t crc = Crc32c(bytes);
  std::string out;
  for (unsigned shift = 0; shift < 32; shift += 8) out += static_cast<char>((crc >> shift) & 0xffU);
  return out;
}

}  // namespace

std::string SerializeChainState(const ChainState& state) {
  v1::ChainStateRecord record;
  record.set_version(kStateVersion);
  record.set_tenant(state.tenant);
  record.set_agent_id(state.agent_id);
  const ChainHead& head = state.head;
  record.set_known(head.known);
  record.set_epoch(head.epoch);
  record.set_seq(head.seq);
  record.set_batch_hash(Bytes(head.batch_hash));
  record.set_next_key(head.next_key);
  record.set_clean(head.clean);
  record.set_boot_id(head.boot_id);
  record.set_last_event_seq(head.last_event_seq);
  record.set_last_boot_ns(head.last_boot_ns);
  record.set_last_wall_ns(head.last_wall_ns);
  record.set_clock_error_ns(head.clock_error_ns);
  *record.mutable_losses() = head.losses;
  record.set_recent_from(state.recent_from);
  for (const Hash& hash : state.recent) record.add_recent(Bytes(hash));
  const std::string bytes = record.SerializeAsString();
  return Checksum(bytes) + bytes;
}

Result<ChainState> ParseChainState(std::string_view bytes) {
  if (bytes.size() < kChecksumBytes) return DataLoss("chain state: cut off");
  const std::string_view payload = bytes.substr(kChecksumBytes);
  if (Checksum(payload) != bytes.substr(0, kChecksumBytes)) return DataLoss("chain state: checksum");
  v1::ChainStateRecord record;
  if (!record.ParseFromArray(payload.data(), static_cast<int>(payload.size())))
    return DataLoss("chain state: does not parse");
  if (record.version() != kStateVersion) {
    return FailedPrecondition(fmt::format("chain state: version {}", record.version()));
  }
  ChainState state;
  state.tenant = record.tenant();
  state.agent_id = record.agent_id();
  ChainHead& head = state.head;
  head.known = record.known();
  head.epoch = record.epoch();
  head.seq = record.seq();
  const auto batch_hash = HashFromBytes(record.batch_hash());
  if (!batch_hash) return DataLoss("chain state: batch_hash");
  head.batch_hash = *batch_hash;
  head.next_key = record.next_key();
  head.clean = record.clean();
  head.boot_id = record.boot_id();
  head.last_event_seq = record.last_event_seq();
  head.last_boot_ns = record.last_boot_ns();
  head.last_wall_ns = record.last_wall_ns();
  head.clock_error_ns = record.clock_error_ns();
  head.losses = record.losses();
  state.recent_from = record.recent_from();
  for (const std::string& bytes32 : record.recent()) {
    const auto hash = HashFromBytes(bytes32);
    if (!hash) return DataLoss("chain state: recent hash");
    state.recent.push_back(*hash);
  }
  return state;
}

}  // namespace nodetrail::trail

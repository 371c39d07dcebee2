// SPDX-License-Identifier: Apache-2.0
#include <bpf/bpf.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <vector>

#include "agent/capture/capture.h"
#include "nodetrail/abi/record.h"

namespace nodetrail::agent {

Result<std::vector<std::vector<std::byte>>> ReadLastSignals(int fd) {
  constexpr size_t kRecord = sizeof(nt_header) + sizeof(nt_task) + sizeof(nt_act);
  struct Slot {
    uint64_t count;
    std::byte record[kRecord];
  };
  bpf_map_info info{};
  uint32_t size = sizeof info;
  if (bpf_obj_get_info_by_fd(fd, &info, &size) != 0) return ErrnoStatus(errno, "the last signals");
  if (info.type != BPF_MAP_TYPE_ARRAY || info.value_size != sizeof(Slot) || info.max_entries != NT_LAST_SIGNALS) {
    return FailedPrecondition("the last signals: kept by another version of the agent");
  }
  std::vector<Slot> slots(NT_LAST_SIGNALS);
  for (uint32_t i = 0; i < NT_LAST_SIGNALS; ++i) {
    if (bpf_map_lookup_elem(fd, &i, &slots[i]) != 0) return ErrnoStatus(errno, "the last signals");
  }
  const uint64_t count = slots[0].count;
  std::vector<std::vector<std::byte>> records;
  for (uint64_t n = count > NT_LAST_SIGNALS ? count - NT_LAST_SIGNALS : 0; n < count; ++n) {
    const Slot& slot = slots[n % NT_LAST_SIGNALS];
    records.emplace_back(std::begin(slot.record), std::end(slot.record));
  }
  return records;
}

}  // namespace nodetrail::agent

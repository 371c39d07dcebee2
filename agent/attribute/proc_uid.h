// SPDX-License-Identifier: Apache-2.0
//
// proc_uid: 128 bits that name one process for ever. The first 16 bytes of
// SHA-256("nodetrail-proc\n" || boot_id (36) || tgid u32 LE || start_boottime_ns u64 LE).
// A pid that is used again has another start time, and so another proc_uid.
#ifndef NODETRAIL_AGENT_ATTRIBUTE_PROC_UID_H_
#define NODETRAIL_AGENT_ATTRIBUTE_PROC_UID_H_

#include <array>
#include <cstdint>
#include <memory>
#include <string_view>

namespace nodetrail::agent {

using ProcUid = std::array<uint8_t, 16>;

// Thread: one.
class ProcUidMaker {
 public:
  explicit ProcUidMaker(std::string_view boot_id);
  ~ProcUidMaker();
  ProcUidMaker(const ProcUidMaker&) = delete;
  ProcUidMaker& operator=(const ProcUidMaker&) = delete;

  [[nodiscard]] ProcUid Make(uint32_t tgid, uint64_t start_boot_ns);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_ATTRIBUTE_PROC_UID_H_

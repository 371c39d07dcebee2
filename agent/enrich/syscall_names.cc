// SPDX-License-Identifier: Apache-2.0
#include "agent/enrich/syscall_names.h"

#include "agent/decode/acts.h"

namespace nodetrail::agent {
namespace {

// x32 calls carry this bit above the x86-64 number.
constexpr uint32_t kX32Bit = 0x40000000;

std::string_view Name64(uint32_t nr) {
  switch (nr & ~kX32Bit) {
    case 2: return "open";
    case 85: return "creat";
    case 257: return "openat";
    case 437: return "openat2";
    default: return {};
  }
}

std::string_view Name32(uint32_t nr) {
  switch (nr) {
    case 5: return "open";
    case 8: return "creat";
    case 295: return "openat";
    case 437: return "openat2";
    default: return {};
  }
}

}  // namespace

std::string_view SyscallName(uint32_t nr, bool compat32) {
  const std::string_view name = compat32 ? Name32(nr) : Name64(nr);
  if (!name.empty()) return name;
  const ActCall* call = FindActCall(nr, compat32);
  return call == nullptr ? std::string_view() : call->name;
}

}  // namespace nodetrail::agent

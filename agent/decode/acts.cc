// SPDX-License-Identifier: Apache-2.0
#include "agent/decode/acts.h"

#include <algorithm>
#include <array>
#include <iterator>

namespace nodetrail::agent {
namespace {

constexpr uint32_t kX32Bit = 0x40000000;

#define NT_NAMED_CALL(name, nr, nr32, type, shape) ActCall{#name, nr, nr32, type, shape, true},
#define NT_PLAIN_CALL(name, nr, nr32, type, shape) ActCall{#name, nr, nr32, type, shape, false},
constexpr ActCall kCalls[] = {
    NT_ACTS_NAMED(NT_NAMED_CALL) NT_ACTS_PLAIN(NT_PLAIN_CALL) NT_ACTS_I386(NT_NAMED_CALL)
    // Where an exec fails; what it is when it succeeds is no nt_act.
    ActCall{"execve", 59, 11, NT_EXEC_FAILED, NT_S_PATH(1), false},
    ActCall{"execveat", 322, 358, NT_EXEC_FAILED, NT_S_DIR_PATH, false},
};
#undef NT_NAMED_CALL
#undef NT_PLAIN_CALL

#define NT_ACT_TYPE(type, domain, kind) ActType{type, domain, kind},
constexpr ActType kTypes[] = {NT_ACT_TYPES(NT_ACT_TYPE)};
#undef NT_ACT_TYPE

constexpr std::array<bool, NT_TYPE_MAX> kIsAct = [] {
  std::array<bool, NT_TYPE_MAX> is{};
  for (const ActType& type : kTypes) is[type.type] = true;
  return is;
}();

// x32 has its own numbers for what it can't share.
uint32_t OfX32(uint32_t nr) {
  switch (nr) {
    case 520: return 59;
    case 521: return 101;
    case 540: return 311;
    case 545: return 322;
    default: return nr;
  }
}

}  // namespace

std::span<const ActCall> ActCalls() { return kCalls; }
std::span<const ActType> ActTypes() { return kTypes; }

const ActCall* FindActCall(uint32_t nr, bool compat32) {
  if (!compat32 && (nr & kX32Bit) != 0) nr = OfX32(nr & ~kX32Bit);
  if (nr == 0) return nullptr;
  const auto* const found = std::find_if(std::begin(kCalls), std::end(kCalls), [nr, compat32](const ActCall& call) {
    return (compat32 ? call.nr32 : call.nr) == nr;
  });
  return found == std::end(kCalls) ? nullptr : found;
}

bool IsAct(uint16_t type) { return type < kIsAct.size() && kIsAct[type]; }

std::optional<uint64_t> ActArgument(const nt_act& act, const ActCall& call, uint32_t at) {
  const uint32_t slot = NT_S_OF(call.shape, at);
  if (slot == 0 || slot > std::size(act.args)) return std::nullopt;
  return act.args[slot - 1];
}

}  // namespace nodetrail::agent

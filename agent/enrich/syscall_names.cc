// SPDX-License-Identifier: Apache-2.0
#include "agent/enrich/syscall_names.h"

namespace nodetrail::agent {
namespace {

// x32 calls carry this bit above the x86-64 number.
constexpr uint32_t kX32Bit = 0x40000000;

std::string_view Name64(uint32_t nr) {
  switch (nr & ~kX32Bit) {
    case 2: return "open";
    case 82: return "rename";
    case 84: return "rmdir";
    case 85: return "creat";
    case 87: return "unlink";
    case 257: return "openat";
    case 263: return "unlinkat";
    case 264: return "renameat";
    case 304: return "open_by_handle_at";
    case 316: return "renameat2";
    case 437: return "openat2";
    default: return {};
  }
}

std::string_view Name32(uint32_t nr) {
  switch (nr) {
    case 5: return "open";
    case 8: return "creat";
    case 10: return "unlink";
    case 38: return "rename";
    case 40: return "rmdir";
    case 295: return "openat";
    case 301: return "unlinkat";
    case 302: return "renameat";
    case 342: return "open_by_handle_at";
    case 353: return "renameat2";
    case 437: return "openat2";
    default: return {};
  }
}

}  // namespace

std::string_view SyscallName(uint32_t nr, bool compat32) { return compat32 ? Name32(nr) : Name64(nr); }

}  // namespace nodetrail::agent

// SPDX-License-Identifier: Apache-2.0
#include "agent/capture/scope_seed.h"

#include <fmt/format.h>

#include <charconv>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <system_error>

#include "nodetrail/base/fd.h"

namespace nodetrail::agent {
namespace {

// ppid from /proc/PID/stat: the second field after the last ')', since comm
// may hold anything. False: gone.
bool ReadParent(uint32_t pid, uint32_t* ppid) {
  const auto stat = ReadFile(fmt::format("/proc/{}/stat", pid), 4096);
  if (!stat.ok()) return false;
  const size_t paren = stat->rfind(')');
  if (paren == std::string::npos || paren + 4 >= stat->size()) return false;
  const char* from = stat->data() + paren + 4;  // ") S "
  return std::from_chars(from, stat->data() + stat->size(), *ppid).ec == std::errc();
}

std::map<uint32_t, uint32_t> ReadParents() {
  std::map<uint32_t, uint32_t> parents;
  std::error_code ec;
  for (auto it = std::filesystem::directory_iterator("/proc", ec); !ec && it != std::filesystem::directory_iterator();
       it.increment(ec)) {
    const std::string name = it->path().filename().string();
    uint32_t pid = 0;
    uint32_t ppid = 0;
    const auto parsed = std::from_chars(name.data(), name.data() + name.size(), pid);
    if (parsed.ec != std::errc() || parsed.ptr != name.data() + name.size()) continue;
    if (ReadParent(pid, &ppid)) parents[pid] = ppid;
  }
  return parents;
}

}  // namespace

Status SeedProcessTree(uint32_t root, const std::function<Status(uint32_t)>& add,
                       const std::function<void(uint32_t)>& drop) {
  uint32_t ignored = 0;
  if (root == 0 || !ReadParent(root, &ignored)) {
    return InvalidArgument(fmt::format("capture: process {} to follow isn't running; give a live process id", root));
  }
  std::set<uint32_t> in_scope = {root};
  NT_RETURN_IF_ERROR(add(root));
  for (bool grew = true; grew;) {
    grew = false;
    const auto parents = ReadParents();
    // Children of children: until one pass over this snapshot adds nothing.
    for (bool pass = true; pass;) {
      pass = false;
      for (const auto& [pid, ppid] : parents) {
        if (in_scope.count(ppid) == 0 || !in_scope.insert(pid).second) continue;
        NT_RETURN_IF_ERROR(add(pid));
        grew = pass = true;
      }
    }
  }
  for (const uint32_t pid : in_scope) {
    if (!ReadParent(pid, &ignored)) drop(pid);
  }
  return OkStatus();
}

}  // namespace nodetrail::agent

// SPDX-License-Identifier: Apache-2.0
#include "agent/decode/paths.h"

#include <cstddef>

namespace nodetrail::agent {

void ReversePath(std::string_view leaf_first, std::string* out) {
  out->clear();
  if (leaf_first.empty()) {
    out->push_back('/');
    return;
  }
  out->reserve(leaf_first.size());
  while (!leaf_first.empty()) {
    leaf_first.remove_suffix(leaf_first.back() == '\0' ? 1 : 0);
    const size_t before = leaf_first.rfind('\0');
    const size_t start = before == std::string_view::npos ? 0 : before + 1;
    out->push_back('/');
    out->append(leaf_first.substr(start));
    leaf_first = leaf_first.substr(0, start);
  }
}

namespace {

// `floor`: bytes of *out that nothing takes away. `resolved`: bytes of *out
// that came from the kernel's own walk and that ".." may take away.
void Append(std::string_view user, size_t floor, std::string* out) {
  size_t resolved = out->size();
  while (!user.empty()) {
    const size_t slash = user.find('/');
    const std::string_view part = user.substr(0, slash);
    user = slash == std::string_view::npos ? std::string_view() : user.substr(slash + 1);
    if (part.empty() || part == ".") continue;
    if (part == ".." && out->size() == resolved) {
      const size_t cut = out->rfind('/');
      if (out->size() > floor) out->resize(cut == std::string::npos ? 0 : cut);
      resolved = out->size();
      continue;
    }
    out->push_back('/');
    out->append(part);
  }
  if (out->empty()) out->push_back('/');
}

}  // namespace

void JoinPath(std::string_view base, std::string_view user, std::string* out) {
  out->clear();
  if (user.empty()) return;
  if (user.front() != '/' && base != "/") out->assign(base);
  Append(user, 0, out);
}

void JoinPathInRoot(std::string_view base, std::string_view user, std::string* out) {
  out->clear();
  if (user.empty()) return;
  if (base != "/") out->assign(base);
  Append(user, out->size(), out);
}

}  // namespace nodetrail::agent

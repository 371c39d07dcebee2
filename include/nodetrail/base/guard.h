// SPDX-License-Identifier: Apache-2.0
//
// Marks a security check, so that a test can take it out and show that an
// attack then goes through (tests/attacks, docs/attacks.md).
//
//   if (NT_GUARD(chain_prev_hash, h.prev_hash() != expected)) return Fail(…);
//
// In what is shipped this is the condition in parentheses and nothing else:
// no name, no branch, no environment. Only the objects that the mutation proof
// compiles a second time, with NODETRAIL_GUARDS_REMOVABLE, ask whether the
// guard stands; those named in NODETRAIL_GUARDS_REMOVED (by commas) never fire.
//
// The condition is true when the check fires. A protective act instead of a
// check is `if (NT_GUARD(ratchet_erase, true)) Erase();`. A name is used once
// or more in the source and by at least one row of the attack table; the
// table's own test checks both directions.
#ifndef NODETRAIL_BASE_GUARD_H_
#define NODETRAIL_BASE_GUARD_H_

#ifdef NODETRAIL_GUARDS_REMOVABLE

#include <cstdlib>
#include <set>
#include <string>
#include <string_view>

namespace nodetrail::guard {

// Any thread. The environment is read once.
inline bool Stands(std::string_view name) {
  static const std::set<std::string, std::less<>> removed = [] {
    std::set<std::string, std::less<>> out;
    const char* names = std::getenv("NODETRAIL_GUARDS_REMOVED");
    std::string_view rest = names == nullptr ? std::string_view() : std::string_view(names);
    while (!rest.empty()) {
      const size_t comma = rest.find(',');
      out.emplace(rest.substr(0, comma));
      rest.remove_prefix(comma == std::string_view::npos ? rest.size() : comma + 1);
    }
    return out;
  }();
  return !removed.contains(name);
}

}  // namespace nodetrail::guard

#define NT_GUARD(name, fires) ((fires) && ::nodetrail::guard::Stands(#name))

#else

#define NT_GUARD(name, fires) (fires)

#endif

#endif  // NODETRAIL_BASE_GUARD_H_

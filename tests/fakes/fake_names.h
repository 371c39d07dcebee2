// SPDX-License-Identifier: Apache-2.0
#ifndef NODETRAIL_TESTS_FAKES_FAKE_NAMES_H_
#define NODETRAIL_TESTS_FAKES_FAKE_NAMES_H_

#include <cstdint>
#include <map>
#include <set>
#include <string>

#include "agent/enrich/name_resolver.h"

namespace nodetrail::agent {

// Knows what a test says; an id in `pending` is pending until it is taken out.
class FakeNames final : public NameResolver {
 public:
  NameAnswer User(uint32_t uid) override { return Look(users, uid); }
  NameAnswer Group(uint32_t gid) override { return Look(groups, gid); }
  void Poll() override { ++polls; }
  [[nodiscard]] uint64_t Generation() const override { return generation; }

  std::map<uint32_t, std::string> users{{0, "root"}, {1000, "alice"}};
  std::map<uint32_t, std::string> groups{{0, "root"}, {1000, "alice"}};
  std::set<uint32_t> pending;
  uint64_t generation = 1;
  uint64_t polls = 0;

 private:
  NameAnswer Look(const std::map<uint32_t, std::string>& names, uint32_t id) const {
    if (pending.contains(id)) return {NameState::kPending, {}};
    const auto it = names.find(id);
    if (it == names.end()) return {NameState::kAbsent, {}};
    return {NameState::kKnown, it->second};
  }
};

}  // namespace nodetrail::agent

#endif  // NODETRAIL_TESTS_FAKES_FAKE_NAMES_H_

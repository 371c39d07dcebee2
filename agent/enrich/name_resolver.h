// SPDX-License-Identifier: Apache-2.0
//
// User and group names, behind an interface. A look-up never blocks.
#ifndef NODETRAIL_AGENT_ENRICH_NAME_RESOLVER_H_
#define NODETRAIL_AGENT_ENRICH_NAME_RESOLVER_H_

#include <cstdint>
#include <string_view>

namespace nodetrail::agent {

enum class NameState : uint8_t {
  kKnown,
  kAbsent,   // the host has no such id
  kPending,  // asked elsewhere; the answer comes later
};

struct NameAnswer {
  NameState state = NameState::kPending;
  std::string_view name;  // kKnown; valid until the next Poll()
};

// Owner: the composition root. Thread: pipeline.
class NameResolver {
 public:
  virtual ~NameResolver() = default;

  virtual NameAnswer User(uint32_t uid) = 0;
  virtual NameAnswer Group(uint32_t gid) = 0;

  // Takes in what was answered elsewhere and changes of the local files. Once
  // per drain. Names handed out before are invalid after it.
  virtual void Poll() = 0;

  // Changes whenever an answer given before could now be another one.
  [[nodiscard]] virtual uint64_t Generation() const = 0;
};

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_ENRICH_NAME_RESOLVER_H_

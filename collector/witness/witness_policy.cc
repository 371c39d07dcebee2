// SPDX-License-Identifier: Apache-2.0
#include "collector/witness/witness_policy.h"

#include <fmt/format.h>

#include <algorithm>

#include "nodetrail/base/fd.h"

namespace nodetrail::collector {

Result<trail::LogPolicy> LoadWitnessPolicy(const std::string& path) {
  NT_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, trail::kMaxPolicyBytes));
  auto policy = trail::LogPolicy::Parse(text);
  if (!policy.ok()) return InvalidArgument(fmt::format("{}: {}", path, policy.status().message()));
  if (policy->witnesses().empty()) {
    return InvalidArgument(fmt::format("{}: it names no witness; add a line: witness <name> <vkey> <url>", path));
  }
  for (const trail::LogPolicy::Witness& witness : policy->witnesses()) {
    if (witness.url.starts_with("https://") || witness.url.starts_with("http://")) continue;
    return InvalidArgument(
        fmt::format("{}: witness {} has no http or https URL; add it at the end of its line", path, witness.name));
  }
  return policy;
}

std::vector<WitnessPeer> PeersOf(const trail::LogPolicy& policy) {
  std::vector<WitnessPeer> out;
  for (const trail::LogPolicy::Witness& witness : policy.witnesses()) {
    out.push_back({witness.name, witness.url, witness.key});
  }
  return out;
}

Result<trail::LogPolicy> PolicyOfLog(const trail::LogPolicy& policy, const trail::NoteVerifier& log) {
  if (policy.logs().empty()) return policy.WithLog(log);
  const bool known = std::any_of(policy.logs().begin(), policy.logs().end(), [&](const trail::LogPolicy::Log& l) {
    return l.key.name == log.name && l.key.key == log.key;
  });
  if (known) return policy;
  return FailedPrecondition(fmt::format(
      "it names logs, but not this one: nobody with this policy would accept the log's checkpoints; add the "
      "line: log {}",
      log.ToString()));
}

}  // namespace nodetrail::collector

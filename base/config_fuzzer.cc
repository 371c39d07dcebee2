// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as a configuration: an error or a message, never a crash. What is
// accepted must be accepted again, with the same meaning.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "nodetrail/base/config_loader.h"
#include "nodetrail/config/v1/config.pb.h"

namespace {

template <typename M>
void Run(std::string_view text) {
  const auto first = nodetrail::LoadConfigText<M>(text, "fuzz", "/nonexistent");
  // Most inputs are refused, and the same way each time: a sample shows it.
  if (!first.ok() && text.size() % 8 != 0) {
    NT_CHECK(!first.status().message().empty());
    return;
  }
  const auto second = nodetrail::LoadConfigText<M>(text, "fuzz", "/nonexistent");
  NT_CHECK(first.ok() == second.ok());
  if (first.ok()) {
    NT_CHECK(nodetrail::EffectiveConfigSha256(*first) == nodetrail::EffectiveConfigSha256(*second));
  } else {
    NT_CHECK(!first.status().message().empty());
    NT_CHECK(first.status().message() == second.status().message());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 3) {
    case 0: Run<nodetrail::config::v1::AgentConfig>(text); break;
    case 1: Run<nodetrail::config::v1::CollectorConfig>(text); break;
    default: Run<nodetrail::config::v1::CliConfig>(text); break;
  }
  return 0;
}

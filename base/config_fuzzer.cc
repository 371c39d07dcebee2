// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as a configuration: an error or a message, never a crash. What is
// accepted must be accepted again, with the same meaning. The first byte
// chooses whose configuration it is, and whether the program has a complaint of
// its own. Files that must exist are looked for in /etc: `passwd` is a file there,
// `.` a folder, and nothing has to be made.
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "nodetrail/base/config_loader.h"
#include "nodetrail/config/v1/config.pb.h"

namespace {

using nodetrail::ConfigReport;
namespace cfg = nodetrail::config::v1;

// What a program's own check says of the message: of a key that is there, of
// one inside it, and of one that the schema has not.
template <typename M>
void Complain(const M& message, ConfigReport& report) {
  report.Add("log.level", "not to our liking");
  report.Add("ship.endpoints[3]", "not to our liking");
  report.Add(message.GetDescriptor()->name(), "not to our liking");
}

template <typename M>
nodetrail::Result<M> Load(std::string_view text, bool complain) {
  return nodetrail::LoadConfigText<M>(text, "fuzz", "/etc",
                                      complain ? Complain<M> : std::function<void(const M&, ConfigReport&)>());
}

template <typename M>
void Run(std::string_view text, bool complain) {
  const auto first = Load<M>(text, complain);
  NT_CHECK(!first.ok() || !complain);
  NT_CHECK(first.ok() || first.status().message().starts_with("fuzz:"));
  // Most inputs are refused, and the same way each time: a sample shows it.
  if (!first.ok() && text.size() % 8 != 0) return;
  const auto second = Load<M>(text, complain);
  NT_CHECK(first.ok() == second.ok());
  if (first.ok()) {
    NT_CHECK(nodetrail::EffectiveConfigSha256(*first) == nodetrail::EffectiveConfigSha256(*second));
  } else {
    NT_CHECK(first.status().message() == second.status().message());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  const bool complain = (data[0] & 64U) != 0;
  switch (data[0] % 4) {
    case 0: Run<cfg::AgentConfig>(text, complain); break;
    case 1: Run<cfg::CollectorConfig>(text, complain); break;
    case 2: Run<cfg::CliConfig>(text, complain); break;
    default: Run<cfg::WitnessConfig>(text, complain); break;
  }
  return 0;
}

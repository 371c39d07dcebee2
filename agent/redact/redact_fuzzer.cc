// SPDX-License-Identifier: Apache-2.0
//
// Fuzzes RuleScrubber. Input: a byte of flags, the length of exe, exe, argv.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "agent/redact/rule_scrubber.h"

namespace {

using namespace nodetrail::agent;  // NOLINT

void Require(bool condition) {
  if (!condition) std::abort();
}

std::unique_ptr<RuleScrubber> Make(bool configured) {
  nodetrail::config::v1::AgentConfig::Redact config;
  if (configured) {
    auto* rule = config.add_rules();
    rule->set_id("ticket");
    rule->set_pattern("ticket-(?P<secret>[0-9a-f]*)");
  }
  auto scrubber = RuleScrubber::Create(config);
  Require(scrubber.ok());
  return std::move(scrubber).value();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  static const std::unique_ptr<RuleScrubber> built_in = Make(false);
  static const std::unique_ptr<RuleScrubber> configured = Make(true);
  RuleScrubber* scrubber = (data[0] & 2U) != 0 ? configured.get() : built_in.get();
  const bool cut = (data[0] & 1U) != 0;
  const size_t exe_size = std::min<size_t>(data[1], size - 2);
  const std::string bytes(reinterpret_cast<const char*>(data) + 2, size - 2);
  const std::string_view exe = std::string_view(bytes).substr(0, exe_size);
  const std::string_view argv = std::string_view(bytes).substr(exe_size);

  const auto counted = [scrubber] { return scrubber->redactions_total() + scrubber->errors_total(); };
  const uint64_t counted_before = counted();
  std::vector<std::string> out;
  std::vector<RedactionNote> notes;
  scrubber->ScrubArgv(exe, argv, cut, &out, &notes);
  const auto separators = static_cast<size_t>(std::count(argv.begin(), argv.end(), '\0'));
  Require(out.size() <= separators + 1);
  Require(notes.size() <= argv.size());
  // A replacement stands for at least one byte.
  constexpr size_t kLongestReplacement = 32;
  size_t total = 0;
  for (const std::string& arg : out) total += arg.size();
  Require(total <= argv.size() * kLongestReplacement);

  std::string path(argv);
  std::vector<RedactionNote> path_notes;
  const bool changed = scrubber->ScrubPath("resource.path", &path, &path_notes);
  Require(changed == !path_notes.empty());
  if (!changed) Require(path == argv);

  // Each replacement is counted under a name; several in one argument share a note.
  const uint64_t replaced = counted() - counted_before;
  Require(replaced >= notes.size() + path_notes.size());
  Require((replaced == 0) == (notes.empty() && path_notes.empty()));
  uint64_t named = scrubber->errors_total();
  for (const RuleCount& count : scrubber->Counts()) {
    Require(!count.rule.empty() && count.redactions > 0);
    named += count.redactions;
  }
  Require(named == counted());
  return 0;
}

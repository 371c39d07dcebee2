// SPDX-License-Identifier: Apache-2.0
//
// Takes secrets out of command lines and paths; README.md lists the rules.
//
// Rules know a secret by what names it (--password, API_TOKEN=, "secret": ""),
// by its place (mysql's -pVALUE, curl's -u user:VALUE), by its shape wherever
// it stands (cloud keys, JSON web tokens, PEM), or by a pattern of the
// configuration. An argument that is a script is read as the shell would.
#ifndef NODETRAIL_AGENT_REDACT_RULE_SCRUBBER_H_
#define NODETRAIL_AGENT_REDACT_RULE_SCRUBBER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "agent/attribute/scrubber.h"
#include "nodetrail/base/status.h"
#include "nodetrail/config/v1/config.pb.h"

namespace nodetrail::agent {

struct RuleCount {
  std::string rule;
  uint64_t redactions;
};

// Replaces each secret by "[redacted:RULE]" and leaves what names it. Where a
// rule fails, the whole argument becomes "[redacted:error]". Neither errors nor
// notes hold any part of an argument. Time is linear in the bytes of argv.
// Thread: pipeline.
class RuleScrubber final : public Scrubber {
 public:
  // kInvalidArgument names the configured rule that is no RE2 pattern.
  static Result<std::unique_ptr<RuleScrubber>> Create(const config::v1::AgentConfig::Redact& config);
  ~RuleScrubber() override;

  void ScrubArgv(std::string_view exe, std::string_view argv, bool cut, std::vector<std::string>* out,
                 std::vector<RedactionNote>* notes) override;
  // Shapes and configured rules only: a path has no options.
  bool ScrubPath(std::string_view field, std::string* path, std::vector<RedactionNote>* notes) override;

  // False: ScrubPath would not change this. Cheap; for what every event has.
  [[nodiscard]] bool Suspect(std::string_view path) const override;

  // Values replaced, per rule that ever replaced one.
  [[nodiscard]] std::vector<RuleCount> Counts() const;
  [[nodiscard]] uint64_t redactions_total() const;
  // Fields dropped because a rule failed on them.
  [[nodiscard]] uint64_t errors_total() const;

 private:
  struct Impl;
  explicit RuleScrubber(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_REDACT_RULE_SCRUBBER_H_

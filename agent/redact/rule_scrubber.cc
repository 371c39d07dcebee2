// SPDX-License-Identifier: Apache-2.0
#include "agent/redact/rule_scrubber.h"

#include <fmt/format.h>
#include <re2/re2.h>

#include <algorithm>
#include <utility>

#include "agent/redact/commands.h"
#include "agent/redact/shapes.h"
#include "agent/redact/trigger.h"

namespace nodetrail::agent {

using redact::Finding;
using redact::Findings;
using redact::Text;

namespace {

constexpr size_t kMaxMatches = 4096;  // of one configured rule in one argument

struct ConfiguredRule {
  std::string id;
  std::unique_ptr<re2::RE2> pattern;
  int group = 0;  // of the secret; 0 is the whole match
};

}  // namespace

struct RuleScrubber::Impl {
  std::vector<ConfiguredRule> configured;
  std::vector<uint64_t> counts = std::vector<uint64_t>(redact::kBuiltIn, 0);
  uint64_t errors = 0;
  // Scratch.
  std::vector<Text> words;
  Findings findings;

  [[nodiscard]] std::string_view Name(uint16_t rule) const {
    return rule < redact::kBuiltIn ? redact::RuleName(rule) : std::string_view(configured[rule - redact::kBuiltIn].id);
  }

  void FindConfigured(const Text& text) {
    uint16_t rule = redact::kBuiltIn;
    for (const ConfiguredRule& configured_rule : configured) {
      FindConfigured(text, configured_rule, rule++);
    }
  }

  void FindConfigured(const Text& text, const ConfiguredRule& rule, uint16_t index) {
    const re2::StringPiece input(text.s.data(), text.s.size());
    re2::StringPiece groups[16];
    size_t at = 0;
    for (size_t matches = 0; at <= text.s.size(); ++matches) {
      if (matches == kMaxMatches) return findings.Fail(text.arg);
      if (!rule.pattern->Match(input, at, text.s.size(), re2::RE2::UNANCHORED, groups, rule.group + 1)) return;
      const re2::StringPiece& whole = groups[0];
      const re2::StringPiece& secret = groups[rule.group];
      if (secret.data() != nullptr) {
        const auto begin = static_cast<size_t>(secret.data() - text.s.data());
        findings.Add(text, begin, begin + secret.size(), index);
      }
      const size_t end = static_cast<size_t>(whole.data() - text.s.data()) + whole.size();
      at = end > at ? end : at + 1;
    }
  }

  void Split(std::string_view argv, bool cut) {
    words.clear();
    const redact::Triggers& triggers = redact::Triggers::Get();
    size_t begin = 0;
    while (begin < argv.size()) {
      const size_t end = std::min(argv.find('\0', begin), argv.size());
      Text text;
      text.s = argv.substr(begin, end - begin);
      text.arg = static_cast<uint32_t>(words.size());
      text.cut = cut && end == argv.size();
      text.families = triggers.Families(text.s);
      words.push_back(text);
      begin = end + 1;
    }
  }

  // Merges what overlaps; a piece keeps the rule of what began first.
  void Settle() {
    auto& list = findings.list();
    std::sort(list.begin(), list.end(), [](const Finding& a, const Finding& b) {
      return a.arg != b.arg ? a.arg < b.arg : a.begin != b.begin ? a.begin < b.begin : a.end > b.end;
    });
    size_t kept = 0;
    for (const Finding& finding : list) {
      if (kept > 0 && list[kept - 1].arg == finding.arg && finding.begin < list[kept - 1].end) {
        list[kept - 1].end = std::max(list[kept - 1].end, finding.end);
      } else {
        list[kept++] = finding;
      }
    }
    list.resize(kept);
  }

  // The clean form of `text`, whose findings are [first, last).
  void Clean(const Text& text, const Finding* first, const Finding* last, std::string_view field, std::string* out,
             std::vector<RedactionNote>* notes) {
    const auto& failed = findings.failed();
    if (std::find(failed.begin(), failed.end(), text.arg) != failed.end()) {
      *out = "[redacted:error]";
      notes->push_back({std::string(field), std::string(redact::RuleName(redact::kError))});
      ++errors;
      return;
    }
    out->clear();
    uint32_t at = 0;
    const size_t notes_before = notes->size();
    for (; first != last; ++first) {
      out->append(text.s.substr(at, first->begin - at));
      const std::string_view name = Name(first->rule);
      out->append("[redacted:").append(name).append("]");
      at = first->end;
      ++counts[first->rule];
      const bool noted = std::any_of(notes->begin() + static_cast<ptrdiff_t>(notes_before), notes->end(),
                                     [name](const RedactionNote& note) { return note.rule == name; });
      if (!noted) notes->push_back({std::string(field), std::string(name)});
    }
    out->append(text.s.substr(at));
  }

  bool Plain(std::string_view exe) const {
    if (!configured.empty()) return false;
    for (const Text& word : words) {
      if (word.families != 0) return false;
    }
    return !redact::IsKnownProgram(redact::BaseName(exe)) &&
           (words.empty() || !redact::IsKnownProgram(redact::BaseName(words[0].s)));
  }
};

RuleScrubber::RuleScrubber(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
RuleScrubber::~RuleScrubber() = default;

Result<std::unique_ptr<RuleScrubber>> RuleScrubber::Create(const config::v1::AgentConfig::Redact& config) {
  auto impl = std::make_unique<Impl>();
  for (const auto& rule : config.rules()) {
    auto pattern = std::make_unique<re2::RE2>(rule.pattern(), re2::RE2::Quiet);
    if (!pattern->ok()) {
      return InvalidArgument(fmt::format("redact: rule '{}': the pattern does not compile: {}; see the RE2 syntax",
                                         rule.id(), pattern->error()));
    }
    const auto& groups = pattern->NamedCapturingGroups();
    const auto found = groups.find("secret");
    const int group = found == groups.end() ? 0 : found->second;
    if (group > 15)
      return InvalidArgument(fmt::format("redact: rule '{}': more than 14 groups before `secret`", rule.id()));
    impl->configured.push_back({rule.id(), std::move(pattern), group});
  }
  if (impl->configured.size() > 1000) return InvalidArgument("redact: more than 1000 rules");
  impl->counts.resize(redact::kBuiltIn + impl->configured.size(), 0);
  return std::unique_ptr<RuleScrubber>(new RuleScrubber(std::move(impl)));
}

void RuleScrubber::ScrubArgv(std::string_view exe, std::string_view argv, bool cut, std::vector<std::string>* out,
                             std::vector<RedactionNote>* notes) {
  Impl& impl = *impl_;
  impl.Split(argv, cut);
  out->reserve(out->size() + impl.words.size());
  if (impl.Plain(exe)) {
    for (const Text& word : impl.words) out->emplace_back(word.s);
    return;
  }
  impl.findings.Clear();
  redact::FindInCommand(redact::BaseName(exe), impl.words, true, 0, &impl.findings);
  if (impl.findings.saw_aws_key) {
    for (const Text& word : impl.words) redact::FindAwsSecrets(word, &impl.findings);
  }
  for (const Text& word : impl.words) impl.FindConfigured(word);
  impl.Settle();
  const auto& list = impl.findings.list();
  const Finding* first = list.data();
  const Finding* const end = first + list.size();
  for (const Text& word : impl.words) {
    const Finding* last = first;
    while (last != end && last->arg == word.arg) ++last;
    if (first == last && impl.findings.failed().empty()) {
      out->emplace_back(word.s);
      continue;
    }
    out->emplace_back();
    impl.Clean(word, first, last, fmt::format("actor.argv[{}]", word.arg), &out->back(), notes);
    first = last;
  }
}

bool RuleScrubber::ScrubPath(std::string_view field, std::string* path, std::vector<RedactionNote>* notes) {
  Impl& impl = *impl_;
  if (!Suspect(*path)) return false;
  Text text;
  text.s = *path;
  impl.findings.Clear();
  redact::FindShapes(text, &impl.findings);
  impl.FindConfigured(text);
  if (impl.findings.empty()) return false;
  impl.Settle();
  const auto& list = impl.findings.list();
  std::string clean;
  impl.Clean(text, list.data(), list.data() + list.size(), field, &clean, notes);
  *path = std::move(clean);
  return true;
}

bool RuleScrubber::Suspect(std::string_view path) const {
  return !impl_->configured.empty() || (redact::Triggers::Get().Families(path) & redact::kShape) != 0;
}

std::vector<RuleCount> RuleScrubber::Counts() const {
  std::vector<RuleCount> counts;
  for (size_t rule = 0; rule < impl_->counts.size(); ++rule) {
    if (impl_->counts[rule] != 0)
      counts.push_back({std::string(impl_->Name(static_cast<uint16_t>(rule))), impl_->counts[rule]});
  }
  return counts;
}

uint64_t RuleScrubber::redactions_total() const {
  uint64_t total = 0;
  for (const uint64_t count : impl_->counts) total += count;
  return total;
}

uint64_t RuleScrubber::errors_total() const { return impl_->errors; }

}  // namespace nodetrail::agent

// SPDX-License-Identifier: Apache-2.0
#include "nodetrail/trail/policy.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <set>
#include <utility>

#include "nodetrail/base/guard.h"

namespace nodetrail::trail {
namespace {

constexpr std::string_view kBlanks = " \t";

std::vector<std::string_view> Words(std::string_view line) {
  std::vector<std::string_view> out;
  while (true) {
    const size_t begin = line.find_first_not_of(kBlanks);
    if (begin == std::string_view::npos) return out;
    line.remove_prefix(begin);
    const size_t end = std::min(line.find_first_of(kBlanks), line.size());
    out.push_back(line.substr(0, end));
    line.remove_prefix(end);
  }
}

// What an error may show of a line that could hold anything.
std::string Shown(std::string_view word) {
  std::string out;
  for (const char c : word.substr(0, 64)) {
    out += c >= 0x20 && c < 0x7f ? std::string(1, c) : fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
  }
  return word.size() > 64 ? out + "..." : out;
}

bool Allowed(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte == '\t' || byte == '\n' || (byte >= 0x20 && byte != 0x7f);
}

}  // namespace

// One pass over the text; names are defined before they are used.
class PolicyParser {
 public:
  Result<LogPolicy> Parse(std::string_view text) {
    if (text.size() > kMaxPolicyBytes) return InvalidArgument("policy: longer than 1 MiB");
    // A name at the end of a file that was cut off may be another name.
    if (text.empty() || text.back() != '\n') {
      return InvalidArgument("policy: the last line does not end in a newline; was the file cut off?");
    }
    size_t number = 0;
    while (!text.empty()) {
      ++number;
      const size_t end = text.find('\n');
      const Status status = Line(text.substr(0, end));
      if (!status.ok()) return Annotate(status, fmt::format("policy line {}", number));
      text.remove_prefix(end + 1);
    }
    if (!has_quorum_) return InvalidArgument("policy: no quorum line; \"quorum none\" asks for no witness");
    return std::move(policy_);
  }

 private:
  Status Line(std::string_view line) {
    if (!std::all_of(line.begin(), line.end(), Allowed)) {
      return InvalidArgument("a control character; only tab and newline are allowed");
    }
    const std::vector<std::string_view> words = Words(line);
    if (words.empty() || words[0].starts_with('#')) return OkStatus();
    if (words[0] == "log") return Log(words);
    if (words[0] == "witness") return Witness(words);
    if (words[0] == "group") return Group(words);
    if (words[0] == "quorum") return Quorum(words);
    return InvalidArgument(
        fmt::format("begins with \"{}\"; it may begin with log, witness, group, quorum or #", Shown(words[0])));
  }

  Status Log(const std::vector<std::string_view>& words) {
    if (words.size() < 2 || words.size() > 3) return InvalidArgument("not \"log <vkey> [<url>]\"");
    NT_ASSIGN_OR_RETURN(NoteVerifier key, NoteVerifier::Parse(words[1]));
    if (policy_.logs_.size() == kMaxPolicyItems) return TooMany("logs");
    for (const LogPolicy::Log& other : policy_.logs_) {
      if (other.key.key == key.key) return InvalidArgument("this log's key is that of an earlier log");
    }
    NT_RETURN_IF_ERROR(Distinct(key.name, key.key_id));
    policy_.logs_.push_back({std::move(key), words.size() > 2 ? std::string(words[2]) : std::string()});
    return OkStatus();
  }

  Status Witness(const std::vector<std::string_view>& words) {
    if (words.size() < 3 || words.size() > 4) return InvalidArgument("not \"witness <name> <vkey> [<url>]\"");
    NT_ASSIGN_OR_RETURN(CosignerVerifier key, CosignerVerifier::Parse(words[2]));
    if (policy_.witnesses_.size() == kMaxPolicyItems) return TooMany("witnesses");
    for (const LogPolicy::Witness& other : policy_.witnesses_) {
      if (other.key.key == key.key) {
        return InvalidArgument(fmt::format("this witness's key is that of witness {}", Shown(other.name)));
      }
    }
    NT_RETURN_IF_ERROR(Distinct(key.name, key.key_id));
    NT_RETURN_IF_ERROR(Define(words[1], {false, policy_.witnesses_.size()}));
    policy_.witnesses_.push_back(
        {std::string(words[1]), std::move(key), words.size() > 3 ? std::string(words[3]) : std::string()});
    return OkStatus();
  }

  Status Group(const std::vector<std::string_view>& words) {
    if (words.size() < 4) return InvalidArgument("not \"group <name> all|any|<k> <name>...\"");
    if (policy_.groups_.size() == kMaxPolicyItems) return TooMany("groups");
    LogPolicy::Group group;
    group.name = std::string(words[1]);
    for (size_t i = 3; i < words.size(); ++i) {
      if (words[i] == "none") return InvalidArgument("\"none\" is no member of a group");
      const auto found = names_.find(words[i]);
      if (found == names_.end()) {
        return InvalidArgument(fmt::format("\"{}\" is not defined on a line before", Shown(words[i])));
      }
      if (!members_.insert(found->first).second) {
        return InvalidArgument(fmt::format("\"{}\" is a member of a group already", Shown(words[i])));
      }
      group.members.push_back(found->second);
    }
    NT_ASSIGN_OR_RETURN(group.threshold, Threshold(words[2], group.members.size()));
    NT_RETURN_IF_ERROR(Define(words[1], {true, policy_.groups_.size()}));
    policy_.groups_.push_back(std::move(group));
    return OkStatus();
  }

  Status Quorum(const std::vector<std::string_view>& words) {
    if (words.size() != 2) return InvalidArgument("not \"quorum <name>\"");
    if (has_quorum_) return InvalidArgument("a second quorum line");
    has_quorum_ = true;
    if (words[1] == "none") return OkStatus();
    const auto found = names_.find(words[1]);
    if (found == names_.end()) {
      return InvalidArgument(fmt::format("\"{}\" is not defined on a line before", Shown(words[1])));
    }
    policy_.quorum_ = found->second;
    return OkStatus();
  }

  static Result<size_t> Threshold(std::string_view word, size_t members) {
    if (word == "any") return size_t{1};
    if (word == "all") return members;
    size_t value = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
    if (error != std::errc() || end != word.data() + word.size() || word[0] == '0' || value > members) {
      return InvalidArgument(fmt::format("the threshold is not all, any or 1 to {}: \"{}\"", members, Shown(word)));
    }
    return value;
  }

  static Status TooMany(std::string_view what) {
    return InvalidArgument(fmt::format("more than {} {}", kMaxPolicyItems, what));
  }

  // A signature line must not be able to mean two keys.
  Status Distinct(const std::string& name, uint32_t key_id) {
    if (keys_.emplace(name, key_id).second) return OkStatus();
    return InvalidArgument("the name and id of the key are those of an earlier key");
  }

  Status Define(std::string_view name, LogPolicy::Member member) {
    if (name == "none") return InvalidArgument("\"none\" can't be defined: it is no witness by definition");
    if (names_.emplace(std::string(name), member).second) return OkStatus();
    return InvalidArgument(fmt::format("\"{}\" is defined already", Shown(name)));
  }

  LogPolicy policy_;
  std::map<std::string, LogPolicy::Member, std::less<>> names_;
  std::set<std::string> members_;  // of some group
  std::set<std::pair<std::string, uint32_t>> keys_;
  bool has_quorum_ = false;
};

Result<LogPolicy> LogPolicy::Parse(std::string_view text) { return PolicyParser().Parse(text); }

LogPolicy LogPolicy::OneLog(NoteVerifier log) {
  LogPolicy out;
  out.logs_.push_back({std::move(log), {}});
  return out;
}

Result<LogPolicy> LogPolicy::WithLog(NoteVerifier log) const {
  if (logs_.size() == kMaxPolicyItems) return FailedPrecondition("policy: no room for another log");
  for (const Log& other : logs_) {
    if (other.key.key == log.key) return AlreadyExists(fmt::format("policy: has the key of log {}", log.name));
  }
  LogPolicy out = *this;
  out.logs_.push_back({std::move(log), {}});
  return out;
}

const std::string& LogPolicy::NameOf(Member member) const {
  return member.group ? groups_[member.index].name : witnesses_[member.index].name;
}

bool LogPolicy::Reached(Member member, const std::vector<bool>& signed_by) const {
  if (member == kNone) return true;
  if (!member.group) return signed_by[member.index];
  const Group& group = groups_[member.index];
  const auto reached =
      std::count_if(group.members.begin(), group.members.end(), [&](Member m) { return Reached(m, signed_by); });
  return static_cast<size_t>(reached) >= group.threshold;
}

std::string LogPolicy::Shortfall(Member member, const std::vector<bool>& signed_by) const {
  if (!member.group) return fmt::format("witness {} is missing", Shown(NameOf(member)));
  const Group& group = groups_[member.index];
  size_t reached = 0;
  std::string missing;
  std::string below;
  for (const Member m : group.members) {
    if (Reached(m, signed_by)) {
      ++reached;
      continue;
    }
    missing += (missing.empty() ? "" : ", ") + Shown(NameOf(m));
    if (m.group) below += "; " + Shortfall(m, signed_by);
  }
  return fmt::format("group {}: {} of {} (missing {}){}", Shown(group.name), reached, group.threshold, missing, below);
}

Result<PolicyVerdict> LogPolicy::Examine(std::string_view note) const {
  NT_ASSIGN_OR_RETURN(const Note parsed, ParseNote(note));
  PolicyVerdict out;
  NT_ASSIGN_OR_RETURN(out.checkpoint, ParseCheckpointBody(parsed.text));
  std::vector<bool> logged(logs_.size());
  std::vector<bool> signed_by(witnesses_.size());
  std::vector<uint64_t> times(witnesses_.size());
  for (const NoteSignature& line : parsed.signatures) {
    const auto names = [&line](const auto& known) {
      return known.key.name == line.name && known.key.key_id == line.key_id;
    };
    if (const auto log = std::find_if(logs_.begin(), logs_.end(), names); log != logs_.end()) {
      const auto i = static_cast<size_t>(log - logs_.begin());
      if (NT_GUARD(note_signed_twice, logged[i]))
        return DataLoss(fmt::format("checkpoint: two signatures of log {}", line.name));
      if (NT_GUARD(note_signature, !Ed25519Verify(log->key.key, parsed.text, line.signature))) {
        return DataLoss(fmt::format("checkpoint: the signature of log {} is wrong", line.name));
      }
      logged[i] = true;
      if (line.name == out.checkpoint.origin) out.log = line.name;
    }
    if (const auto witness = std::find_if(witnesses_.begin(), witnesses_.end(), names); witness != witnesses_.end()) {
      const auto i = static_cast<size_t>(witness - witnesses_.begin());
      if (signed_by[i]) return DataLoss(fmt::format("checkpoint: two signatures of witness {}", Shown(witness->name)));
      NT_ASSIGN_OR_RETURN(times[i], VerifyCosignature(parsed.text, line, witness->key));
      signed_by[i] = true;
    }
  }
  if (out.log.empty()) {
    return DataLoss(
        fmt::format("checkpoint: of log {}, not signed by a log of the policy with that name", out.checkpoint.origin));
  }
  for (size_t i = 0; i < witnesses_.size(); ++i) {
    if (signed_by[i]) {
      out.cosigned.push_back({witnesses_[i].name, times[i]});
    } else {
      out.missing.push_back(witnesses_[i].name);
    }
  }
  out.quorum = Reached(quorum_, signed_by);
  if (!out.quorum) out.shortfall = Shortfall(quorum_, signed_by);
  return out;
}

Result<Checkpoint> LogPolicy::Check(std::string_view note) const {
  NT_ASSIGN_OR_RETURN(PolicyVerdict verdict, Examine(note));
  if (!verdict.quorum) {
    return FailedPrecondition(
        fmt::format("checkpoint: the policy's quorum of witnesses is not reached: {}", verdict.shortfall));
  }
  return std::move(verdict.checkpoint);
}

}  // namespace nodetrail::trail

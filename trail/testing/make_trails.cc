// SPDX-License-Identifier: Apache-2.0
//
// nt_make_trails DIR --seed N --mutations N [--without FEATURE]…: good and damaged trails and
// bundles for two verifiers to agree on, and DIR/cases.jsonl: one line for each
// with how it is verified and what must come out. The same seed makes the same
// bytes.
// nt_make_trails --verify DIR: verifies them, and prints one line of JSON for each.
// nt_make_trails --large DIR --megabytes N: one good trail, for measuring.
// nt_make_trails --fields: the numbers of the fields, as docs/trail-format.md lists them.
#include <fmt/format.h>
#include <google/protobuf/descriptor.h>

#include <algorithm>
#include <cstdlib>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "trail/testing/corpus.h"
#include "trail/testing/fixed_random.h"

namespace nodetrail::trail {
namespace {

constexpr int64_t kTime = 1'700'000'000;  // of the certificates

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;

void PrintFields(const Descriptor* message, const std::vector<std::string>& only = {}) {
  std::string line;
  for (int i = 0; i < message->field_count(); ++i) {
    const FieldDescriptor* field = message->field(i);
    if (!only.empty() && std::find(only.begin(), only.end(), field->name()) == only.end()) continue;
    const std::string type = field->message_type() != nullptr ? field->message_type()->name()
                             : field->enum_type() != nullptr  ? field->enum_type()->name()
                                                              : field->type_name();
    line += fmt::format("{}{} {} {}{}", line.empty() ? "" : ", ", field->number(), field->name(), type,
                        field->is_repeated() ? "*" : "");
  }
  fmt::print("{}: {}\n", message->name(), line);
}

// The numbers on the wire, as docs/trail-format.md lists them: of the trail's
// own messages all, of events those that a verifier looks at.
int Fields() {
  const google::protobuf::FileDescriptor* file = v1::BatchHeader::descriptor()->file();
  for (int i = 0; i < file->message_type_count(); ++i) {
    // The collector's own state is in no trail.
    if (file->message_type(i)->name() != "ChainStateRecord") PrintFields(file->message_type(i));
  }
  PrintFields(event::v1::EventBatch::descriptor(), {"host", "processes", "events", "absent"});
  PrintFields(event::v1::Absent::descriptor(), {"first", "last", "first_seq", "last_seq", "from_seq", "to_seq"});
  PrintFields(event::v1::Event::descriptor(), {"seq", "kind", "agent"});
  PrintFields(event::v1::Event::descriptor()->FindFieldByName("agent")->message_type(),
              {"clean", "stage", "seq_from", "seq_to", "count", "from_wall_ns", "to_wall_ns", "last_epoch",
               "last_batch_seq", "body_only"});
  for (int i = 0; i < file->enum_type_count(); ++i) {
    const google::protobuf::EnumDescriptor* type = file->enum_type(i);
    std::string line;
    for (int v = 0; v < type->value_count(); ++v) {
      line += fmt::format("{}{} {}", v == 0 ? "" : ", ", type->value(v)->number(), type->value(v)->name());
    }
    fmt::print("{}: {}\n", type->name(), line);
  }
  fmt::print("Kind: {} KIND_AGENT_LOSS, {} KIND_AGENT_GAP\n", static_cast<int>(event::v1::KIND_AGENT_LOSS),
             static_cast<int>(event::v1::KIND_AGENT_GAP));
  return 0;
}

int Main(const std::vector<std::string>& args) {
  FixPkiTime(kTime);
  if (args.size() == 1 && args[0] == "--fields") return Fields();
  if (args.size() == 2 && args[0] == "--verify") return VerifyCorpus(args[1]);
  if (args.size() == 4 && args[0] == "--large" && args[2] == "--megabytes") {
    UseFixedRandom(1);
    AddLarge(args[1], std::strtoull(args[3].c_str(), nullptr, 10) << 20U);
    return 0;
  }
  std::set<std::string> without;
  for (size_t i = 5; i + 1 < args.size(); i += 2) {
    if (args[i] == "--without") without.insert(args[i + 1]);
  }
  if (args.size() != 5 + 2 * without.size() || args[1] != "--seed" || args[3] != "--mutations") {
    fmt::print(stderr,
               "usage: nt_make_trails DIR --seed N --mutations N [--without FEATURE]... | --verify DIR | --large DIR "
               "--megabytes N | --fields\n");
    return 64;
  }
  const uint64_t seed = std::strtoull(args[2].c_str(), nullptr, 10);
  UseFixedRandom(seed);
  Corpus corpus(args[0], std::move(without));
  AddFiles(&corpus);
  AddLeaves(&corpus);
  AddChains(&corpus);
  AddEvidence(&corpus);
  AddRetention(&corpus);
  AddPolicies(&corpus);
  AddBundles(&corpus);
  AddCoverage(&corpus, seed);
  AddMutations(&corpus, seed, std::atoi(args[4].c_str()));
  return 0;
}

}  // namespace
}  // namespace nodetrail::trail

int main(int argc, char** argv) { return nodetrail::trail::Main({argv + 1, argv + argc}); }

// SPDX-License-Identifier: Apache-2.0
//
// Entries of the log on hostile bytes. The first byte chooses: 0 the bytes are
// a leaf; 1 they are a LogEntry, which the harness signs and frames; 2 they are
// several, and those that parse are taken as the log's, with a batch judged
// after each.
#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

#include "nodetrail/trail/enrolment.h"
#include "nodetrail/trail/leaf.h"
#include "nodetrail/trail/log_entry.h"
#include "nodetrail/trail/retention.h"
#include "trail/wire.h"

namespace nodetrail::trail {
namespace {

// Whose key does not matter: the seeds enrol it.
constexpr std::string_view kIdentityPem =
#include "trail/testing/fuzz_ca.inc"
    ;

const Ed25519Key& LogKey() {
  static const Ed25519Key key = *Ed25519Key::FromSeed(std::string(32, 'l'));
  return key;
}

std::string Frame(std::string_view entry, std::string_view signature) {
  std::string leaf;
  AppendBytesField(&leaf, 3, entry);
  AppendBytesField(&leaf, 4, signature);
  return leaf;
}

Result<ParsedLogEntry> CheckEntry(std::string_view leaf) {
  auto parsed = ParseLogEntry(leaf);
  if (!parsed.ok()) {
    NT_CHECK(!parsed.status().message().empty());
    return parsed;
  }
  // The leaf has one encoding, and is never also a batch.
  NT_CHECK(IsLogEntry(leaf));
  NT_CHECK(Frame(parsed->entry_bytes, parsed->signature) == leaf);
  NT_CHECK(!ParseLeaf(leaf).ok());
  const v1::LogEntry& entry = parsed->entry;
  NT_CHECK(entry.entry_case() != v1::LogEntry::ENTRY_NOT_SET && ValidId(entry.tenant()));
  NT_CHECK(entry.has_enrol() || entry.has_revoke() ? ValidId(AgentOf(entry)) : AgentOf(entry).empty());
  return parsed;
}

void Run(unsigned mode, std::string_view bytes) {
  if (mode % 3 == 0) {
    const auto parsed = CheckEntry(bytes);
    if (parsed.ok()) (void)VerifyLogEntrySignature(*parsed, LogKey().public_key());
    return;
  }
  if (mode % 3 == 1) {
    auto framed = CheckEntry(Frame(bytes, std::string(64, '\0')));
    if (!framed.ok()) return;
    // What was read can be written, and says the same. Fields that a reader passes over need not be in order.
    framed->entry.DiscardUnknownFields();
    const auto made = MakeLogEntry(framed->entry, LogKey());
    NT_CHECK(made.ok());
    const auto parsed = CheckEntry(*made);
    NT_CHECK(parsed.ok());
    NT_CHECK(parsed->entry.SerializeAsString() == framed->entry.SerializeAsString());
    NT_CHECK(VerifyLogEntrySignature(*parsed, LogKey().public_key()));
    return;
  }
  // Entries with a length byte before each. No signature: nobody looks at it
  // here, and a thousand of them in one input would take all the time.
  Enrolments enrolments;
  Retention retention;
  v1::BatchHeader batch;
  batch.set_epoch(1);
  batch.set_seq(1);
  static const Certificate identity = *Certificate::FromPem(kIdentityPem);
  v1::BatchHeader opening;
  opening.set_epoch(1);
  opening.set_sig_alg(v1::SIG_ALG_ED25519);
  opening.mutable_epoch_open()->set_identity_cert(identity.Der());
  for (uint64_t index = 0; !bytes.empty(); ++index) {
    const size_t size = std::min<size_t>(static_cast<unsigned char>(bytes[0]), bytes.size() - 1);
    const auto parsed = CheckEntry(Frame(bytes.substr(1, size), std::string(64, '\0')));
    bytes.remove_prefix(1 + size);
    if (!parsed.ok()) continue;
    const size_t holds = retention.holds().size();
    const bool kept = retention.Take(parsed->entry, index).ok();
    NT_CHECK(kept || retention.holds().size() == holds);
    if (kept && parsed->entry.has_retire()) {
      const v1::Retire& retire = parsed->entry.retire();
      NT_CHECK(retention.Names(retire.leaves(0)) && !retention.Names(index) && retention.unfinished().contains(index));
    }
    if (kept && parsed->entry.has_hold()) {
      const v1::Hold& hold = parsed->entry.hold();
      const TimeSpan then{hold.since_wall_ns(), hold.since_wall_ns()};
      NT_CHECK(retention.Covering(hold.agents().empty() ? "any" : hold.agents(0), then) != nullptr);
    }
    if (!enrolments.Take(parsed->entry, index).ok()) continue;
    if (AgentOf(parsed->entry).empty()) continue;
    batch.set_tenant(parsed->entry.tenant());
    batch.set_agent_id(AgentOf(parsed->entry));
    const Enrolment* agent = enrolments.Find(batch.tenant(), batch.agent_id());
    NT_CHECK(agent != nullptr);
    const EnrolmentRuling ruling = enrolments.Judge(batch);
    NT_CHECK((ruling.verdict == EnrolmentVerdict::kRevoked) == agent->Covers(1, 1));
    NT_CHECK(ruling.verdict == EnrolmentVerdict::kAllowed || !ruling.reason.empty());
    // An opening holds with the key that was enrolled, and then ends a revocation of another.
    opening.set_tenant(batch.tenant());
    opening.set_agent_id(batch.agent_id());
    if (const EnrolmentRuling opens = enrolments.Judge(opening); opens.verdict == EnrolmentVerdict::kAllowed) {
      NT_CHECK(!agent->enrolled || agent->spki_sha256 == identity.SpkiSha256());
      enrolments.Accept(opening);
      NT_CHECK(!agent->Covers(1, 0));
    } else {
      NT_CHECK(!opens.reason.empty());
    }
    if (ruling.verdict == EnrolmentVerdict::kAllowed) enrolments.Accept(batch);
  }
}

}  // namespace
}  // namespace nodetrail::trail

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  nodetrail::trail::Run(data[0], {reinterpret_cast<const char*>(data) + 1, size - 1});
  return 0;
}

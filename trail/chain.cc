// SPDX-License-Identifier: Apache-2.0
#include "nodetrail/trail/chain.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>
#include <utility>

#include "nodetrail/base/guard.h"
#include "nodetrail/trail/eviction.h"
#include "nodetrail/trail/ratchet_key.h"
#include "trail/agent_identity.h"

namespace nodetrail::trail {
namespace {

std::string_view ZeroHash() {
  static constexpr Hash kZero{};
  return View(kZero);
}

// What CheckEpochOpen and CheckLink find: kAccept to go on.
struct Finding {
  ChainVerdict verdict = ChainVerdict::kAccept;
  std::string reason;
  std::optional<ChainPosition> expected;
};

Finding Fail(ChainVerdict verdict, std::string reason) { return {verdict, std::move(reason), std::nullopt}; }

Finding Ahead(ChainPosition expected, const v1::BatchHeader& header) {
  return {ChainVerdict::kAhead,
          fmt::format("batch {}:{} came, {}:{} is missing", header.epoch(), header.seq(), expected.epoch, expected.seq),
          expected};
}

// The statement of the epoch, signed by the identity key and agreeing with the header.
Result<v1::EpochStatement> CheckStatement(const v1::BatchHeader& header, const Certificate& identity, bool trusted) {
  const v1::EpochOpen& open = header.epoch_open();
  if (!trusted && !identity.VerifyEcdsa(Pae(kEpochPayloadType, open.statement()), open.signature())) {
    return InvalidArgument("epoch statement: wrong signature");
  }
  v1::EpochStatement s;
  if (!s.ParseFromString(open.statement())) return InvalidArgument("epoch statement: does not parse");
  if (s.tenant() != header.tenant() || s.agent_id() != header.agent_id()) {
    return InvalidArgument("epoch statement: of another agent");
  }
  if (s.epoch() != header.epoch()) return InvalidArgument("epoch statement: of another epoch");
  if (s.first_key() != header.signer_key()) return InvalidArgument("epoch statement: first_key is not the signer_key");
  if (s.boot_id() != header.boot_id()) return InvalidArgument("epoch statement: of another boot");
  if (s.prev_known()) {
    if (s.prev_epoch() == 0 || s.prev_epoch() >= s.epoch())
      return InvalidArgument("epoch statement: bad previous epoch");
    if (s.prev_last_hash().size() != 32 || s.prev_last_hash() != header.prev_hash()) {
      return InvalidArgument("epoch statement: prev_last_hash is not the header's prev_hash");
    }
  } else if (s.prev_epoch() != 0 || s.prev_last_seq() != 0 || !s.prev_last_hash().empty() || s.prev_clean() ||
             header.prev_hash() != ZeroHash()) {
    return InvalidArgument("epoch statement: tells of a previous epoch that it says it does not know");
  }
  if (header.first_event_seq() != 1) return InvalidArgument("the events of an epoch begin at number 1");
  return s;
}

bool CountersGrow(const v1::LossCounters& before, const v1::LossCounters& after) {
  return after.ring() >= before.ring() && after.map() >= before.map() && after.decode() >= before.decode() &&
         after.limited() >= before.limited() && after.evicted_batches() >= before.evicted_batches() &&
         after.evicted_events() >= before.evicted_events() && after.probe() >= before.probe();
}

// Within one epoch: numbers that only grow.
Finding CheckCounters(const ChainHead& head, const v1::BatchHeader& header, bool joined) {
  if (header.epoch() != head.epoch || !head.known) return {};
  if (NT_GUARD(chain_loss_counters, !CountersGrow(head.losses, header.losses()))) {
    return Fail(ChainVerdict::kBadCounters, "a loss counter went down");
  }
  const uint64_t next = head.last_event_seq + 1;
  if (NT_GUARD(chain_event_numbers, joined ? header.first_event_seq() != next : header.first_event_seq() < next)) {
    return Fail(ChainVerdict::kBadCounters,
                fmt::format("events begin at number {}, expected {}", header.first_event_seq(), next));
  }
  return {};
}

void NoteClocks(const ChainHead& head, const v1::BatchHeader& header, ChainNotes* notes) {
  notes->clock_unsynced = header.clock_unsynced();
  notes->boot_clock_back = header.first_boot_ns() > header.last_boot_ns();
  notes->wall_clock_back = false;
  if (!head.known) return;
  if (head.boot_id == header.boot_id() && header.last_boot_ns() < head.last_boot_ns) notes->boot_clock_back = true;
  // Both clocks may be wrong by what they admit.
  const uint64_t slack = head.clock_error_ns + header.clock_error_ns();
  const bool overflow = slack < header.clock_error_ns();
  const bool back = header.last_wall_ns() < head.last_wall_ns && head.last_wall_ns - header.last_wall_ns() > slack;
  if (NT_GUARD(chain_clock_back, !overflow && back)) {
    notes->wall_clock_back = true;
  }
}

}  // namespace

std::string_view ChainVerdictName(ChainVerdict verdict) {
  switch (verdict) {
    case ChainVerdict::kAccept: return "accept";
    case ChainVerdict::kDuplicate: return "duplicate";
    case ChainVerdict::kEquivocation: return "equivocation";
    case ChainVerdict::kOld: return "old";
    case ChainVerdict::kAhead: return "ahead";
    case ChainVerdict::kMalformed: return "malformed";
    case ChainVerdict::kWrongIdentity: return "wrong_identity";
    case ChainVerdict::kBadAlgorithm: return "bad_algorithm";
    case ChainVerdict::kClosed: return "closed";
    case ChainVerdict::kBrokenChain: return "broken_chain";
    case ChainVerdict::kWrongKey: return "wrong_key";
    case ChainVerdict::kBadEpochOpen: return "bad_epoch_open";
    case ChainVerdict::kBadSignature: return "bad_signature";
    case ChainVerdict::kBadBody: return "bad_body";
    case ChainVerdict::kBadCounters: return "bad_counters";
    case ChainVerdict::kNotEnrolled: return "not_enrolled";
    case ChainVerdict::kRevoked: return "revoked";
  }
  return "unknown";
}

// One check of one batch; split in the steps of the order the header tells.
class ChainCheck {
 public:
  ChainCheck(const ChainVerifier& verifier, const ParsedLeaf& leaf, const CheckOptions& options)
      : v_(verifier), head_(verifier.state_.head), leaf_(leaf), h_(leaf.header), options_(options) {}

  Finding Run(std::optional<std::string_view> body) {
    Finding found = Ids();
    if (found.verdict == ChainVerdict::kAccept) found = Algorithm();
    if (found.verdict == ChainVerdict::kAccept) found = Past();
    if (found.verdict == ChainVerdict::kAccept) found = h_.seq() == 0 ? Opening() : Link();
    if (found.verdict == ChainVerdict::kAccept && !options_.trusted &&
        NT_GUARD(chain_signature, !VerifyLeafSignature(leaf_))) {
      found = Fail(ChainVerdict::kBadSignature, "the signature does not belong to header and signer_key");
    }
    if (found.verdict == ChainVerdict::kAccept && body && !options_.trusted) {
      if (const Status status = CheckStoredBody(*body, h_); !status.ok()) {
        found = Fail(ChainVerdict::kBadBody, std::string(status.message()));
      }
    }
    if (found.verdict == ChainVerdict::kAccept && options_.eviction && !options_.trusted) {
      const Status status = CheckEviction(*options_.eviction, h_, leaf_.batch_hash, *v_.policy_.identity_cas);
      if (!status.ok()) found = Fail(ChainVerdict::kBadBody, std::string(status.message()));
    }
    if (found.verdict == ChainVerdict::kAccept) found = CheckCounters(head_, h_, joined_);
    if (found.verdict == ChainVerdict::kAccept) found = Enrolled();
    if (found.verdict == ChainVerdict::kAccept) NoteClocks(head_, h_, &notes_);
    notes_.unknown_fields = leaf_.unknown_fields;
    return found;
  }

  ChainNotes TakeNotes() { return std::move(notes_); }

 private:
  Finding Ids() {
    const std::string& tenant = v_.policy_.tenant.empty() ? v_.state_.tenant : v_.policy_.tenant;
    const std::string& agent = v_.policy_.agent_id.empty() ? v_.state_.agent_id : v_.policy_.agent_id;
    if (NT_GUARD(chain_ids, (!tenant.empty() && h_.tenant() != tenant) || (!agent.empty() && h_.agent_id() != agent))) {
      return Fail(ChainVerdict::kWrongIdentity,
                  fmt::format("a batch of {}/{}, expected {}/{}", h_.tenant(), h_.agent_id(), tenant, agent));
    }
    return {};
  }

  // One of those allowed, and the same in a whole epoch. A batch that joins its
  // predecessor has the key that was promised, of the length that goes with
  // the algorithm; after a hole only this check is left.
  Finding Algorithm() {
    const auto alg = h_.sig_alg();
    const auto& allowed = v_.policy_.sig_algs;
    if (!allowed.empty() && std::find(allowed.begin(), allowed.end(), alg) == allowed.end()) {
      return Fail(ChainVerdict::kBadAlgorithm,
                  fmt::format("signature algorithm {} is not allowed to this agent", v1::SigAlg_Name(alg)));
    }
    const bool within = head_.known && h_.seq() > 0 && h_.epoch() == head_.epoch && !head_.next_key.empty();
    if (NT_GUARD(chain_algorithm, within && head_.next_key.size() != RatchetKeyBytes(alg))) {
      return Fail(ChainVerdict::kBadAlgorithm, "the signature algorithm changes within an epoch");
    }
    return {};
  }

  // A position that was passed already.
  Finding Past() {
    const bool past = head_.known && std::tuple(h_.epoch(), h_.seq()) <= std::tuple(head_.epoch, head_.seq);
    if (!NT_GUARD(chain_past, past)) return {};
    const auto known = v_.HashAt(h_.epoch(), h_.seq());
    if (!known) return Fail(ChainVerdict::kOld, fmt::format("position {}:{} is past", h_.epoch(), h_.seq()));
    if (*known == leaf_.batch_hash) return Fail(ChainVerdict::kDuplicate, "this batch is known already");
    // Evidence only if the signature holds: otherwise anybody could make it up.
    if (!VerifyLeafSignature(leaf_))
      return Fail(ChainVerdict::kBadSignature, "another batch for a past position, wrongly signed");
    return Fail(ChainVerdict::kEquivocation, fmt::format("two signed batches for {}:{}: {} is known, {} came",
                                                         h_.epoch(), h_.seq(), Hex(*known), Hex(leaf_.batch_hash)));
  }

  // Last of all: the batch is the agent's; may it stand here?
  Finding Enrolled() {
    if (!v_.policy_.judge) return {};
    EnrolmentRuling ruling = v_.policy_.judge(h_);
    if (ruling.verdict == EnrolmentVerdict::kAllowed) return {};
    return Fail(ruling.verdict == EnrolmentVerdict::kRevoked ? ChainVerdict::kRevoked : ChainVerdict::kNotEnrolled,
                std::move(ruling.reason));
  }

  // Accepts the hole if that is allowed, or asks for what is missing.
  Finding Hole(ChainPosition expected, ChainHole hole) {
    if (!options_.allow_hole) return Ahead(expected, h_);
    notes_.holes.push_back(hole);
    return {};
  }

  // seq > 0: joins its predecessor.
  Finding Link() {
    if (!head_.known || h_.epoch() != head_.epoch) {
      joined_ = false;
      return Hole({h_.epoch(), 0}, {h_.epoch(), 0, h_.seq() - 1});
    }
    if (head_.clean)
      return Fail(ChainVerdict::kClosed, fmt::format("epoch {} ended with its clean shutdown", head_.epoch));
    if (h_.seq() != head_.seq + 1) {
      joined_ = false;
      return Hole({head_.epoch, head_.seq + 1}, {head_.epoch, head_.seq + 1, h_.seq() - 1});
    }
    if (NT_GUARD(chain_prev_hash, h_.prev_hash() != View(head_.batch_hash))) {
      return Fail(ChainVerdict::kBrokenChain,
                  fmt::format("prev_hash is not the hash of {}:{}", head_.epoch, head_.seq));
    }
    if (h_.boot_id() != head_.boot_id) return Fail(ChainVerdict::kBrokenChain, "the boot changes within an epoch");
    if (NT_GUARD(chain_signer_key, h_.signer_key() != head_.next_key)) {
      return Fail(ChainVerdict::kWrongKey,
                  fmt::format("signer_key is not the next_key of {}:{}", head_.epoch, head_.seq));
    }
    return {};
  }

  // seq 0: the identity key vouches for the first ratchet key.
  Finding Opening() {
    v1::EpochStatement statement;
    if (options_.trusted) {
      if (!statement.ParseFromString(h_.epoch_open().statement())) {
        return Fail(ChainVerdict::kBadEpochOpen, "epoch statement: does not parse");
      }
    } else {
      const v1::EpochOpen& open = h_.epoch_open();
      const auto identity = CheckAgentIdentity(open.identity_cert(), open.intermediates(), h_.tenant(), h_.agent_id(),
                                               *v_.policy_.identity_cas);
      if (!identity.ok()) return Fail(ChainVerdict::kBadEpochOpen, std::string(identity.status().message()));
      auto checked = CheckStatement(h_, *identity, options_.trusted);
      if (!checked.ok()) return Fail(ChainVerdict::kBadEpochOpen, std::string(checked.status().message()));
      statement = std::move(*checked);
    }
    notes_.epoch_opened = true;
    return Predecessor(statement);
  }

  // What the new epoch says of the one before, against what we know.
  Finding Predecessor(const v1::EpochStatement& s) {
    notes_.same_boot_restart = head_.known && head_.boot_id == h_.boot_id();
    if (!s.prev_known()) {
      notes_.history_unknown = head_.known;
      notes_.unclean_restart = head_.known;
      return {};
    }
    notes_.unclean_restart = !s.prev_clean();
    const ChainHole all{s.prev_epoch(), 0, s.prev_last_seq()};
    if (!head_.known || s.prev_epoch() > head_.epoch) return Hole({s.prev_epoch(), 0}, all);
    if (s.prev_epoch() == head_.epoch && s.prev_last_seq() > head_.seq) {
      return Hole({head_.epoch, head_.seq + 1}, {head_.epoch, head_.seq + 1, s.prev_last_seq()});
    }
    const auto known = v_.HashAt(s.prev_epoch(), s.prev_last_seq());
    if (known && View(*known) != s.prev_last_hash()) {
      return Fail(ChainVerdict::kBrokenChain, fmt::format("the agent holds another batch {}:{} than was received",
                                                          s.prev_epoch(), s.prev_last_seq()));
    }
    if (s.prev_epoch() == head_.epoch && s.prev_last_seq() == head_.seq) {
      if (s.prev_clean() != head_.clean) {
        return Fail(ChainVerdict::kBadEpochOpen, "epoch statement: prev_clean contradicts the last batch");
      }
      return {};
    }
    notes_.spool_rolled_back = true;
    notes_.unclean_restart = true;
    return {};
  }

  const ChainVerifier& v_;
  const ChainHead& head_;
  const ParsedLeaf& leaf_;
  const v1::BatchHeader& h_;
  const CheckOptions& options_;
  ChainNotes notes_;
  bool joined_ = true;  // to the predecessor, by hash and key
};

ChainVerifier::ChainVerifier(ChainPolicy policy, HashLookup lookup)
    : policy_(std::move(policy)), lookup_(std::move(lookup)) {
  NT_CHECK(policy_.identity_cas != nullptr);
}

ChainPosition ChainVerifier::expected() const {
  const ChainHead& head = state_.head;
  if (!head.known || head.clean) return {};
  return {head.epoch, head.seq + 1};
}

std::optional<Hash> ChainVerifier::HashAt(uint64_t epoch, uint64_t seq) const {
  if (epoch == state_.head.epoch && seq >= state_.recent_from && seq - state_.recent_from < state_.recent.size()) {
    return state_.recent[seq - state_.recent_from];
  }
  return lookup_ ? lookup_(epoch, seq) : std::nullopt;
}

void ChainVerifier::Advance(const ParsedLeaf& leaf) {
  const v1::BatchHeader& h = leaf.header;
  const bool joins = state_.head.known && h.epoch() == state_.head.epoch && h.seq() == state_.head.seq + 1;
  if (!joins) {
    state_.recent.clear();
    state_.recent_from = h.seq();
  }
  state_.recent.push_back(leaf.batch_hash);
  while (state_.recent.size() > policy_.remember && state_.recent.size() > 1) {
    state_.recent.pop_front();
    ++state_.recent_from;
  }
  state_.head = HeadOf(h, leaf.batch_hash);
  state_.tenant = h.tenant();
  state_.agent_id = h.agent_id();
}

ChainResult ChainVerifier::Check(std::string_view leaf, std::optional<std::string_view> body,
                                 const CheckOptions& options) {
  ChainResult result;
  if (body && body->size() > kMaxBodyBytes) {
    result.reason = fmt::format("body: {} bytes, at most {} allowed", body->size(), kMaxBodyBytes);
    return result;
  }
  auto parsed = ParseLeaf(leaf);
  if (!parsed.ok()) {
    result.reason = std::string(parsed.status().message());
    return result;
  }
  return CheckParsed(std::move(*parsed), body, options);
}

ChainResult ChainVerifier::CheckParsed(ParsedLeaf leaf, std::optional<std::string_view> body,
                                       const CheckOptions& options) {
  ChainCheck check(*this, leaf, options);
  Finding found = check.Run(body);
  ChainResult result;
  result.verdict = found.verdict;
  result.reason = std::move(found.reason);
  result.expected = found.expected;
  if (result.accepted()) {
    result.notes = check.TakeNotes();
    Advance(leaf);
  }
  result.leaf = std::move(leaf);
  return result;
}

}  // namespace nodetrail::trail

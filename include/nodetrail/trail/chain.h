// SPDX-License-Identifier: Apache-2.0
//
// Is this batch the next of its agent's chain? One implementation for the
// collector (before it stores) and for the verifier (long after).
#ifndef NODETRAIL_TRAIL_CHAIN_H_
#define NODETRAIL_TRAIL_CHAIN_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "nodetrail/trail/body.h"
#include "nodetrail/trail/crypto.h"
#include "nodetrail/trail/enrolment.h"
#include "nodetrail/trail/leaf.h"

namespace nodetrail::trail {

enum class ChainVerdict {
  kAccept,         // next of the chain; the state moved on
  kDuplicate,      // this very batch was accepted before: acknowledge again
  kEquivocation,   // another batch holds this (epoch, seq): evidence, raise the alarm
  kOld,            // position is past, and what it held is not known here
  kAhead,          // batches between are missing: ask for `expected`
  kMalformed,      // sizes or parse
  kWrongIdentity,  // tenant or agent is not the one expected
  kBadAlgorithm,   // sig_alg is not allowed, or changes within an epoch
  kClosed,         // the epoch was ended by CLEAN_SHUTDOWN
  kBrokenChain,    // prev_hash is not the predecessor's
  kWrongKey,       // signer_key is not the predecessor's next_key
  kBadEpochOpen,   // the epoch's opening does not hold
  kBadSignature,
  kBadBody,      // hash or length of the stored body, or a wrong statement about an evicted one
  kBadCounters,  // a loss counter went down, or event numbers do not join
  kNotEnrolled,  // ChainPolicy::judge: not the key or algorithm that was enrolled
  kRevoked,      // … the agent's right to this position was taken back
};
// "accept", "broken_chain", …
std::string_view ChainVerdictName(ChainVerdict verdict);

struct ChainPosition {
  uint64_t epoch = 0;
  uint64_t seq = 0;
  friend bool operator==(const ChainPosition&, const ChainPosition&) = default;
};

// Batches that never came: [from_seq, to_seq] of an epoch.
struct ChainHole {
  uint64_t epoch = 0;
  uint64_t from_seq = 0;
  uint64_t to_seq = 0;
  // False: nobody knows how many; to_seq is then UINT64_MAX.
  [[nodiscard]] bool bounded() const { return to_seq != UINT64_MAX; }
};

// What else an accepted batch shows. Not faults of the chain.
struct ChainNotes {
  bool epoch_opened = false;
  bool unclean_restart = false;    // the previous epoch did not end with CLEAN_SHUTDOWN
  bool same_boot_restart = false;  // … within one boot
  bool history_unknown = false;    // the agent had lost its spool: it knew no previous epoch, but we do
  bool spool_rolled_back = false;  // the agent knew less of its previous epoch than we do
  bool wall_clock_back = false;    // wall clock before the previous batch's by more than both clock errors
  bool boot_clock_back = false;    // boot clock before the previous batch's, same boot
  bool clock_unsynced = false;
  bool unknown_fields = false;   // signed fields that this version can't judge
  std::vector<ChainHole> holes;  // with CheckOptions::allow_hole only
};

struct ChainResult {
  ChainVerdict verdict = ChainVerdict::kMalformed;
  std::string reason;                     // one line; empty for kAccept
  std::optional<ChainPosition> expected;  // kAhead
  std::optional<ParsedLeaf> leaf;         // unless kMalformed
  ChainNotes notes;                       // kAccept

  [[nodiscard]] bool accepted() const { return verdict == ChainVerdict::kAccept; }
};

struct ChainPolicy {
  std::string tenant;                   // empty: that of the first batch
  std::string agent_id;                 // empty: that of the first batch
  const CaSet* identity_cas = nullptr;  // required; must outlive the verifier
  // Hashes of recent batches kept to tell a duplicate from an equivocation.
  size_t remember = 1024;
  // Algorithms that may sign this agent's batches; empty: each that we know.
  std::vector<v1::SigAlg> sig_algs{};
  // What the log's own entries say of a batch that holds in every other way;
  // null: nothing is asked.
  std::function<EnrolmentRuling(const v1::BatchHeader&)> judge = nullptr;
};

struct CheckOptions {
  // Accept a batch although earlier ones are missing, and note the hole. The
  // collector sets it when the agent declares that it no longer has them; the
  // offline verifier always does, and reports the hole. A batch after a hole
  // in its own epoch can't be tied to the key of the one before: what vouches
  // for it is the identity-signed opening of the next epoch.
  bool allow_hole = false;
  // SignedEviction that stands in the place of the body; `body` is nothing then.
  std::optional<std::string_view> eviction = std::nullopt;
  // Replaying one's own log at start: signatures were checked when it came in.
  bool trusted = false;
};

// What is known of one agent. A plain value: copy it to keep or to roll back.
struct ChainState {
  ChainHead head;
  std::string tenant;
  std::string agent_id;
  // Last hashes, newest last; front is at position `recent_from` of head.epoch.
  std::deque<Hash> recent;
  uint64_t recent_from = 0;
};

// Owner: whoever keeps the agent's chain. One thread at a time.
class ChainVerifier {
 public:
  // Where older hashes are found, e.g. in the collector's index. Nothing: unknown.
  using HashLookup = std::function<std::optional<Hash>(uint64_t epoch, uint64_t seq)>;

  explicit ChainVerifier(ChainPolicy policy, HashLookup lookup = nullptr);

  // Checks in the order: sizes, parse, ids, sig_alg, position, prev_hash and
  // key (or the opening of the epoch), signature, stored body (if `body` is
  // given: hash and length only), counters, judge. The state moves only on kAccept.
  // `body` is nothing when bodies are checked elsewhere.
  ChainResult Check(std::string_view leaf, std::optional<std::string_view> body, const CheckOptions& options = {});

  [[nodiscard]] const ChainState& state() const { return state_; }
  void set_state(ChainState state) { state_ = std::move(state); }
  // Position that Check would accept next within the epoch; {0,0} if nothing
  // is known.
  [[nodiscard]] ChainPosition expected() const;

 private:
  friend class ChainCheck;
  ChainResult CheckParsed(ParsedLeaf leaf, std::optional<std::string_view> body, const CheckOptions& options);
  [[nodiscard]] std::optional<Hash> HashAt(uint64_t epoch, uint64_t seq) const;
  void Advance(const ParsedLeaf& leaf);

  ChainPolicy policy_;
  HashLookup lookup_;
  ChainState state_;
};

// State as bytes (versioned, with a checksum), for those that keep it.
std::string SerializeChainState(const ChainState& state);
Result<ChainState> ParseChainState(std::string_view bytes);

}  // namespace nodetrail::trail

#endif  // NODETRAIL_TRAIL_CHAIN_H_

// SPDX-License-Identifier: Apache-2.0
//
// Seals batches: header, ratchet, signature. The key that signs batch i is
// erased once batch i is durable; who takes over the host afterwards can't
// rewrite it. docs/adr/0007-seal-format.md gives the reasons.
#ifndef NODETRAIL_AGENT_SEAL_SEALER_H_
#define NODETRAIL_AGENT_SEAL_SEALER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "agent/batch/batch_content.h"
#include "nodetrail/base/clock.h"
#include "nodetrail/base/fd.h"
#include "nodetrail/base/status.h"
#include "nodetrail/trail/crypto.h"
#include "nodetrail/trail/leaf.h"

namespace nodetrail::agent {

// How well the wall clock is disciplined, adjtimex(2).
struct ClockQuality {
  uint64_t max_error_ns = 0;
  bool unsynced = true;
};
ClockQuality ReadClockQuality();

// The newest checkpoint of the log that the agent has verified.
struct SealedSeen {
  uint64_t size = 0;  // 0: none
  trail::Hash root{};
};

struct SealerOptions {
  std::string tenant;
  std::string agent_id;
  std::string identity_cert_file;  // PEM: certificate, then its intermediates
  std::string identity_key_file;   // PEM, P-256; not readable by group or others
  std::string identity_key_uri;    // instead: pkcs11:…
  // Of the keys that sign batches. Another one than the inherited key has
  // begins a new epoch.
  trail::v1::SigAlg ratchet_alg = trail::v1::SIG_ALG_ED25519;
  std::string boot_id;  // empty: read from /proc
  trail::Hash config_sha256{};
  trail::Hash program_sha256{};
  trail::ChainHead spool_head;  // as the spool recovered it
  // A key memfd from the fd store of the service manager; invalid: none.
  // Taken over by the sealer.
  UniqueFd inherited_key;
  // Never go on with the old epoch: set when the spool lost batches. The
  // identity key then vouches for what follows the hole.
  bool force_new_epoch = false;
  int zstd_level = 3;
  const Clock* clock = nullptr;  // required; outlives the sealer
  std::function<ClockQuality()> clock_quality = ReadClockQuality;
  // Asked for each batch, on the pipeline thread; must not block. Null: none.
  std::function<SealedSeen()> seen = nullptr;
};

// The chain goes on (same epoch) when the inherited key is the one that the
// last durable batch promised, in the same boot and after no clean shutdown.
// Otherwise a new epoch begins, whose first batch carries the identity key's
// statement: epoch = max(previous + 1, wall clock in seconds), so that it
// grows even after the spool was wiped.
//
// Per batch: Seal, append the result to the spool, then Commit if that was
// durable, or Abandon if it was not. Between Seal and Commit/Abandon no other
// Seal. Owner: the pipeline thread.
class Sealer {
 public:
  // InvalidArgument: a file is unreadable, not what it should be, or the
  // certificate's URI is another agent's; names the file.
  static Result<std::unique_ptr<Sealer>> Open(SealerOptions options);
  ~Sealer();

  // Builds, compresses and signs the next batch. The first of an epoch is
  // sealed as EPOCH_OPEN whatever content.type says (CLEAN_SHUTDOWN there is
  // FailedPrecondition). content.losses counts from the start of the process;
  // when an epoch goes on, what its earlier batches counted is added.
  Result<trail::SealedBatch> Seal(const BatchContent& content);

  // The sealed batch is durable: erases its key, promotes the next one.
  void Commit();
  // It is not, and it never left: forgets it. The same or another content may
  // be sealed at the same seq; a new next key is drawn.
  void Abandon();

  [[nodiscard]] uint64_t epoch() const;
  [[nodiscard]] uint64_t next_seq() const;
  // First event seq of the next batch: 1 in a new epoch.
  [[nodiscard]] uint64_t next_event_seq() const;
  // False: the next batch opens a new epoch.
  [[nodiscard]] bool continued() const;
  // True: the epoch before ended without CLEAN_SHUTDOWN (or is unknown while
  // there is a history): the first batch must carry an agent.gap.
  [[nodiscard]] bool previous_unclean() const;
  // The end of the previous epoch, for agent.gap; known=false if there is none.
  [[nodiscard]] const trail::ChainHead& previous() const;

  // The key memfd, for FDSTORE=1 under the name "nodetrail-ratchet". Owned by
  // the sealer; its content follows every Commit. -1 after clean shutdown.
  [[nodiscard]] int KeyFd() const;

 private:
  struct Impl;
  explicit Sealer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_SEAL_SEALER_H_

// SPDX-License-Identifier: Apache-2.0
//
// The sequencer: states in a signed checkpoint how long the log is and what
// its root is, at most `interval` after it grew. Own thread.
//
// What it signs is computed from the leaves as they lie on the disk, read back
// after they were made durable, and compared with what ingest accepted: a bit
// that flipped in between is found before the signature. It never signs
// a tree that is smaller than, or does not extend, the last one it signed.
//
// Before a checkpoint it publishes the tiles of that size (TilePublisher), made
// from the same leaves. A tile on the disk with other bytes is damage of one of
// the two: nothing is signed any more then.
//
// With a Cosigner, a checkpoint waits for its witnesses (at most the Cosigner's
// time) before it is published, and is published again when one that was
// missing cosigns it later.
#ifndef NODETRAIL_COLLECTOR_LOG_SEQUENCER_H_
#define NODETRAIL_COLLECTOR_LOG_SEQUENCER_H_

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "collector/log/cosigner.h"
#include "collector/log/tile_publisher.h"
#include "nodetrail/base/clock.h"
#include "nodetrail/base/status.h"
#include "nodetrail/trail/crypto.h"
#include "nodetrail/trail/merkle.h"
#include "nodetrail/trail/note.h"
#include "nodetrail/trail/trail_store.h"

namespace nodetrail::collector {

// The Ed25519 key that signs checkpoints of one origin. While the key is rolled,
// its successor signs them too.
struct LogSigner {
  struct Successor {
    trail::Ed25519Key key;
    trail::NoteVerifier verifier;
  };
  std::string origin;
  trail::Ed25519Key key;
  trail::NoteVerifier verifier;
  std::optional<Successor> next = std::nullopt;

  // PEM file, not readable by group or others. Errors name file, cause, fix.
  static Result<LogSigner> Load(const std::string& key_file, const std::string& origin);
  // The key in `key_file` becomes the successor.
  Status LoadNext(const std::string& key_file);
  // The checkpoint, signed by the key and its successor.
  [[nodiscard]] Result<std::string> Sign(const trail::Checkpoint& checkpoint) const;
  // True for a signature line of either.
  [[nodiscard]] bool Ours(const trail::NoteSignature& signature) const;
};

class Sequencer {
 public:
  struct Options {
    std::string trail_dir;
    std::chrono::milliseconds interval{1000};
    // A checkpoint that is on the disk, as its tiles are: each new one, and the
    // one found at start. On the sequencer's thread; returns at once.
    std::function<void(const trail::Checkpoint& checkpoint, const std::string& note)> on_published = nullptr;
    Cosigner* cosigner = nullptr;  // outlives it; null: no witnesses
  };
  struct Head {
    uint64_t size = 0;  // of the last signed checkpoint; 0: none
    trail::Hash root{};
    std::string problem;  // why it does not sign; empty if it does
    std::string note;     // the checkpoint as published
    // Checkpoints since start that were published while a witness was missing.
    uint64_t uncosigned = 0;
  };

  // Checks log/log.vkey (written if missing; FailedPrecondition if it is
  // another key's, unless log/log-next.vkey says that ours was its successor) and the last checkpoint's signature
  // (DataLoss if it is not ours). Leaves are then given to Replay in order, from 0.
  static Result<std::unique_ptr<Sequencer>> Open(Options options, LogSigner signer);
  ~Sequencer();  // Stop()
  Sequencer(const Sequencer&) = delete;
  Sequencer& operator=(const Sequencer&) = delete;

  // At start, before Start: a leaf of the log as read back. DataLoss at the
  // size of the last checkpoint if the root is not the one that was signed.
  Status Replay(std::string_view leaf);
  // DataLoss if the log is shorter than the last checkpoint.
  Status ReplayDone() const;
  // After it, before Start: asks every witness where it is. DataLoss if one
  // knows more of this log than the trail holds, or another history: it is an
  // old copy, and must not be signed. Nothing without a Cosigner; a witness that
  // does not answer is no error. Blocks as the Cosigner does.
  Status AskWitnesses();

  void Start();
  // Instead of Start: no thread; the caller's calls of Step are the sequencer
  // thread. For those who must own the order of things.
  void StartStepping();
  // One round: reads back, publishes the tiles, signs. False: it has refused
  // for good.
  bool Step();
  // Signs what is there, then ends the thread. Idempotent.
  void Stop();

  // Ingest made leaves durable, from index `first` on, with these leaf hashes.
  // Any thread; returns at once.
  void Appended(uint64_t first, std::span<const trail::Hash> leaf_hashes);

  [[nodiscard]] Head GetHead() const;
  // Signs and frames an entry of the log's own (trail/log_entry.h). Any thread.
  [[nodiscard]] Result<std::string> SignEntry(const trail::v1::LogEntry& entry) const;
  // A secret of this log for one purpose, the same at every start. Any thread.
  [[nodiscard]] trail::Hash SecretFor(std::string_view purpose) const;
  [[nodiscard]] const trail::NoteVerifier& verifier() const { return signer_.verifier; }

 private:
  Sequencer(Options options, LogSigner signer)
      : options_(std::move(options)), signer_(std::move(signer)), tiles_(options_.trail_dir + "/log") {}
  void Run();
  Status CatchUpTiles();
  Status Integrate(uint64_t size);
  Status CheckVkey();
  Status AnnounceKeys();
  Status SignAndPublish();
  Cosigner::Outcome Cosign(const trail::Checkpoint& checkpoint);
  Result<std::vector<trail::Hash>> ProofFrom(uint64_t old_size, const trail::Checkpoint& checkpoint);
  Status Refuse(Status why);
  Status PublishTiles(Status (TilePublisher::*publish)());
  void Announce();
  void SetProblem(const Status& status);

  const Options options_;
  const LogSigner signer_;
  // Sequencer thread, or the opener before Start.
  trail::CompactRange range_;
  TilePublisher tiles_;
  trail::CompactRange tiles_range_;  // over what tiles_ got before Integrate
  std::unique_ptr<trail::TrailReader> reader_;
  uint64_t signed_size_ = 0;
  trail::Hash signed_root_{};
  std::string published_;   // the note on disk
  bool announced_ = false;  // on_published knows it
  // The newest checkpoint, published or about to be: as the log signed it, and
  // the cosignatures of it.
  std::string base_;
  std::string lines_;
  bool cosigned_ = false;  // by all witnesses
  bool unsigned_ = false;  // the successor has not signed it yet

  mutable std::mutex mutex_;
  std::condition_variable cv_;
  std::deque<trail::Hash> accepted_;  // of leaves not integrated yet
  uint64_t accepted_from_ = 0;        // index of its front
  bool stop_ = false;
  bool refused_ = false;  // for good
  Head head_;
  std::jthread thread_;
};

}  // namespace nodetrail::collector

#endif  // NODETRAIL_COLLECTOR_LOG_SEQUENCER_H_

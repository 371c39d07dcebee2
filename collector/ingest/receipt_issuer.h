// SPDX-License-Identifier: Apache-2.0
//
// Gives each batch its receipt once a published checkpoint covers it. A thread
// of its own, so that neither ingest nor the sequencer waits for proofs.
//
// What is awaited lies with the stream that awaits it, and is bounded there: a
// stream that ends takes it along, and costs nothing more. Here is only a list
// of streams.
#ifndef NODETRAIL_COLLECTOR_INGEST_RECEIPT_ISSUER_H_
#define NODETRAIL_COLLECTOR_INGEST_RECEIPT_ISSUER_H_

#include <condition_variable>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "nodetrail/base/status.h"
#include "nodetrail/ingest/v1/ingest.pb.h"
#include "nodetrail/trail/note.h"
#include "nodetrail/trail/tile.h"

namespace nodetrail::collector {

// A batch that is durable, and of which its agent wants to see that it is logged.
struct AwaitedBatch {
  uint64_t epoch = 0;
  uint64_t seq = 0;
  trail::Hash batch_hash{};
  trail::Hash leaf_hash{};
  uint64_t log_index = 0;
};

// A stream, as the issuer sees it. Any thread.
class ReceiptTaker {
 public:
  enum class More {
    kNone,   // nothing is awaited any more: off the list, until ReceiptIssuer::List
    kLater,  // what is left waits for a larger checkpoint, or for the peer to take answers
    kNow,    // more is due
  };
  virtual ~ReceiptTaker() = default;
  // The awaited batches below `size`, at most `max` and at most as many as the
  // stream takes answers for.
  virtual More TakeDue(uint64_t size, size_t max, std::vector<AwaitedBatch>* due) = 0;
  // The receipts of what was taken, in order.
  virtual void Deliver(std::vector<ingest::v1::ServerMessage> receipts) = 0;
  // They can't be made now: they are awaited as before.
  virtual void PutBack(std::vector<AwaitedBatch> due) = 0;
};

class ReceiptIssuer {
 public:
  // Reads the tiles of `trail_dir`.
  explicit ReceiptIssuer(const std::string& trail_dir) : log_dir_(trail_dir + "/log/") {}
  ~ReceiptIssuer();  // Stop()
  ReceiptIssuer(const ReceiptIssuer&) = delete;
  ReceiptIssuer& operator=(const ReceiptIssuer&) = delete;

  void Start();
  // Instead of Start: no thread; the caller's calls of Step are the issuer's
  // thread. For those who must own the order of things. Gives out what is due.
  void Step();
  // Gives out what is due, then ends the thread. Idempotent.
  void Stop();

  // This checkpoint and its tiles are on the disk. Any thread; returns at once.
  void Published(const trail::Checkpoint& checkpoint, const std::string& note);
  // `taker` awaits something and is not on the list. Any thread; returns at once.
  void List(const std::weak_ptr<ReceiptTaker>& taker);
  // A taker of the list awaits something that may be due, or takes answers again.
  void Wake();
  // Leaves under the newest published checkpoint. Any thread.
  [[nodiscard]] uint64_t published_size() const;
  // Receipts given since start. Any thread.
  [[nodiscard]] uint64_t issued() const;

 private:
  void Run();
  void Serve();
  Result<std::vector<ingest::v1::ServerMessage>> Prove(const std::vector<AwaitedBatch>& due);
  Result<std::string> ReadTile(const trail::TileId& id);

  const std::string log_dir_;

  // Issuer thread.
  std::list<std::weak_ptr<ReceiptTaker>> takers_;
  trail::Checkpoint checkpoint_;  // served under
  std::string note_;
  std::map<trail::TileId, std::string> tiles_;  // read, at most kMaxTiles
  std::string problem_;

  mutable std::mutex mutex_;
  std::condition_variable cv_;
  std::list<std::weak_ptr<ReceiptTaker>> new_takers_;
  trail::Checkpoint published_;
  std::string published_note_;
  bool wake_ = false;
  bool stop_ = false;
  uint64_t issued_ = 0;
  std::jthread thread_;
};

}  // namespace nodetrail::collector

#endif  // NODETRAIL_COLLECTOR_INGEST_RECEIPT_ISSUER_H_

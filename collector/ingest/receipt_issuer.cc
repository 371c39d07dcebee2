// SPDX-License-Identifier: Apache-2.0
#include "collector/ingest/receipt_issuer.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "nodetrail/base/fd.h"
#include "nodetrail/base/log.h"
#include "nodetrail/trail/receipt.h"

namespace nodetrail::collector {
namespace {

// Of one stream in a row, so that none waits long for another's.
constexpr size_t kTurn = 32;
// 8 KiB each: the paths of the newest 65,536 leaves and what is above them.
constexpr size_t kMaxTiles = 300;
// What could not be proven is tried again after this.
constexpr std::chrono::seconds kRetry{1};
constexpr size_t kHashTileBytes = trail::kTileWidth * sizeof(trail::Hash);

}  // namespace

ReceiptIssuer::~ReceiptIssuer() { Stop(); }

void ReceiptIssuer::Start() {
  thread_ = std::jthread([this] { Run(); });
}

void ReceiptIssuer::Stop() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
    cv_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

void ReceiptIssuer::Published(const trail::Checkpoint& checkpoint, const std::string& note) {
  const std::lock_guard lock(mutex_);
  published_ = checkpoint;
  published_note_ = note;
  wake_ = true;
  cv_.notify_all();
}

void ReceiptIssuer::List(const std::weak_ptr<ReceiptTaker>& taker) {
  const std::lock_guard lock(mutex_);
  new_takers_.push_back(taker);
  wake_ = true;
  cv_.notify_all();
}

void ReceiptIssuer::Wake() {
  const std::lock_guard lock(mutex_);
  wake_ = true;
  cv_.notify_all();
}

uint64_t ReceiptIssuer::published_size() const {
  const std::lock_guard lock(mutex_);
  return published_.size;
}

uint64_t ReceiptIssuer::issued() const {
  const std::lock_guard lock(mutex_);
  return issued_;
}

void ReceiptIssuer::Run() {
  for (bool last = false; !last;) {
    {
      std::unique_lock lock(mutex_);
      const auto woken = [this] { return stop_ || wake_; };
      if (problem_.empty()) cv_.wait(lock, woken);
      else cv_.wait_for(lock, kRetry, woken);
      last = stop_;
    }
    Step();
  }
}

void ReceiptIssuer::Step() {
  {
    const std::lock_guard lock(mutex_);
    wake_ = false;
    takers_.splice(takers_.end(), new_takers_);
    if (published_note_ != note_) {
      checkpoint_ = published_;
      note_ = published_note_;
      // A full tile never changes; a partial one is another file each time.
      std::erase_if(tiles_, [](const auto& tile) { return tile.first.width < trail::kTileWidth; });
    }
  }
  if (!note_.empty()) Serve();
}

// Turn by turn, until nothing more is due.
void ReceiptIssuer::Serve() {
  for (bool more = true; more;) {
    more = false;
    for (auto it = takers_.begin(); it != takers_.end();) {
      const std::shared_ptr<ReceiptTaker> taker = it->lock();
      std::vector<AwaitedBatch> due;
      const ReceiptTaker::More left = taker ? taker->TakeDue(checkpoint_.size, kTurn, &due) : ReceiptTaker::More::kNone;
      it = left == ReceiptTaker::More::kNone ? takers_.erase(it) : std::next(it);
      if (due.empty()) continue;
      auto receipts = Prove(due);
      std::string problem = receipts.ok() ? std::string() : std::string(receipts.status().message());
      if (problem != problem_ && !problem.empty()) {
        log::Error(fmt::format("receipts: {}; agents keep their batches until they have one", problem));
      }
      problem_ = std::move(problem);
      if (!receipts.ok()) {
        taker->PutBack(std::move(due));
        tiles_.clear();
        return;
      }
      {
        const std::lock_guard lock(mutex_);
        issued_ += receipts->size();
      }
      taker->Deliver(*std::move(receipts));
      more = more || left == ReceiptTaker::More::kNow;
    }
  }
}

Result<std::vector<ingest::v1::ServerMessage>> ReceiptIssuer::Prove(const std::vector<AwaitedBatch>& due) {
  std::vector<ingest::v1::ServerMessage> out;
  out.reserve(due.size());
  for (const AwaitedBatch& batch : due) {
    NT_ASSIGN_OR_RETURN(const trail::TileInclusion found,
                        trail::TileInclusionProof(batch.log_index, checkpoint_.size, checkpoint_.root,
                                                  [this](const trail::TileId& id) { return ReadTile(id); }));
    if (found.leaf_hash != batch.leaf_hash) {
      return DataLoss(
          fmt::format("leaf {} of the tiles is another than was stored; run nodetrail verify", batch.log_index));
    }
    ingest::v1::Ack* ack = out.emplace_back().mutable_ack();
    ack->set_level(ingest::v1::ACK_LEVEL_LOGGED);
    ack->set_epoch(batch.epoch);
    ack->set_seq(batch.seq);
    ack->set_batch_hash(trail::Bytes(batch.batch_hash));
    ack->set_log_index(batch.log_index);
    ack->set_proof(trail::FormatReceipt(batch.log_index, found.proof, note_));
  }
  return out;
}

Result<std::string> ReceiptIssuer::ReadTile(const trail::TileId& id) {
  if (const auto it = tiles_.find(id); it != tiles_.end()) return it->second;
  auto bytes = ReadFile(log_dir_ + trail::TilePath(id), kHashTileBytes);
  if (!bytes.ok() && bytes.status().code() == Code::kNotFound && id.width < trail::kTileWidth) {
    // Its full tile is there by now: this is the beginning of it.
    trail::TileId full = id;
    full.width = trail::kTileWidth;
    bytes = ReadFile(log_dir_ + trail::TilePath(full), kHashTileBytes);
    if (bytes.ok()) bytes->resize(std::min(bytes->size(), id.width * sizeof(trail::Hash)));
  }
  if (!bytes.ok()) return bytes.status();
  if (tiles_.size() >= kMaxTiles) tiles_.clear();
  return tiles_.emplace(id, *std::move(bytes)).first->second;
}

}  // namespace nodetrail::collector

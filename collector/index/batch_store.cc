// SPDX-License-Identifier: Apache-2.0
#include "collector/index/batch_store.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "nodetrail/trail/body.h"

namespace nodetrail::collector {

LeafInfo LeafInfo::Of(uint64_t log_index, const trail::v1::BatchHeader& header) {
  LeafInfo out;
  out.log_index = log_index;
  out.tenant = header.tenant();
  out.agent_id = header.agent_id();
  out.epoch = header.epoch();
  out.batch_seq = header.seq();
  out.first_event_seq = header.first_event_seq();
  out.last_event_seq = header.last_event_seq();
  out.event_count = header.event_count();
  if (header.body_codec() == trail::v1::BODY_CODEC_ZSTD) {
    if (const auto hash = trail::HashFromBytes(header.body_sha256())) {
      out.has_body = true;
      out.body_sha256 = *hash;
    }
  }
  out.raw_len = header.raw_body_len();
  out.stored_len = header.stored_body_len();
  out.sealed_wall_ns = header.sealed_wall_ns();
  return out;
}

schema::RowFacts LeafInfo::Facts() const {
  schema::RowFacts out;
  out.agent_id = agent_id;
  out.tenant = tenant;
  out.hostname = hostname;
  out.epoch = epoch;
  out.batch_seq = batch_seq;
  out.log_index = log_index;
  out.received_wall_ns = received_wall_ns;
  return out;
}

bool OpenBatch::Event(size_t ordinal, event::v1::Event* out) const {
  return ordinal < static_cast<size_t>(batch_.events_size()) &&
         out->ParseFromString(batch_.events(static_cast<int>(ordinal)));
}

OpenBatch::ActorEntry OpenBatch::Actor(const event::v1::Event& event) const {
  if (event.proc_uid().empty()) return {};
  const auto it = actors_.find({event.proc_uid(), event.exec_count()});
  if (it == actors_.end()) return {};
  return {&processes_[it->second], batch_.processes(static_cast<int>(it->second))};
}

BatchStore::BatchStore(std::string trail_dir, size_t cache_bytes)
    : trail_dir_(std::move(trail_dir)), cache_bytes_(cache_bytes) {}

uint64_t BatchStore::ReceivedWallNs(const trail::Hash& body_sha256) const {
  struct stat st {};
  if (::stat(fmt::format("{}/{}", trail_dir_, trail::BodyPath(body_sha256)).c_str(), &st) != 0) return 0;
  return static_cast<uint64_t>(st.st_mtim.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(st.st_mtim.tv_nsec);
}

bool BatchStore::Has(const trail::Hash& body_sha256) const {
  return ::access(fmt::format("{}/{}", trail_dir_, trail::BodyPath(body_sha256)).c_str(), F_OK) == 0;
}

bool BatchStore::GivenUp(const trail::Hash& body_sha256) const {
  return ::access(fmt::format("{}/{}", trail_dir_, trail::EvictionPath(body_sha256)).c_str(), F_OK) == 0;
}

Result<std::string> BatchStore::Leaf(uint64_t log_index) {
  const std::lock_guard lock(reader_mutex_);
  if (reader_ == nullptr) {
    NT_ASSIGN_OR_RETURN(reader_, trail::TrailReader::Open(trail_dir_));
  }
  return reader_->Leaf(log_index);
}

Result<std::shared_ptr<const OpenBatch>> BatchStore::Open(const LeafInfo& leaf) {
  {
    const std::lock_guard lock(mutex_);
    const auto it = cache_.find(leaf.body_sha256);
    if (it != cache_.end()) {
      ages_.splice(ages_.begin(), ages_, it->second.age);
      return it->second.batch;
    }
  }
  NT_ASSIGN_OR_RETURN(auto batch, Load(leaf));
  const std::lock_guard lock(mutex_);
  if (cache_.contains(leaf.body_sha256) || batch->bytes() > cache_bytes_) return batch;
  ages_.push_front(leaf.body_sha256);
  cache_[leaf.body_sha256] = {batch, ages_.begin()};
  cached_bytes_ += batch->bytes();
  while (cached_bytes_ > cache_bytes_) {
    const auto oldest = cache_.find(ages_.back());
    cached_bytes_ -= oldest->second.batch->bytes();
    cache_.erase(oldest);
    ages_.pop_back();
  }
  return batch;
}

void BatchStore::Forget(const trail::Hash& body_sha256) {
  const std::lock_guard lock(mutex_);
  const auto it = cache_.find(body_sha256);
  if (it == cache_.end()) return;
  cached_bytes_ -= it->second.batch->bytes();
  ages_.erase(it->second.age);
  cache_.erase(it);
}

Result<std::shared_ptr<const OpenBatch>> BatchStore::Load(const LeafInfo& leaf) {
  const auto out = std::make_shared<OpenBatch>();
  if (!leaf.has_body) return std::shared_ptr<const OpenBatch>(out);
  const std::string path = fmt::format("{}/{}", trail_dir_, trail::BodyPath(leaf.body_sha256));
  struct stat st {};
  if (::stat(path.c_str(), &st) != 0) return ErrnoStatus(errno, path);
  if (!S_ISREG(st.st_mode) || static_cast<uint64_t>(st.st_size) != leaf.stored_len ||
      leaf.stored_len > trail::kMaxBodyBytes) {
    return DataLoss(fmt::format("{}: {} bytes, leaf {} says {}", path, st.st_size, leaf.log_index, leaf.stored_len));
  }
  NT_ASSIGN_OR_RETURN(const auto stored, ReadFile(path, trail::kMaxBodyBytes));
  if (trail::Sha256Of(stored) != leaf.body_sha256) {
    return DataLoss(fmt::format("{}: not the bytes that leaf {} names", path, leaf.log_index));
  }
  auto raw = trail::DecompressBody(stored, leaf.raw_len);
  if (!raw.ok()) return Annotate(raw.status(), path);
  if (!out->batch_.ParseFromString(*raw)) return DataLoss(fmt::format("{}: not an EventBatch", path));
  // The records, and the processes taken apart.
  out->bytes_ = 4 * raw->size() + 1024;
  out->processes_.resize(static_cast<size_t>(out->batch_.processes_size()));
  for (size_t i = 0; i < out->processes_.size(); ++i) {
    auto& process = out->processes_[i];
    if (!process.ParseFromString(out->batch_.processes(static_cast<int>(i)))) continue;
    out->actors_.emplace(OpenBatch::Key{process.proc_uid(), process.exec_count()}, i);
  }
  return std::shared_ptr<const OpenBatch>(out);
}

}  // namespace nodetrail::collector

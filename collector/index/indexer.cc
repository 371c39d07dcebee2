// SPDX-License-Identifier: Apache-2.0
#include "collector/index/indexer.h"

#include <dirent.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <stop_token>
#include <thread>
#include <utility>
#include <vector>

#include "collector/index/catalog.h"
#include "collector/index/partition.h"
#include "nodetrail/base/fd.h"
#include "nodetrail/base/log.h"
#include "nodetrail/trail/body.h"
#include "nodetrail/trail/bundle.h"
#include "nodetrail/trail/log_entry.h"

namespace nodetrail::collector {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// A transaction ends at whichever comes first: a crash redoes so much, readers
// see events so late, and so many files are open.
constexpr uint64_t kGroupLeaves = 256;
constexpr auto kGroupTime = milliseconds(200);
// … but while it catches up, throughput counts.
constexpr uint64_t kSweepGroupLeaves = 4096;
constexpr auto kSweepGroupTime = milliseconds(3000);
constexpr size_t kMaxPartitionsOpen = 4;
constexpr uint64_t kSweepLeaves = 1024;
// An agent that lies about the time can't make files without end: past this,
// new spans share the partition of odd times.
constexpr size_t kMaxPartitions = 4096;

constexpr auto kTick = milliseconds(1000);  // checks that the index is still there, retries after trouble
constexpr auto kProgressEvery = std::chrono::seconds(5);
constexpr size_t kBodyCacheBytes = 64U << 20;
constexpr size_t kMaxLagMarks = 4096;
constexpr uint64_t kLastTime = UINT64_MAX >> 1;  // as IndexTime has it
constexpr int kBodyRetries = 5;                  // a tick apart

// Removes what the index is made of (or its partitions only); leaves alone what
// it does not know.
Status RemoveIndexFiles(const std::string& dir, bool keep_catalog) {
  DIR* handle = ::opendir(dir.c_str());
  if (handle == nullptr) return errno == ENOENT ? OkStatus() : ErrnoStatus(errno, fmt::format("index: open {}", dir));
  Status out;
  while (const dirent* entry = ::readdir(handle)) {
    const std::string_view name = entry->d_name;
    if (!name.ends_with(".db") && !name.ends_with(".db-wal") && !name.ends_with(".db-shm")) continue;
    if (keep_catalog && name.starts_with("catalog.")) continue;
    const std::string path = fmt::format("{}/{}", dir, name);
    if (::unlink(path.c_str()) != 0 && errno != ENOENT && out.ok()) {
      out = ErrnoStatus(errno, fmt::format("index: remove {}", path));
    }
  }
  ::closedir(handle);
  return out;
}

class IndexerImpl final : public Indexer {
 public:
  explicit IndexerImpl(Options options)
      : options_(std::move(options)),
        index_dir_(options_.trail_dir + "/index"),
        bodies_(options_.trail_dir, kBodyCacheBytes) {}
  ~IndexerImpl() override { Stop(); }

  Status OpenIndex() {
    NT_RETURN_IF_ERROR(MakeDirectories(index_dir_));
    Status status = OpenCatalog();
    if (status.code() == Code::kDataLoss) status = Rebuild(std::string(status.message()));
    return status;
  }

  void Start() override {
    thread_ = std::jthread([this](const std::stop_token& stop) { Run(stop); });
  }

  void Stop() override {
    if (!thread_.joinable()) return;
    thread_.request_stop();
    changed_.notify_all();
    thread_.join();
  }

  void Notify(uint64_t log_size) override {
    {
      const std::lock_guard lock(mutex_);
      if (log_size <= log_size_) return;
      log_size_ = log_size;
      if (marks_.size() < kMaxLagMarks) marks_.emplace_back(log_size, options_.clock->BootNs());
      else marks_.back().first = log_size;
    }
    changed_.notify_all();
  }

  Progress GetProgress() const override {
    const std::lock_guard lock(mutex_);
    Progress out;
    out.indexed = indexed_;
    out.log_size = log_size_;
    if (indexed_ < log_size_ && !marks_.empty()) {
      out.lag_seconds = static_cast<double>(options_.clock->BootNs() - marks_.front().second) / 1e9;
    }
    out.rebuilding = rebuild_until_ > indexed_;
    out.problem = problem_;
    return out;
  }

  Status WaitIndexed(uint64_t leaves, milliseconds timeout) override {
    std::unique_lock lock(mutex_);
    if (changed_.wait_for(lock, timeout, [&] { return indexed_ >= leaves; })) return OkStatus();
    return {Code::kDeadlineExceeded, fmt::format("index: {} of {} leaves after {} ms{}{}", indexed_, leaves,
                                                 timeout.count(), problem_.empty() ? "" : ": ", problem_)};
  }

  uint64_t WaitForLog(uint64_t size, milliseconds timeout) override {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, timeout, [&] { return log_size_ > size; });
    return log_size_;
  }

  void ReportDamage(const std::string& why) override {
    {
      const std::lock_guard lock(mutex_);
      if (damage_.empty()) damage_ = why;
    }
    changed_.notify_all();
  }

  BatchStore* bodies() override { return &bodies_; }
  const std::string& index_dir() const override { return index_dir_; }

 private:
  // --- the thread ---

  void Run(const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      uint64_t target = 0;
      std::string damage;
      {
        std::unique_lock lock(mutex_);
        changed_.wait_for(lock, kTick, [&] {
          return stop.stop_requested() || !damage_.empty() || (log_size_ > indexed_ && problem_.empty());
        });
        target = log_size_;
        damage = std::exchange(damage_, {});
      }
      if (stop.stop_requested()) return;
      log_trouble_ = false;
      Status status = damage.empty() ? CheckPresent() : DataLoss(damage);
      if (status.ok() && !checked_against_log_) status = CheckAgainstLog();
      if (status.ok() && target > position_) status = IndexUpTo(target, stop);
      if (status.code() == Code::kDataLoss && !log_trouble_) status = Rebuild(std::string(status.message()));
      SetProblem(status);
    }
  }

  void SetProblem(const Status& status) {
    const std::string text = status.ok() ? std::string() : status.ToString();
    bool changed = false;
    {
      const std::lock_guard lock(mutex_);
      changed = problem_ != text;
      problem_ = text;
    }
    if (!changed) return;
    if (text.empty()) log::Info("index: going on");
    else log::Error(fmt::format("index: not following the log, will retry: {}", text));
  }

  Status OpenCatalog() {
    NT_ASSIGN_OR_RETURN(auto catalog, Catalog::Open(index_dir_, Db::Mode::kReadWrite));
    NT_ASSIGN_OR_RETURN(const auto position, catalog.GetPosition());
    NT_ASSIGN_OR_RETURN(const auto parts, catalog.Partitions(0, UINT64_MAX >> 1));
    // Partitions that no catalog knows may be of another log.
    if (position.leaves == 0) NT_RETURN_IF_ERROR(RemoveIndexFiles(index_dir_, /*keep_catalog=*/true));
    known_parts_.clear();
    for (const auto& part : parts) {
      known_parts_.insert(part.name);
      const std::string path = PartPath(part.name);
      if (::access(path.c_str(), F_OK) != 0) return DataLoss(fmt::format("{} is missing", path));
    }
    catalog_ = std::make_unique<Catalog>(std::move(catalog));
    position_ = position.leaves;
    last_leaf_hash_ = position.last_leaf_hash;
    checked_against_log_ = position_ == 0;
    struct stat st {};
    if (::stat((index_dir_ + "/catalog.db").c_str(), &st) != 0) return ErrnoStatus(errno, "index: stat catalog.db");
    catalog_inode_ = st.st_ino;
    Publish();
    return OkStatus();
  }

  // Somebody may have deleted the files under us: what is open would go on, and
  // be gone at the next start.
  Status CheckPresent() const {
    struct stat st {};
    if (catalog_ == nullptr || ::stat((index_dir_ + "/catalog.db").c_str(), &st) != 0 || st.st_ino != catalog_inode_) {
      return DataLoss("index was removed or replaced");
    }
    for (const auto& [name, part] : parts_) {
      if (::stat(PartPath(name).c_str(), &st) != 0) return DataLoss(fmt::format("index: {}.db was removed", name));
    }
    return OkStatus();
  }

  // Is this an index of this log? The last leaf it holds must be there.
  Status CheckAgainstLog() {
    const auto leaf = bodies_.Leaf(position_ - 1);
    if (leaf.status().code() == Code::kNotFound) {
      return DataLoss(fmt::format("index holds {} leaves, the log fewer", position_));
    }
    log_trouble_ = !leaf.ok();
    NT_RETURN_IF_ERROR(leaf.status());
    if (trail::LeafHash(*leaf) != last_leaf_hash_) return DataLoss("index is of another log");
    checked_against_log_ = true;
    return OkStatus();
  }

  Status Rebuild(const std::string& why) {
    parts_.clear();
    catalog_.reset();
    NT_RETURN_IF_ERROR(MakeDirectories(index_dir_));
    NT_RETURN_IF_ERROR(RemoveIndexFiles(index_dir_, /*keep_catalog=*/false));
    NT_RETURN_IF_ERROR(OpenCatalog());
    uint64_t leaves = 0;
    {
      const std::lock_guard lock(mutex_);
      leaves = log_size_;
      rebuild_until_ = log_size_;
    }
    log::Warn(fmt::format("index: rebuilding from the log ({} leaves known so far): {}", leaves, why));
    last_progress_ = steady_clock::now();
    return OkStatus();
  }

  Status IndexUpTo(uint64_t target, const std::stop_token& stop) {
    Status index_status;
    bool open = false;
    const auto step = [&](uint64_t index, std::string_view leaf) {
      index_status = [&]() -> Status {
        if (!open) NT_RETURN_IF_ERROR(BeginGroup());
        open = true;
        NT_RETURN_IF_ERROR(AddLeaf(index, leaf));
        if (index + 1 < target && !stop.stop_requested() && !GroupIsFull()) return OkStatus();
        open = false;
        return CommitGroup();
      }();
      return index_status.ok() && index + 1 < target && !stop.stop_requested();
    };
    Status log_status = ReadLeaves(target, step);
    if (index_status.ok() && open) index_status = CommitGroup();
    if (!index_status.ok()) {
      AbortGroup();
      return index_status;
    }
    log_trouble_ = !log_status.ok();
    return log_status;
  }

  // From position_ on, until `step` returns false. A few leaves are read one by
  // one (no reading through a segment for each batch), many in one sweep.
  Status ReadLeaves(uint64_t target, const std::function<bool(uint64_t, std::string_view)>& step) {
    sweeping_ = target - position_ > kSweepLeaves;
    if (sweeping_) {
      NT_ASSIGN_OR_RETURN(auto reader, trail::TrailReader::Open(options_.trail_dir));
      return reader->ForEach(
          position_, [&](const trail::LeafLocation& where, std::string_view leaf) { return step(where.index, leaf); });
    }
    for (uint64_t index = position_; index < target; ++index) {
      NT_ASSIGN_OR_RETURN(const auto leaf, bodies_.Leaf(index));
      if (!step(index, leaf)) break;
    }
    return OkStatus();
  }

  // --- one group of leaves, one transaction in each file ---

  Status BeginGroup() {
    NT_RETURN_IF_ERROR(catalog_->Begin());
    group_from_ = position_;
    group_start_ = steady_clock::now();
    touched_.clear();
    return OkStatus();
  }

  [[nodiscard]] bool GroupIsFull() const {
    return position_ - group_from_ >= (sweeping_ ? kSweepGroupLeaves : kGroupLeaves) ||
           touched_.size() >= kMaxPartitionsOpen ||
           steady_clock::now() - group_start_ >= (sweeping_ ? kSweepGroupTime : kGroupTime);
  }

  Status AddLeaf(uint64_t index, std::string_view leaf_bytes) {
    if (trail::IsLogEntry(leaf_bytes)) return AddEntry(index, leaf_bytes);
    auto parsed = trail::ParseLeaf(leaf_bytes);
    LeafInfo leaf;
    leaf.log_index = index;
    trail::v1::BatchHeader header;
    if (parsed.ok()) {
      header = parsed->header;
      leaf = LeafInfo::Of(index, header);
      if (leaf.has_body) leaf.received_wall_ns = bodies_.ReceivedWallNs(leaf.body_sha256);
    } else {
      log::Error(fmt::format("index: leaf {} is malformed, its events are not searchable: {}", index,
                             parsed.status().message()));
    }
    int64_t host_id = 0;
    if (leaf.has_body) {
      auto batch = bodies_.Open(leaf);
      if (batch.ok()) {
        const auto& records = (*batch)->batch();
        NT_ASSIGN_OR_RETURN(host_id, catalog_->HostId(records.host_sha256(), records.host()));
        if (host_id != 0) {
          NT_ASSIGN_OR_RETURN(leaf.hostname, Hostname(host_id, records));
        }
        NT_RETURN_IF_ERROR(AddEvents(leaf, **batch));
      } else if (MayPass(batch.status(), index)) {
        return batch.status();
      } else if (batch.status().code() != Code::kNotFound ||
                 !(bodies_.GivenUp(leaf.body_sha256) || (options_.retired && options_.retired(index)))) {
        // A body given up is no fault of this side: agent.loss events and the
        // headers' losses tell of it. Nor is one that was deleted by rule.
        log::Error(fmt::format("index: events of leaf {} are not searchable: {}", index, batch.status().ToString()));
      }
    }
    const auto hash = trail::LeafHash(leaf_bytes);
    NT_RETURN_IF_ERROR(catalog_->AddLeaf(leaf, hash, header.losses(), header.last_wall_ns(), host_id));
    position_ = index + 1;
    last_leaf_hash_ = hash;
    return OkStatus();
  }

  // What the log itself wrote holds no events: it counts for the tree alone. But
  // what it says was deleted goes from here too. Not when it is announced: a hold
  // may still come between.
  Status AddEntry(uint64_t index, std::string_view leaf_bytes) {
    const auto entry = trail::ParseLogEntry(leaf_bytes);
    if (entry.ok() && entry->entry.has_retired())
      NT_RETURN_IF_ERROR(RemoveRetired(entry->entry.retired().retire_index()));
    const auto hash = trail::LeafHash(leaf_bytes);
    NT_RETURN_IF_ERROR(catalog_->AddTreeLeaf(index, hash));
    position_ = index + 1;
    last_leaf_hash_ = hash;
    return OkStatus();
  }

  Status RemoveRetired(uint64_t retire_index) {
    NT_ASSIGN_OR_RETURN(const std::string bytes, bodies_.Leaf(retire_index));
    const auto retire = trail::ParseLogEntry(bytes);
    if (!retire.ok()) return OkStatus();  // nothing that an index could mend
    std::vector<uint64_t> leaves;
    uint64_t from = UINT64_MAX;
    uint64_t to = 0;
    uint64_t index = 0;
    for (const uint64_t distance : retire->entry.retire().leaves()) {
      index += distance;
      if (index >= retire_index) break;
      NT_ASSIGN_OR_RETURN(const std::string leaf, bodies_.Leaf(index));
      const auto parsed = trail::ParseLeaf(leaf);
      if (!parsed.ok()) continue;
      const trail::TimeSpan time = trail::TimeOf(parsed->header);
      from = std::min(from, time.from_ns);
      to = std::max(to, time.to_ns);
      leaves.push_back(index);
    }
    if (leaves.empty()) return OkStatus();
    // Times that an agent made up are in the partition of odd times, or in none
    // of these: then a row stays that finds no body.
    std::set<std::string> names{PartitionName(0, options_.partition_hours)};
    for (const auto& [name, info] : touched_) names.insert(name);
    NT_ASSIGN_OR_RETURN(const auto parts,
                        catalog_->Partitions(std::min(from, kLastTime), std::min(to, kLastTime - 1) + 1));
    for (const PartitionInfo& part : parts) names.insert(part.name);
    for (const std::string& name : names) {
      if (!known_parts_.contains(name)) continue;
      NT_ASSIGN_OR_RETURN(PartitionWriter * part, Part(name));
      NT_ASSIGN_OR_RETURN(const uint64_t removed, part->Remove(leaves));
      touched_.at(name).removed += removed;
    }
    return OkStatus();
  }

  // Trouble of the moment (no file descriptors, a slow disk) is worth another
  // try; but one bad body must not keep the index from all that follow.
  bool MayPass(const Status& status, uint64_t index) {
    if (status.code() != Code::kUnavailable && status.code() != Code::kResourceExhausted) return false;
    if (retried_leaf_ != index) retried_leaf_ = index, retries_ = 0;
    return ++retries_ <= kBodyRetries;
  }

  Result<std::string> Hostname(int64_t host_id, const event::v1::EventBatch& records) {
    auto& name = hostnames_[host_id];
    if (name.empty()) {
      event::v1::Host host;
      std::string bytes = records.host();
      if (bytes.empty()) {
        NT_ASSIGN_OR_RETURN(bytes, catalog_->HostById(host_id));
      }
      if (host.ParseFromString(bytes)) name = host.hostname();
      if (hostnames_.size() > 10'000) hostnames_.clear();
      return host.hostname();
    }
    return name;
  }

  Status AddEvents(const LeafInfo& leaf, const OpenBatch& batch) {
    const auto facts = leaf.Facts();
    event::v1::Event event;
    for (int i = 0; i < batch.batch().events_size(); ++i) {
      const auto ordinal = static_cast<size_t>(i);
      if (!batch.Event(ordinal, &event)) continue;
      const auto actor = batch.Actor(event);
      std::string name = PartitionName(event.t_wall_ns(), options_.partition_hours);
      if (!known_parts_.contains(name)) {
        if (known_parts_.size() >= kMaxPartitions) name = PartitionName(0, options_.partition_hours);
        known_parts_.insert(name);
      }
      NT_ASSIGN_OR_RETURN(PartitionWriter * part, Part(name));
      const uint64_t before = part->added();
      NT_RETURN_IF_ERROR(
          part->Add(PositionOf(leaf.log_index, ordinal), schema::EventView{event, actor.process, facts}, actor.bytes));
      const auto t = static_cast<uint64_t>(IndexTime(event.t_wall_ns()));
      auto [it, fresh] = touched_.try_emplace(name, PartitionInfo{name, t, t, 0, 0});
      it->second.min_wall_ns = std::min(it->second.min_wall_ns, t);
      it->second.max_wall_ns = std::max(it->second.max_wall_ns, t);
      it->second.rows += part->added() - before;
    }
    return OkStatus();
  }

  [[nodiscard]] std::string PartPath(const std::string& name) const {
    return fmt::format("{}/{}.db", index_dir_, name);
  }

  // The writer of a partition, in a transaction.
  Result<PartitionWriter*> Part(const std::string& name) {
    auto it = parts_.find(name);
    if (it == parts_.end()) {
      if (parts_.size() >= 2 * kMaxPartitionsOpen) {
        for (auto old = parts_.begin(); old != parts_.end();)
          old = touched_.contains(old->first) ? std::next(old) : parts_.erase(old);
      }
      NT_ASSIGN_OR_RETURN(auto writer, PartitionWriter::Open(PartPath(name)));
      it = parts_.emplace(name, std::move(writer)).first;
    }
    if (!touched_.contains(name)) {
      NT_RETURN_IF_ERROR(it->second.Begin());
      touched_.try_emplace(name, PartitionInfo{name, kLastTime, 0, 0, 0});
    }
    return &it->second;
  }

  // Partitions first: a crash in between leaves the catalog behind, and the
  // leaves are then added again, which changes nothing.
  Status CommitGroup() {
    for (const auto& [name, info] : touched_) NT_RETURN_IF_ERROR(parts_.at(name).Commit());
    for (const auto& [name, info] : touched_) NT_RETURN_IF_ERROR(catalog_->AddToPartition(info));
    NT_RETURN_IF_ERROR(catalog_->SetPosition(position_, last_leaf_hash_, options_.partition_hours));
    NT_RETURN_IF_ERROR(catalog_->Commit());
    for (const auto& [name, info] : touched_) {
      if (info.removed > 0) parts_.at(name).Flush().Ignore();
    }
    touched_.clear();
    Publish();
    return OkStatus();
  }

  void AbortGroup() {
    for (const auto& [name, info] : touched_) {
      if (const auto it = parts_.find(name); it != parts_.end()) it->second.Rollback().Ignore();
    }
    // Whatever state they are in, they are opened anew.
    parts_.clear();
    touched_.clear();
    catalog_->Rollback().Ignore();
    hostnames_.clear();
    const auto position = catalog_->GetPosition();
    if (position.ok()) {
      position_ = position->leaves;
      last_leaf_hash_ = position->last_leaf_hash;
    }
    Publish();
  }

  void Publish() {
    uint64_t total = 0;
    bool rebuilt = false;
    {
      const std::lock_guard lock(mutex_);
      indexed_ = position_;
      while (!marks_.empty() && marks_.front().first <= indexed_) marks_.pop_front();
      total = log_size_;
      rebuilt = rebuild_until_ != 0 && indexed_ >= rebuild_until_;
      if (rebuilt) rebuild_until_ = 0;
    }
    changed_.notify_all();
    const auto now = steady_clock::now();
    if (rebuilt) log::Info(fmt::format("index: rebuilt, {} leaves", position_));
    else if (total > position_ + kGroupLeaves && now - last_progress_ > kProgressEvery) {
      log::Info(fmt::format("index: {} of {} leaves", position_, total));
      last_progress_ = now;
    }
  }

  const Options options_;
  const std::string index_dir_;
  BatchStore bodies_;

  // The thread's own (and Open's, before it starts).
  std::unique_ptr<Catalog> catalog_;
  ino_t catalog_inode_ = 0;
  std::map<std::string, PartitionWriter> parts_;
  std::map<std::string, PartitionInfo> touched_;  // by the transaction under way
  std::set<std::string> known_parts_;
  std::map<int64_t, std::string> hostnames_;
  uint64_t position_ = 0;
  trail::Hash last_leaf_hash_{};
  bool checked_against_log_ = false;
  bool log_trouble_ = false;  // an error now is the log's, not the index's
  bool sweeping_ = false;
  uint64_t retried_leaf_ = UINT64_MAX;
  int retries_ = 0;
  uint64_t group_from_ = 0;
  steady_clock::time_point group_start_;
  steady_clock::time_point last_progress_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  uint64_t log_size_ = 0;
  uint64_t indexed_ = 0;
  uint64_t rebuild_until_ = 0;
  std::string problem_;
  std::string damage_;
  std::deque<std::pair<uint64_t, uint64_t>> marks_;  // log size, when it was told

  std::jthread thread_;  // last: it uses all of the above
};

}  // namespace

Result<std::unique_ptr<Indexer>> Indexer::Open(Options options) {
  NT_CHECK(options.clock != nullptr);
  auto out = std::make_unique<IndexerImpl>(std::move(options));
  NT_RETURN_IF_ERROR(out->OpenIndex());
  return std::unique_ptr<Indexer>(std::move(out));
}

}  // namespace nodetrail::collector

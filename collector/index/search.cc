// SPDX-License-Identifier: Apache-2.0
#include "collector/index/search.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "collector/index/partition.h"
#include "collector/index/predicate.h"
#include "nodetrail/schema/labels.h"

namespace nodetrail::collector {
namespace {

constexpr size_t kMaxLeaves = 4096;  // leaf rows kept by one search

// The candidates of one partition, in order.
class Cursor {
 public:
  // `low`, `high`: times, both included.
  static Result<std::unique_ptr<Cursor>> Open(const std::string& path, const SearchSpec& spec, int64_t low,
                                              int64_t high) {
    auto out = std::make_unique<Cursor>();
    auto db = Db::Open(path, Db::Mode::kReadOnly);
    // Deleted meanwhile (a rebuild, or retention): no rows.
    if (!db.ok() && ::access(path.c_str(), F_OK) != 0) return out;
    if (!db.ok()) return std::move(db).status();
    out->db_ = std::move(*db);
    if (spec.stop) out->db_.SetInterrupt(spec.stop);
    // One snapshot for the dictionary and the rows.
    NT_RETURN_IF_ERROR(out->db_.Exec("BEGIN"));
    NT_ASSIGN_OR_RETURN(const auto predicate, CompilePredicate(&out->db_, *spec.query, low, high));
    std::string from = "ev INDEXED BY ev_t WHERE t";
    if (predicate.drivers) {
      if (predicate.drivers->empty()) return out;
      from = fmt::format("ev WHERE pos IN ({}) AND +t", fmt::join(*predicate.drivers, " UNION "));
    }
    const std::string_view order = spec.oldest_first ? "ASC" : "DESC";
    std::string sql = fmt::format("SELECT t, pos FROM {} BETWEEN {} AND {} AND ({})", from, low, high, predicate.where);
    if (spec.after) {
      const char sign = spec.oldest_first ? '>' : '<';
      sql += fmt::format(" AND (t {0} {1} OR (t = {1} AND pos {0} {2}))", sign, spec.after->time, spec.after->position);
    }
    sql += fmt::format(" ORDER BY t {0}, pos {0}", order);
    NT_ASSIGN_OR_RETURN(out->stmt_, out->db_.Prepare(sql));
    NT_RETURN_IF_ERROR(out->Next());
    return out;
  }

  [[nodiscard]] const std::optional<RowKey>& key() const { return key_; }

  Status Next() {
    NT_ASSIGN_OR_RETURN(const bool row, stmt_.Step());
    key_.reset();
    if (row) key_ = RowKey{stmt_.Int(0), stmt_.Int(1)};
    return OkStatus();
  }

 private:
  Db db_;  // before the statement, so that it goes after it
  Stmt stmt_;
  std::optional<RowKey> key_;
};

class Run {
 public:
  Run(const std::string& index_dir, BatchStore* bodies, const SearchSpec& spec, Catalog catalog)
      : index_dir_(index_dir), bodies_(bodies), spec_(spec), catalog_(std::move(catalog)) {}

  Result<SearchStats> Go(const std::function<bool(const FoundRow&)>& on_row) {
    int64_t low = IndexTime(spec_.since_wall_ns);
    int64_t high = std::numeric_limits<int64_t>::max();
    if (spec_.until_wall_ns != 0) high = IndexTime(spec_.until_wall_ns) - 1;
    // A page token narrows the range of time as well.
    if (spec_.after) (spec_.oldest_first ? low : high) = spec_.after->time;
    if (low > high) return stats_;
    NT_ASSIGN_OR_RETURN(partitions_,
                        catalog_.Partitions(static_cast<uint64_t>(low), high == std::numeric_limits<int64_t>::max()
                                                                            ? static_cast<uint64_t>(high)
                                                                            : static_cast<uint64_t>(high) + 1));
    if (spec_.oldest_first) {
      std::sort(partitions_.begin(), partitions_.end(), [](const auto& a, const auto& b) {
        return std::tie(a.min_wall_ns, a.name) < std::tie(b.min_wall_ns, b.name);
      });
    }
    while (true) {
      NT_RETURN_IF_ERROR(OpenUntilOrdered(low, high));
      if (cursors_.empty()) return stats_;
      if (spec_.stop && spec_.stop()) return Cancelled("search: ended by the caller");
      auto best = std::min_element(cursors_.begin(), cursors_.end(),
                                   [this](const auto& a, const auto& b) { return Before(*a->key(), *b->key()); });
      NT_ASSIGN_OR_RETURN(const bool more, Offer(*(*best)->key(), on_row));
      if (!more) return stats_;
      NT_RETURN_IF_ERROR((*best)->Next());
      if (!(*best)->key()) cursors_.erase(best);
    }
  }

 private:
  [[nodiscard]] bool Before(const RowKey& a, const RowKey& b) const { return spec_.oldest_first ? a < b : b < a; }

  // Opens partitions in order until none that is still closed could hold a row
  // before the first of those that are open.
  Status OpenUntilOrdered(int64_t low, int64_t high) {
    while (next_ < partitions_.size()) {
      const auto& part = partitions_[next_];
      const auto edge = static_cast<int64_t>(spec_.oldest_first ? part.min_wall_ns : part.max_wall_ns);
      const bool ordered = std::any_of(cursors_.begin(), cursors_.end(), [&](const auto& cursor) {
        return spec_.oldest_first ? cursor->key()->time < edge : cursor->key()->time > edge;
      });
      if (ordered) return OkStatus();
      NT_ASSIGN_OR_RETURN(auto cursor, Cursor::Open(fmt::format("{}/{}.db", index_dir_, part.name), spec_, low, high));
      ++next_;
      if (cursor->key()) cursors_.push_back(std::move(cursor));
    }
    return OkStatus();
  }

  // False: the caller has enough.
  Result<bool> Offer(const RowKey& key, const std::function<bool(const FoundRow&)>& on_row) {
    ++stats_.candidates;
    const uint64_t index = LeafOf(key.position);
    if (!leaf_ || leaf_->log_index != index) {
      leaf_ = nullptr;
      NT_ASSIGN_OR_RETURN(leaf_, Leaf(index));
      batch_ = nullptr;
      if (leaf_ == nullptr) return true;  // the catalog commits after the rows
      facts_ = leaf_->Facts();
    }
    if (leaf_ == nullptr) return true;
    if (bad_leaf_ == leaf_) {
      if (gone_) ++stats_.retired;
      return true;
    }
    if (batch_ == nullptr) {
      auto batch = bodies_->Open(*leaf_);
      gone_ = batch.status().code() == Code::kNotFound && spec_.retired && spec_.retired(index);
      if (gone_) {
        ++stats_.retired;
        bad_leaf_ = leaf_;
        return true;
      }
      if (!batch.ok()) {
        if (stats_.unreadable++ == 0) stats_.first_problem = batch.status().ToString();
        bad_leaf_ = leaf_;
        return true;
      }
      batch_ = std::move(*batch);
    }
    const size_t ordinal = OrdinalOf(key.position);
    if (!batch_->Event(ordinal, &event_)) return true;
    const auto actor = batch_->Actor(event_);
    const schema::EventView view{event_, actor.process, facts_};
    if (!expr::Matches(*spec_.query, view)) return true;
    return on_row(FoundRow{key, *leaf_, view, batch_->batch().events(static_cast<int>(ordinal)), actor.bytes});
  }

  Result<const LeafInfo*> Leaf(uint64_t index) {
    auto it = leaves_.find(index);
    if (it == leaves_.end()) {
      NT_ASSIGN_OR_RETURN(auto leaf, catalog_.GetLeaf(index));
      if (!leaf) return static_cast<const LeafInfo*>(nullptr);
      if (leaves_.size() >= kMaxLeaves) {
        leaves_.clear();
        bad_leaf_ = nullptr;
      }
      it = leaves_.emplace(index, std::move(*leaf)).first;
    }
    return static_cast<const LeafInfo*>(&it->second);
  }

  const std::string& index_dir_;
  BatchStore* bodies_;
  const SearchSpec& spec_;
  Catalog catalog_;
  SearchStats stats_;
  std::vector<PartitionInfo> partitions_;
  size_t next_ = 0;
  std::vector<std::unique_ptr<Cursor>> cursors_;
  std::map<uint64_t, LeafInfo> leaves_;
  // The leaf of the last candidate.
  const LeafInfo* leaf_ = nullptr;
  const LeafInfo* bad_leaf_ = nullptr;
  bool gone_ = false;  // bad_leaf_'s body, by rule
  std::shared_ptr<const OpenBatch> batch_;
  schema::RowFacts facts_;
  event::v1::Event event_;
};

}  // namespace

Result<SearchStats> Search(const std::string& index_dir, BatchStore* bodies, const SearchSpec& spec,
                           const std::function<bool(const FoundRow&)>& on_row) {
  const std::string catalog_path = index_dir + "/catalog.db";
  struct stat before {};
  if (::stat(catalog_path.c_str(), &before) != 0) return SearchStats{};
  auto catalog = Catalog::Open(index_dir, Db::Mode::kReadOnly);
  Result<SearchStats> found = catalog.ok() ? Run(index_dir, bodies, spec, std::move(*catalog)).Go(on_row)
                                           : Result<SearchStats>(catalog.status());
  // What fails because the files are made anew meanwhile says nothing of them.
  struct stat after {};
  if (!found.ok() && found.status().code() != Code::kCancelled &&
      (::stat(catalog_path.c_str(), &after) != 0 || after.st_ino != before.st_ino)) {
    return Unavailable("the index is being rebuilt; try again");
  }
  return found;
}

}  // namespace nodetrail::collector

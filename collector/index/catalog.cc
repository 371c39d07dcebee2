// SPDX-License-Identifier: Apache-2.0
#include "collector/index/catalog.h"

#include <fmt/format.h>

#include <bit>
#include <utility>

namespace nodetrail::collector {
namespace {

constexpr std::string_view kSchema = R"sql(
CREATE TABLE IF NOT EXISTS meta(key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS agent(id INTEGER PRIMARY KEY, tenant BLOB NOT NULL, name BLOB NOT NULL, UNIQUE(tenant, name));
CREATE TABLE IF NOT EXISTS host(id INTEGER PRIMARY KEY, sha BLOB NOT NULL UNIQUE, bytes BLOB NOT NULL, hostname BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS leaf(
  log_index INTEGER PRIMARY KEY, agent INTEGER NOT NULL, epoch INTEGER NOT NULL, seq INTEGER NOT NULL,
  first_event INTEGER NOT NULL, last_event INTEGER NOT NULL, events INTEGER NOT NULL,
  body BLOB, raw_len INTEGER NOT NULL, stored_len INTEGER NOT NULL,
  received INTEGER NOT NULL, sealed INTEGER NOT NULL, host INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS leaf_event ON leaf(agent, epoch, first_event);
CREATE TABLE IF NOT EXISTS epoch(
  agent INTEGER NOT NULL, epoch INTEGER NOT NULL, events INTEGER NOT NULL, batches INTEGER NOT NULL,
  lost INTEGER NOT NULL, last_seq INTEGER NOT NULL, received INTEGER NOT NULL, last_event INTEGER NOT NULL,
  host INTEGER NOT NULL, PRIMARY KEY(agent, epoch)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tree(level INTEGER, idx INTEGER, hash BLOB NOT NULL, PRIMARY KEY(level, idx)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS part(name TEXT PRIMARY KEY, min_t INTEGER NOT NULL, max_t INTEGER NOT NULL, rows INTEGER NOT NULL) WITHOUT ROWID;
)sql";

constexpr std::string_view kLeafColumns =
    "SELECT l.log_index, a.tenant, a.name, l.epoch, l.seq, l.first_event, l.last_event, l.events, l.body, l.raw_len, "
    "l.stored_len, l.received, l.sealed, coalesce(h.hostname, x'') FROM leaf l JOIN agent a ON a.id = l.agent "
    "LEFT JOIN host h ON h.id = l.host ";

int64_t Int(uint64_t value) { return static_cast<int64_t>(value); }
uint64_t Uint(int64_t value) { return static_cast<uint64_t>(value); }

}  // namespace

Result<Catalog> Catalog::Open(const std::string& index_dir, Db::Mode mode) {
  Catalog out;
  NT_ASSIGN_OR_RETURN(out.db_, Db::Open(index_dir + "/catalog.db", mode));
  if (mode == Db::Mode::kReadWrite) NT_RETURN_IF_ERROR(out.db_.Exec(fmt::format("BEGIN;{}COMMIT", kSchema)));
  const auto probe = out.Cached("SELECT value FROM meta WHERE key = 'format'");
  if (mode == Db::Mode::kReadOnly && probe.status().code() == Code::kInternal) {
    return Unavailable("the index is just being made; try again");
  }
  NT_RETURN_IF_ERROR(probe.status());
  Stmt* get = *probe;
  NT_ASSIGN_OR_RETURN(const bool has, get->Step());
  const int64_t format = has ? get->Int(0) : 0;
  get->Reset();
  if (format != 0 && format != kIndexFormat) {
    return DataLoss(
        fmt::format("{}/catalog.db: index format {}, this program writes {}", index_dir, format, kIndexFormat));
  }
  if (mode == Db::Mode::kReadWrite && format == 0) {
    NT_RETURN_IF_ERROR(out.db_.Exec(fmt::format("INSERT INTO meta VALUES('format', {})", kIndexFormat)));
  }
  return out;
}

Result<Stmt*> Catalog::Cached(const std::string& sql) {
  auto it = statements_.find(sql);
  if (it == statements_.end()) {
    NT_ASSIGN_OR_RETURN(auto stmt, db_.Prepare(sql));
    it = statements_.emplace(sql, std::move(stmt)).first;
  }
  it->second.Reset();
  return &it->second;
}

Status Catalog::Begin() { return db_.Exec("BEGIN IMMEDIATE"); }
Status Catalog::Commit() { return db_.Exec("COMMIT"); }
Status Catalog::Rollback() { return db_.Exec("ROLLBACK"); }

Result<int64_t> Catalog::AgentId(const std::string& tenant, const std::string& agent) {
  NT_ASSIGN_OR_RETURN(Stmt * add, Cached("INSERT OR IGNORE INTO agent(tenant, name) VALUES(?1, ?2)"));
  NT_RETURN_IF_ERROR(add->BindBlob(1, tenant).BindBlob(2, agent).Run());
  NT_ASSIGN_OR_RETURN(Stmt * get, Cached("SELECT id FROM agent WHERE tenant = ?1 AND name = ?2"));
  NT_ASSIGN_OR_RETURN(const bool has, get->BindBlob(1, tenant).BindBlob(2, agent).Step());
  if (!has) return Internal("index: agent row vanished");
  const int64_t id = get->Int(0);
  get->Reset();
  return id;
}

Result<int64_t> Catalog::HostId(std::string_view sha256, std::string_view host_bytes) {
  if (sha256.empty()) return int64_t{0};
  NT_ASSIGN_OR_RETURN(Stmt * get, Cached("SELECT id FROM host WHERE sha = ?1"));
  NT_ASSIGN_OR_RETURN(const bool has, get->BindBlob(1, sha256).Step());
  const int64_t id = has ? get->Int(0) : 0;
  get->Reset();
  if (id != 0 || host_bytes.empty()) return id;
  if (trail::View(trail::Sha256Of(host_bytes)) != sha256) return int64_t{0};
  event::v1::Host host;
  if (!host.ParseFromArray(host_bytes.data(), static_cast<int>(host_bytes.size()))) return int64_t{0};
  NT_ASSIGN_OR_RETURN(Stmt * add, Cached("INSERT INTO host(sha, bytes, hostname) VALUES(?1, ?2, ?3)"));
  NT_RETURN_IF_ERROR(add->BindBlob(1, sha256).BindBlob(2, host_bytes).BindBlob(3, host.hostname()).Run());
  return db_.LastRowId();
}

Status Catalog::AddLeaf(const LeafInfo& leaf, const trail::Hash& leaf_hash, const trail::v1::LossCounters& losses,
                        uint64_t last_event_wall_ns, int64_t host_id) {
  NT_ASSIGN_OR_RETURN(const int64_t agent, AgentId(leaf.tenant, leaf.agent_id));
  NT_ASSIGN_OR_RETURN(Stmt * add, Cached("INSERT INTO leaf VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13)"));
  add->Bind(1, Int(leaf.log_index)).Bind(2, agent).Bind(3, Int(leaf.epoch)).Bind(4, Int(leaf.batch_seq));
  add->Bind(5, Int(leaf.first_event_seq)).Bind(6, Int(leaf.last_event_seq)).Bind(7, Int(leaf.event_count));
  add->BindBlob(8, leaf.has_body ? trail::View(leaf.body_sha256) : std::string_view());
  add->Bind(9, Int(leaf.raw_len)).Bind(10, Int(leaf.stored_len)).Bind(11, Int(leaf.received_wall_ns));
  add->Bind(12, Int(leaf.sealed_wall_ns)).Bind(13, host_id);
  NT_RETURN_IF_ERROR(add->Run());

  const uint64_t lost = losses.ring() + losses.map() + losses.decode() + losses.probe() + losses.evicted_events();
  NT_ASSIGN_OR_RETURN(Stmt * sum, Cached(R"sql(
      INSERT INTO epoch VALUES(?1, ?2, ?3, 1, ?4, ?5, ?6, ?7, ?8)
      ON CONFLICT(agent, epoch) DO UPDATE SET events = events + excluded.events, batches = batches + 1,
        lost = max(lost, excluded.lost), last_seq = max(last_seq, excluded.last_seq),
        received = max(received, excluded.received), last_event = max(last_event, excluded.last_event),
        host = CASE WHEN excluded.host = 0 THEN host ELSE excluded.host END)sql"));
  sum->Bind(1, agent).Bind(2, Int(leaf.epoch)).Bind(3, Int(leaf.event_count)).Bind(4, Int(lost));
  sum->Bind(5, Int(leaf.batch_seq))
      .Bind(6, Int(leaf.received_wall_ns))
      .Bind(7, Int(last_event_wall_ns))
      .Bind(8, host_id);
  NT_RETURN_IF_ERROR(sum->Run());

  return AddTreeLeaf(leaf.log_index, leaf_hash);
}

// The leaf's hash, and those of the perfect subtrees it completes.
Status Catalog::AddTreeLeaf(uint64_t log_index, const trail::Hash& leaf_hash) {
  trail::Hash hash = leaf_hash;
  uint64_t idx = log_index;
  for (int level = 0;; ++level) {
    NT_ASSIGN_OR_RETURN(Stmt * put, Cached("INSERT INTO tree VALUES(?1, ?2, ?3)"));
    NT_RETURN_IF_ERROR(put->Bind(1, level).Bind(2, Int(idx)).BindBlob(3, trail::View(hash)).Run());
    if (idx % 2 == 0) break;
    NT_ASSIGN_OR_RETURN(const auto left, RangeRoot((idx - 1) << level, idx << level));
    hash = trail::NodeHash(left, hash);
    idx /= 2;
  }
  return OkStatus();
}

Status Catalog::AddToPartition(const PartitionInfo& added) {
  NT_ASSIGN_OR_RETURN(Stmt * put, Cached(R"sql(INSERT INTO part VALUES(?1, ?2, ?3, ?4)
      ON CONFLICT(name) DO UPDATE SET min_t = min(min_t, excluded.min_t), max_t = max(max_t, excluded.max_t),
        rows = max(0, rows + excluded.rows - ?5))sql"));
  return put->BindBlob(1, added.name)
      .Bind(2, Int(added.min_wall_ns))
      .Bind(3, Int(added.max_wall_ns))
      .Bind(4, Int(added.rows))
      .Bind(5, Int(added.removed))
      .Run();
}

Status Catalog::SetPosition(uint64_t position, const trail::Hash& last_leaf_hash, uint32_t partition_hours) {
  NT_ASSIGN_OR_RETURN(Stmt * put,
                      Cached("INSERT OR REPLACE INTO meta VALUES('position', ?1), ('last_leaf', ?2), ('hours', ?3)"));
  return put->Bind(1, Int(position)).BindBlob(2, trail::View(last_leaf_hash)).Bind(3, partition_hours).Run();
}

Result<Catalog::Position> Catalog::GetPosition() {
  Position out;
  // In one statement, so that the three belong together.
  NT_ASSIGN_OR_RETURN(Stmt * get, Cached("SELECT key, value FROM meta"));
  while (true) {
    NT_ASSIGN_OR_RETURN(const bool row, get->Step());
    if (!row) break;
    const std::string key(get->Blob(0));
    if (key == "position") out.leaves = Uint(get->Int(1));
    if (key == "hours") out.partition_hours = static_cast<uint32_t>(get->Int(1));
    if (key == "last_leaf") {
      const auto hash = trail::HashFromBytes(get->Blob(1));
      if (!hash) return DataLoss("index: catalog.db: last_leaf is no hash");
      out.last_leaf_hash = *hash;
    }
  }
  get->Reset();
  return out;
}

Result<std::optional<LeafInfo>> Catalog::ReadLeaf(Stmt* stmt) {
  NT_ASSIGN_OR_RETURN(const bool row, stmt->Step());
  if (!row) return std::optional<LeafInfo>();
  LeafInfo out;
  out.log_index = Uint(stmt->Int(0));
  out.tenant = stmt->Blob(1);
  out.agent_id = stmt->Blob(2);
  out.epoch = Uint(stmt->Int(3));
  out.batch_seq = Uint(stmt->Int(4));
  out.first_event_seq = Uint(stmt->Int(5));
  out.last_event_seq = Uint(stmt->Int(6));
  out.event_count = Uint(stmt->Int(7));
  if (const auto hash = trail::HashFromBytes(stmt->Blob(8))) {
    out.has_body = true;
    out.body_sha256 = *hash;
  }
  out.raw_len = Uint(stmt->Int(9));
  out.stored_len = Uint(stmt->Int(10));
  out.received_wall_ns = Uint(stmt->Int(11));
  out.sealed_wall_ns = Uint(stmt->Int(12));
  out.hostname = stmt->Blob(13);
  stmt->Reset();
  return std::optional<LeafInfo>(std::move(out));
}

Result<std::optional<LeafInfo>> Catalog::GetLeaf(uint64_t log_index) {
  NT_ASSIGN_OR_RETURN(Stmt * get, Cached(fmt::format("{}WHERE l.log_index = ?1", kLeafColumns)));
  return ReadLeaf(&get->Bind(1, Int(log_index)));
}

Result<std::optional<LeafInfo>> Catalog::FindEvent(const std::string& agent_id, uint64_t epoch, uint64_t seq) {
  NT_ASSIGN_OR_RETURN(Stmt * get, Cached(fmt::format("{}WHERE a.name = ?1 AND l.epoch = ?2 AND l.first_event <= ?3 AND "
                                                     "l.last_event >= ?3 ORDER BY l.first_event DESC LIMIT 1",
                                                     kLeafColumns)));
  return ReadLeaf(&get->BindBlob(1, agent_id).Bind(2, Int(epoch)).Bind(3, Int(seq)));
}

Result<std::vector<PartitionInfo>> Catalog::Partitions(uint64_t since_wall_ns, uint64_t until_wall_ns) {
  NT_ASSIGN_OR_RETURN(Stmt * get, Cached("SELECT name, min_t, max_t, rows FROM part WHERE max_t >= ?1 AND min_t < ?2 "
                                         "ORDER BY max_t DESC, name DESC"));
  get->Bind(1, Int(since_wall_ns)).Bind(2, Int(until_wall_ns));
  std::vector<PartitionInfo> out;
  while (true) {
    NT_ASSIGN_OR_RETURN(const bool row, get->Step());
    if (!row) break;
    out.push_back({std::string(get->Blob(0)), Uint(get->Int(1)), Uint(get->Int(2)), Uint(get->Int(3)), 0});
  }
  get->Reset();
  return out;
}

Result<std::string> Catalog::HostBytes(uint64_t log_index) {
  NT_ASSIGN_OR_RETURN(Stmt * get,
                      Cached("SELECT h.bytes FROM leaf l JOIN host h ON h.id = l.host WHERE l.log_index = ?1"));
  NT_ASSIGN_OR_RETURN(const bool row, get->Bind(1, Int(log_index)).Step());
  std::string out(row ? get->Blob(0) : std::string_view());
  get->Reset();
  return out;
}

Result<std::string> Catalog::HostById(int64_t id) {
  NT_ASSIGN_OR_RETURN(Stmt * get, Cached("SELECT bytes FROM host WHERE id = ?1"));
  NT_ASSIGN_OR_RETURN(const bool row, get->Bind(1, id).Step());
  std::string out(row ? get->Blob(0) : std::string_view());
  get->Reset();
  return out;
}

Result<std::string> Catalog::HostBySha(std::string_view sha256) {
  NT_ASSIGN_OR_RETURN(Stmt * get, Cached("SELECT bytes FROM host WHERE sha = ?1"));
  NT_ASSIGN_OR_RETURN(const bool row, get->BindBlob(1, sha256).Step());
  std::string out(row ? get->Blob(0) : std::string_view());
  get->Reset();
  return out;
}

// Root over leaves [low, high). The left part of every split is a perfect
// subtree, so at most one read for each level.
Result<trail::Hash> Catalog::RangeRoot(uint64_t low, uint64_t high) {
  const uint64_t n = high - low;
  if (std::has_single_bit(n) && low % n == 0) {
    const int level = std::countr_zero(n);
    NT_ASSIGN_OR_RETURN(Stmt * get, Cached("SELECT hash FROM tree WHERE level = ?1 AND idx = ?2"));
    NT_ASSIGN_OR_RETURN(const bool row, get->Bind(1, level).Bind(2, Int(low >> level)).Step());
    const auto hash = row ? trail::HashFromBytes(get->Blob(0)) : std::nullopt;
    get->Reset();
    if (!hash) return DataLoss(fmt::format("index: tree node {}/{} is missing", level, low >> level));
    return *hash;
  }
  const uint64_t split = low + std::bit_floor(n - 1);
  NT_ASSIGN_OR_RETURN(const auto left, RangeRoot(low, split));
  NT_ASSIGN_OR_RETURN(const auto right, RangeRoot(split, high));
  return trail::NodeHash(left, right);
}

// PATH(index, D[low:high]) of RFC 6962 section 2.1.1, the leaf's sibling first.
Status Catalog::Path(uint64_t index, uint64_t low, uint64_t high, std::vector<trail::Hash>* out) {
  if (high - low == 1) return OkStatus();
  const uint64_t split = low + std::bit_floor(high - low - 1);
  if (index < split) {
    NT_RETURN_IF_ERROR(Path(index, low, split, out));
    NT_ASSIGN_OR_RETURN(const auto sibling, RangeRoot(split, high));
    out->push_back(sibling);
  } else {
    NT_RETURN_IF_ERROR(Path(index, split, high, out));
    NT_ASSIGN_OR_RETURN(const auto sibling, RangeRoot(low, split));
    out->push_back(sibling);
  }
  return OkStatus();
}

Result<std::vector<trail::Hash>> Catalog::InclusionProof(uint64_t index, uint64_t size) {
  if (index >= size) return OutOfRange(fmt::format("leaf {} is not in the tree of {}", index, size));
  std::vector<trail::Hash> out;
  NT_RETURN_IF_ERROR(Path(index, 0, size, &out));
  return out;
}

Status Catalog::FillStatus(query::v1::StatusResponse* out) {
  NT_ASSIGN_OR_RETURN(Stmt * get, Cached(R"sql(
      SELECT a.tenant, a.name, sum(e.events), sum(e.batches), sum(e.lost), max(e.received), max(e.last_event), max(e.epoch),
        (SELECT last_seq FROM epoch x WHERE x.agent = a.id ORDER BY x.epoch DESC LIMIT 1),
        coalesce((SELECT h.hostname FROM epoch x JOIN host h ON h.id = x.host WHERE x.agent = a.id ORDER BY x.epoch DESC LIMIT 1), x'')
      FROM agent a JOIN epoch e ON e.agent = a.id GROUP BY a.id ORDER BY a.tenant, a.name)sql"));
  uint64_t events = 0;
  uint64_t lost = 0;
  while (true) {
    NT_ASSIGN_OR_RETURN(const bool row, get->Step());
    if (!row) break;
    auto* agent = out->add_agents();
    agent->set_tenant(std::string(get->Blob(0)));
    agent->set_agent_id(std::string(get->Blob(1)));
    agent->set_events(Uint(get->Int(2)));
    agent->set_batches(Uint(get->Int(3)));
    agent->set_lost(Uint(get->Int(4)));
    agent->set_last_received_wall_ns(Uint(get->Int(5)));
    agent->set_last_event_wall_ns(Uint(get->Int(6)));
    agent->set_epoch(Uint(get->Int(7)));
    agent->set_last_seq(Uint(get->Int(8)));
    agent->set_hostname(std::string(get->Blob(9)));
    events += agent->events();
    lost += agent->lost();
  }
  get->Reset();
  out->set_events_total(events);
  out->set_lost_total(lost);
  return OkStatus();
}

}  // namespace nodetrail::collector

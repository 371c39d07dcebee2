// SPDX-License-Identifier: Apache-2.0
#include "collector/index/partition.h"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <limits>
#include <utility>

#include "collector/index/catalog.h"
#include "nodetrail/schema/fields.h"
#include "nodetrail/schema/labels.h"
#include "nodetrail/schema/text.h"
#include "nodetrail/trail/crypto.h"

namespace nodetrail::collector {
namespace {

namespace ev = event::v1;

constexpr size_t kMaxCachedStrings = 200'000;
constexpr size_t kMaxCachedImages = 50'000;

// Each index answers a question people ask on call; those on columns that are
// mostly absent are partial.
constexpr std::string_view kSchema = R"sql(
CREATE TABLE IF NOT EXISTS meta(key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS str(id INTEGER PRIMARY KEY, val BLOB NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS chain(id INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS anc(proc INTEGER, exe INTEGER, chain INTEGER, PRIMARY KEY(proc, chain, exe)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS anc_exe ON anc(exe, chain);
CREATE TABLE IF NOT EXISTS img(
  id INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, pid INTEGER, ppid INTEGER, parent INTEGER, chain INTEGER,
  exe INTEGER, script INTEGER, cmd INTEGER, cwd INTEGER, comm INTEGER, cont INTEGER, runtime INTEGER, pod INTEGER,
  cgroup INTEGER, tty INTEGER, complete INTEGER);
CREATE INDEX IF NOT EXISTS img_chain ON img(chain) WHERE chain <> 0;
CREATE INDEX IF NOT EXISTS img_parent ON img(parent) WHERE parent <> 0;
CREATE TABLE IF NOT EXISTS ev(
  pos INTEGER PRIMARY KEY, t INTEGER, kind INTEGER, body INTEGER, agent INTEGER, host INTEGER, epoch INTEGER, seq INTEGER,
  tid INTEGER, proc INTEGER, img INTEGER, uid INTEGER, euid INTEGER, gid INTEGER, user INTEGER, euser INTEGER,
  luser INTEGER, grp INTEGER, login INTEGER, ses INTEGER, ok INTEGER, err INTEGER, path INTEGER, path2 INTEGER,
  raddr INTEGER, laddr INTEGER, rport INTEGER, lport INTEGER, child INTEGER, reason INTEGER, stage INTEGER,
  code INTEGER, sig INTEGER, dur INTEGER, ino INTEGER, sent INTEGER, recv INTEGER);
CREATE INDEX IF NOT EXISTS ev_t ON ev(t);
CREATE INDEX IF NOT EXISTS ev_kind ON ev(kind, t);
CREATE INDEX IF NOT EXISTS ev_agent ON ev(agent, t) WHERE agent <> 0;
CREATE INDEX IF NOT EXISTS ev_img ON ev(img, t) WHERE img <> 0;
CREATE INDEX IF NOT EXISTS ev_proc ON ev(proc, t) WHERE proc <> 0;
CREATE INDEX IF NOT EXISTS ev_uid ON ev(uid, t) WHERE uid >= 0;
CREATE INDEX IF NOT EXISTS ev_euid ON ev(euid, t) WHERE euid <> uid;
CREATE INDEX IF NOT EXISTS ev_user ON ev(user, t) WHERE user <> 0;
CREATE INDEX IF NOT EXISTS ev_euser ON ev(euser, t) WHERE euser <> 0;
CREATE INDEX IF NOT EXISTS ev_luser ON ev(luser, t) WHERE luser <> 0;
CREATE INDEX IF NOT EXISTS ev_login ON ev(login, t) WHERE login >= 0;
CREATE INDEX IF NOT EXISTS ev_ses ON ev(ses, t) WHERE ses >= 0;
CREATE INDEX IF NOT EXISTS ev_err ON ev(err, t) WHERE err <> 0;
CREATE INDEX IF NOT EXISTS ev_path ON ev(path, t) WHERE path <> 0;
CREATE INDEX IF NOT EXISTS ev_path2 ON ev(path2, t) WHERE path2 <> 0;
CREATE INDEX IF NOT EXISTS ev_raddr ON ev(raddr, t) WHERE raddr <> 0;
CREATE INDEX IF NOT EXISTS ev_laddr ON ev(laddr, t) WHERE laddr <> 0;
CREATE INDEX IF NOT EXISTS ev_rport ON ev(rport, t) WHERE rport >= 0;
CREATE INDEX IF NOT EXISTS ev_lport ON ev(lport, t) WHERE lport >= 0;
CREATE INDEX IF NOT EXISTS ev_host ON ev(host, t) WHERE host <> 0;
CREATE INDEX IF NOT EXISTS ev_reason ON ev(reason, t) WHERE reason <> 0;
CREATE INDEX IF NOT EXISTS ev_stage ON ev(stage, t) WHERE stage <> 0;
CREATE INDEX IF NOT EXISTS ev_child ON ev(child, t) WHERE child <> 0;
)sql";

// What no event needs any more. Run after events were removed.
constexpr std::string_view kDropUnused = R"sql(
DELETE FROM img WHERE id NOT IN (SELECT img FROM ev);
DELETE FROM chain WHERE id NOT IN (SELECT chain FROM img);
DELETE FROM anc WHERE chain NOT IN (SELECT id FROM chain);
DELETE FROM str WHERE id NOT IN (
  SELECT agent FROM ev UNION SELECT host FROM ev UNION SELECT proc FROM ev UNION SELECT user FROM ev
  UNION SELECT euser FROM ev UNION SELECT luser FROM ev UNION SELECT grp FROM ev UNION SELECT path FROM ev
  UNION SELECT path2 FROM ev UNION SELECT raddr FROM ev UNION SELECT laddr FROM ev UNION SELECT child FROM ev
  UNION SELECT reason FROM ev UNION SELECT stage FROM ev
  UNION SELECT parent FROM img UNION SELECT exe FROM img UNION SELECT script FROM img UNION SELECT cmd FROM img
  UNION SELECT cwd FROM img UNION SELECT comm FROM img UNION SELECT cont FROM img UNION SELECT runtime FROM img
  UNION SELECT pod FROM img UNION SELECT cgroup FROM img UNION SELECT tty FROM img
  UNION SELECT proc FROM anc UNION SELECT exe FROM anc);
)sql";

int64_t OrAbsent(bool has, uint32_t value) { return has ? static_cast<int64_t>(value) : -1; }

int64_t IdOrAbsent(uint32_t id) { return id == schema::kUnsetId ? -1 : static_cast<int64_t>(id); }

}  // namespace

int64_t IndexTime(uint64_t wall_ns) {
  constexpr auto kMax = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  return static_cast<int64_t>(std::min(wall_ns, kMax));
}

std::string PartitionName(uint64_t wall_ns, uint32_t partition_hours) {
  constexpr uint64_t kFirst = 946'684'800ULL * 1'000'000'000;  // 2000-01-01
  constexpr uint64_t kEnd = 4'102'444'800ULL * 1'000'000'000;  // 2100-01-01
  if (wall_ns < kFirst || wall_ns >= kEnd) return "odd";
  const uint64_t span = std::max<uint64_t>(partition_hours, 1) * 3600;
  const uint64_t seconds = wall_ns / 1'000'000'000;
  const auto start = static_cast<time_t>(seconds - seconds % span);
  struct tm tm {};
  gmtime_r(&start, &tm);
  return fmt::format("p{:04}{:02}{:02}T{:02}", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour);
}

Result<PartitionWriter> PartitionWriter::Open(const std::string& path) {
  PartitionWriter out;
  NT_ASSIGN_OR_RETURN(out.db_, Db::Open(path, Db::Mode::kReadWrite));
  // What is deleted is overwritten, not only unlinked.
  NT_RETURN_IF_ERROR(out.db_.Exec("PRAGMA secure_delete = ON"));
  NT_RETURN_IF_ERROR(out.db_.Exec(fmt::format("BEGIN;{}COMMIT", kSchema)));
  NT_RETURN_IF_ERROR(out.db_.Exec(fmt::format("INSERT OR IGNORE INTO meta VALUES('format', {})", kIndexFormat)));
  NT_ASSIGN_OR_RETURN(auto format, out.db_.Prepare("SELECT value FROM meta WHERE key = 'format'"));
  NT_ASSIGN_OR_RETURN(const bool has, format.Step());
  if (!has || format.Int(0) != kIndexFormat) return DataLoss(fmt::format("{}: another index format", path));

  NT_ASSIGN_OR_RETURN(out.str_get_, out.db_.Prepare("SELECT id FROM str WHERE val = ?1"));
  NT_ASSIGN_OR_RETURN(out.str_put_, out.db_.Prepare("INSERT INTO str(val) VALUES(?1)"));
  NT_ASSIGN_OR_RETURN(out.img_get_, out.db_.Prepare("SELECT id FROM img WHERE hash = ?1"));
  NT_ASSIGN_OR_RETURN(out.img_put_,
                      out.db_.Prepare("INSERT INTO img(hash, pid, ppid, parent, chain, exe, script, cmd, cwd, "
                                      "comm, cont, runtime, pod, cgroup, tty, complete) "
                                      "VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16)"));
  NT_ASSIGN_OR_RETURN(out.chain_get_, out.db_.Prepare("SELECT id FROM chain WHERE hash = ?1"));
  NT_ASSIGN_OR_RETURN(out.chain_put_, out.db_.Prepare("INSERT INTO chain(hash) VALUES(?1)"));
  NT_ASSIGN_OR_RETURN(out.anc_put_, out.db_.Prepare("INSERT OR IGNORE INTO anc VALUES(?1, ?2, ?3)"));
  NT_ASSIGN_OR_RETURN(
      out.ev_put_,
      out.db_.Prepare(
          "INSERT OR IGNORE INTO ev VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,"
          "?16,?17,?18,?19,?20,?21,?22,?23,?24,?25,?26,?27,?28,?29,?30,?31,?32,?33,?34,?35,?36,?37) RETURNING 1"));
  NT_ASSIGN_OR_RETURN(out.ev_del_, out.db_.Prepare("DELETE FROM ev WHERE pos >= ?1 AND pos < ?2 RETURNING 1"));
  return out;
}

Status PartitionWriter::Begin() {
  added_ = 0;
  return db_.Exec("BEGIN IMMEDIATE");
}

Result<uint64_t> PartitionWriter::Remove(const std::vector<uint64_t>& leaves) {
  uint64_t removed = 0;
  for (const uint64_t leaf : leaves) {
    ev_del_.Reset();
    ev_del_.Bind(1, PositionOf(leaf, 0)).Bind(2, PositionOf(leaf + 1, 0));
    while (true) {
      NT_ASSIGN_OR_RETURN(const bool row, ev_del_.Step());
      if (!row) break;
      ++removed;
    }
    ev_del_.Reset();
  }
  if (removed == 0) return removed;
  NT_RETURN_IF_ERROR(db_.Exec(std::string(kDropUnused)));
  DropCaches();
  return removed;
}

Status PartitionWriter::Flush() { return db_.Exec("PRAGMA wal_checkpoint(TRUNCATE)"); }

Status PartitionWriter::Commit() { return db_.Exec("COMMIT"); }

Status PartitionWriter::Rollback() {
  // Ids that the transaction gave out exist no more.
  DropCaches();
  return db_.Exec("ROLLBACK");
}

void PartitionWriter::DropCaches() {
  strings_.clear();
  images_.clear();
}

Result<int64_t> PartitionWriter::Str(std::string_view text) {
  if (text.empty()) return int64_t{0};
  std::string key(text);
  if (const auto it = strings_.find(key); it != strings_.end()) return it->second;
  str_get_.Reset();
  NT_ASSIGN_OR_RETURN(const bool has, str_get_.BindBlob(1, text).Step());
  int64_t id = has ? str_get_.Int(0) : 0;
  str_get_.Reset();
  if (!has) {
    NT_RETURN_IF_ERROR(str_put_.BindBlob(1, text).Run());
    id = db_.LastRowId();
  }
  if (strings_.size() >= kMaxCachedStrings) strings_.clear();
  strings_.emplace(std::move(key), id);
  return id;
}

Result<int64_t> PartitionWriter::Chain(const ev::Process& process) {
  if (process.ancestors().empty()) return int64_t{0};
  std::string key;
  for (const auto& a : process.ancestors())
    key += fmt::format("{}:{}{}:{}", a.proc_uid().size(), a.proc_uid(), a.exe().size(), a.exe());
  const auto hash = trail::Sha256Of(key);
  const auto short_hash = trail::View(hash).substr(0, 16);
  chain_get_.Reset();
  NT_ASSIGN_OR_RETURN(const bool has, chain_get_.BindBlob(1, short_hash).Step());
  int64_t id = has ? chain_get_.Int(0) : 0;
  chain_get_.Reset();
  if (has) return id;
  NT_RETURN_IF_ERROR(chain_put_.BindBlob(1, short_hash).Run());
  id = db_.LastRowId();
  for (const auto& a : process.ancestors()) {
    NT_ASSIGN_OR_RETURN(const int64_t proc, Str(a.proc_uid()));
    NT_ASSIGN_OR_RETURN(const int64_t exe, Str(a.exe()));
    NT_RETURN_IF_ERROR(anc_put_.Bind(1, proc).Bind(2, exe).Bind(3, id).Run());
  }
  return id;
}

// Keyed by its bytes: two entries of one process that differ (a fact learnt
// later) are two images.
Result<int64_t> PartitionWriter::Image(const ev::Process& p, std::string_view process_bytes) {
  const auto hash = trail::Sha256Of(process_bytes);
  const std::string key(trail::View(hash).substr(0, 16));
  if (const auto it = images_.find(key); it != images_.end()) return it->second;
  img_get_.Reset();
  NT_ASSIGN_OR_RETURN(const bool has, img_get_.BindBlob(1, key).Step());
  int64_t id = has ? img_get_.Int(0) : 0;
  img_get_.Reset();
  if (!has) {
    NT_ASSIGN_OR_RETURN(const int64_t parent, Str(p.parent_uid()));
    NT_ASSIGN_OR_RETURN(const int64_t chain, Chain(p));
    NT_ASSIGN_OR_RETURN(const int64_t exe, Str(p.exe()));
    NT_ASSIGN_OR_RETURN(const int64_t script, Str(p.script()));
    NT_ASSIGN_OR_RETURN(const int64_t cmd, Str(schema::CommandLine(p)));
    NT_ASSIGN_OR_RETURN(const int64_t cwd, Str(p.cwd()));
    NT_ASSIGN_OR_RETURN(const int64_t comm, Str(p.comm()));
    NT_ASSIGN_OR_RETURN(const int64_t cont, Str(p.container().id()));
    NT_ASSIGN_OR_RETURN(const int64_t runtime, Str(p.container().runtime()));
    NT_ASSIGN_OR_RETURN(const int64_t pod, Str(p.container().pod_uid()));
    NT_ASSIGN_OR_RETURN(const int64_t cgroup, Str(p.cgroup_path()));
    NT_ASSIGN_OR_RETURN(const int64_t tty, Str(schema::FormatTty(p.tty_nr())));
    img_put_.BindBlob(1, key).Bind(2, p.pid()).Bind(3, p.ppid()).Bind(4, parent).Bind(5, chain).Bind(6, exe);
    img_put_.Bind(7, script).Bind(8, cmd).Bind(9, cwd).Bind(10, comm).Bind(11, cont).Bind(12, runtime).Bind(13, pod);
    NT_RETURN_IF_ERROR(img_put_.Bind(14, cgroup).Bind(15, tty).Bind(16, p.complete() ? 1 : 0).Run());
    id = db_.LastRowId();
  }
  if (images_.size() >= kMaxCachedImages) images_.clear();
  images_.emplace(key, id);
  return id;
}

Status PartitionWriter::Add(int64_t position, const schema::EventView& view, std::string_view process_bytes) {
  const auto& e = view.event;
  const auto& names = view.Names();
  const bool cred = e.has_cred();
  const bool actor = view.HasActor();
  int64_t img = 0;
  if (view.process != nullptr) {
    NT_ASSIGN_OR_RETURN(img, Image(*view.process, process_bytes));
  }
  std::string_view path;
  std::string_view path2;
  if (e.has_file()) {
    path = e.file().path().path();
    path2 = e.file().new_path().path();
  } else if (e.has_call()) {
    path = e.call().path().path();
    path2 = e.call().source().path();
  } else if (e.has_net()) {
    path = e.net().path().path();
  } else if (e.has_exec() && view.process != nullptr) {
    path = view.process->exe();
    path2 = view.process->script();
  }
  NT_ASSIGN_OR_RETURN(const int64_t agent, Str(view.facts.agent_id));
  NT_ASSIGN_OR_RETURN(const int64_t host, Str(view.facts.hostname));
  NT_ASSIGN_OR_RETURN(const int64_t proc, Str(e.proc_uid()));
  NT_ASSIGN_OR_RETURN(const int64_t user, Str(names.user()));
  NT_ASSIGN_OR_RETURN(const int64_t euser, Str(names.euser() == names.user() ? std::string_view() : names.euser()));
  NT_ASSIGN_OR_RETURN(const int64_t luser, Str(names.login_user()));
  NT_ASSIGN_OR_RETURN(const int64_t group, Str(names.group()));
  NT_ASSIGN_OR_RETURN(const int64_t path_id, Str(path));
  NT_ASSIGN_OR_RETURN(const int64_t path2_id, Str(path2));
  NT_ASSIGN_OR_RETURN(const int64_t raddr, Str(e.net().remote().ip()));
  NT_ASSIGN_OR_RETURN(const int64_t laddr, Str(e.net().local().ip()));
  NT_ASSIGN_OR_RETURN(const int64_t child, Str(e.fork().child_uid()));

  NT_ASSIGN_OR_RETURN(const int64_t reason, Str(e.agent().reason()));
  NT_ASSIGN_OR_RETURN(const int64_t stage, Str(e.agent().stage()));

  Stmt& put = ev_put_;
  put.Reset();
  put.Bind(1, position).Bind(2, IndexTime(e.t_wall_ns())).Bind(3, e.kind()).Bind(4, e.body_case()).Bind(5, agent);
  put.Bind(6, host).Bind(7, IndexTime(view.facts.epoch)).Bind(8, IndexTime(e.seq())).Bind(9, OrAbsent(actor, e.tid()));
  put.Bind(10, proc).Bind(11, img).Bind(12, OrAbsent(cred, e.cred().uid())).Bind(13, OrAbsent(cred, e.cred().euid()));
  put.Bind(14, OrAbsent(cred, e.cred().gid())).Bind(15, user).Bind(16, euser).Bind(17, luser).Bind(18, group);
  put.Bind(19, actor ? IdOrAbsent(e.login_uid()) : -1).Bind(20, actor ? IdOrAbsent(e.session_id()) : -1);
  put.Bind(21, e.outcome().success() ? 1 : 0).Bind(22, e.outcome().error()).Bind(23, path_id).Bind(24, path2_id);
  put.Bind(25, raddr).Bind(26, laddr).Bind(27, OrAbsent(e.net().has_remote(), e.net().remote().port()));
  put.Bind(28, OrAbsent(e.net().has_local(), e.net().local().port())).Bind(29, child);
  put.Bind(30, reason).Bind(31, stage);
  const auto number = [](bool has, uint64_t value) { return has ? IndexTime(value) : -1; };
  const bool exit = e.has_exit();
  const bool close = e.kind() == ev::KIND_NET_CLOSE;
  put.Bind(32, number(exit, e.exit().exit_code())).Bind(33, number(exit && e.exit().signal() != 0, e.exit().signal()));
  put.Bind(34, number(exit || close, exit ? e.exit().duration_ns() : e.net().duration_ns()));
  const auto* file = e.has_file() && e.file().has_file() ? &e.file().file() : nullptr;
  if (e.has_call() && e.call().has_file()) file = &e.call().file();
  if (e.has_exec() && view.process != nullptr && view.process->has_exe_file()) file = &view.process->exe_file();
  put.Bind(35, number(file != nullptr, file != nullptr ? file->ino() : 0));
  put.Bind(36, number(close, e.net().bytes_sent())).Bind(37, number(close, e.net().bytes_received()));
  NT_ASSIGN_OR_RETURN(const bool inserted, put.Step());
  put.Reset();
  if (inserted) ++added_;
  return OkStatus();
}

}  // namespace nodetrail::collector

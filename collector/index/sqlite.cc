// SPDX-License-Identifier: Apache-2.0
#include "collector/index/sqlite.h"

#include <fmt/format.h>
#include <sqlite3.h>

#include <utility>

namespace nodetrail::collector {
namespace {

Status SqliteStatus(sqlite3* db, int rc, std::string_view what) {
  const char* path = db == nullptr ? nullptr : sqlite3_db_filename(db, "main");
  const std::string text = fmt::format("{}: {}: {}", path == nullptr ? "sqlite" : path, what,
                                       db == nullptr ? sqlite3_errstr(rc) : sqlite3_errmsg(db));
  switch (rc & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB: return DataLoss(text);
    case SQLITE_FULL:
    case SQLITE_NOMEM:
    case SQLITE_TOOBIG: return ResourceExhausted(text);
    case SQLITE_INTERRUPT: return Cancelled(text);
    case SQLITE_PERM:
    case SQLITE_READONLY: return PermissionDenied(text);
    case SQLITE_ERROR:
    case SQLITE_MISUSE:
    case SQLITE_RANGE: return Internal(text);
    default: return Unavailable(text);
  }
}

}  // namespace

Stmt::~Stmt() { sqlite3_finalize(stmt_); }
Stmt::Stmt(Stmt&& other) noexcept : stmt_(std::exchange(other.stmt_, nullptr)) {}
Stmt& Stmt::operator=(Stmt&& other) noexcept {
  if (this != &other) {
    sqlite3_finalize(stmt_);
    stmt_ = std::exchange(other.stmt_, nullptr);
  }
  return *this;
}

Stmt& Stmt::Bind(int index, int64_t value) {
  NT_CHECK(sqlite3_bind_int64(stmt_, index, value) == SQLITE_OK);
  return *this;
}

Stmt& Stmt::BindBlob(int index, std::string_view bytes) {
  // A null pointer would bind NULL.
  const int rc = bytes.empty() ? sqlite3_bind_zeroblob(stmt_, index, 0)
                               : sqlite3_bind_blob64(stmt_, index, bytes.data(), bytes.size(), SQLITE_TRANSIENT);
  NT_CHECK(rc == SQLITE_OK);
  return *this;
}

Result<bool> Stmt::Step() {
  const int rc = sqlite3_step(stmt_);
  if (rc == SQLITE_ROW) return true;
  if (rc == SQLITE_DONE) return false;
  Status status = SqliteStatus(sqlite3_db_handle(stmt_), rc, "step");
  sqlite3_reset(stmt_);
  return status;
}

Status Stmt::Run() {
  while (true) {
    NT_ASSIGN_OR_RETURN(const bool row, Step());
    if (!row) break;
  }
  Reset();
  return OkStatus();
}

void Stmt::Reset() { sqlite3_reset(stmt_); }
int64_t Stmt::Int(int column) const { return sqlite3_column_int64(stmt_, column); }

std::string_view Stmt::Blob(int column) const {
  const void* data = sqlite3_column_blob(stmt_, column);
  const int bytes = sqlite3_column_bytes(stmt_, column);
  if (data == nullptr || bytes <= 0) return {};
  return {static_cast<const char*>(data), static_cast<size_t>(bytes)};
}

Db::~Db() { Close(); }
Db::Db(Db&& other) noexcept : db_(std::exchange(other.db_, nullptr)), path_(std::move(other.path_)) {
  NT_CHECK(!other.stop_);  // the handler holds the address of its Db
}
Db& Db::operator=(Db&& other) noexcept {
  if (this != &other) {
    NT_CHECK(!other.stop_);
    Close();
    db_ = std::exchange(other.db_, nullptr);
    path_ = std::move(other.path_);
  }
  return *this;
}

void Db::Close() {
  // v2: a statement that outlives us keeps the connection until it goes.
  sqlite3_close_v2(db_);
  db_ = nullptr;
}

Result<Db> Db::Open(const std::string& path, Mode mode) {
  Db out;
  out.path_ = path;
  const int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE |
                    (mode == Mode::kReadOnly ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
  const int rc = sqlite3_open_v2(path.c_str(), &out.db_, flags, nullptr);
  if (rc != SQLITE_OK) return SqliteStatus(out.db_, rc, fmt::format("open {}", path));
  sqlite3_extended_result_codes(out.db_, 1);
  sqlite3_busy_timeout(out.db_, 10'000);
  NT_RETURN_IF_ERROR(out.Exec("PRAGMA temp_store=MEMORY; PRAGMA trusted_schema=OFF; PRAGMA cell_size_check=ON"));
  if (mode == Mode::kReadWrite) {
    // FULL: a committed position is on the disk, rows and all. WAL: readers don't wait.
    NT_RETURN_IF_ERROR(out.Exec("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-32768"));
  }
  return out;
}

Status Db::Exec(const std::string& sql) {
  const int rc = sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, nullptr);
  return rc == SQLITE_OK ? OkStatus() : SqliteStatus(db_, rc, "exec");
}

Result<Stmt> Db::Prepare(const std::string& sql) {
  Stmt out;
  const int rc = sqlite3_prepare_v3(db_, sql.data(), static_cast<int>(sql.size()), 0, &out.stmt_, nullptr);
  if (rc != SQLITE_OK) return SqliteStatus(db_, rc, "prepare");
  return out;
}

void Db::SetInterrupt(std::function<bool()> stop) {
  stop_ = std::move(stop);
  sqlite3_progress_handler(
      db_, stop_ ? 4096 : 0, [](void* self) { return static_cast<Db*>(self)->stop_() ? 1 : 0; }, this);
}

int64_t Db::LastRowId() const { return sqlite3_last_insert_rowid(db_); }

}  // namespace nodetrail::collector

// SPDX-License-Identifier: Apache-2.0
//
// SQLite with our Status: a connection, a prepared statement. One thread at a
// time each.
#ifndef NODETRAIL_COLLECTOR_INDEX_SQLITE_H_
#define NODETRAIL_COLLECTOR_INDEX_SQLITE_H_

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "nodetrail/base/status.h"

struct sqlite3;
struct sqlite3_stmt;

namespace nodetrail::collector {

class Db;

class Stmt {
 public:
  Stmt() = default;
  ~Stmt();
  Stmt(Stmt&& other) noexcept;
  Stmt& operator=(Stmt&& other) noexcept;
  Stmt(const Stmt&) = delete;
  Stmt& operator=(const Stmt&) = delete;

  // Parameters count from 1. Blobs are copied.
  Stmt& Bind(int index, int64_t value);
  Stmt& BindBlob(int index, std::string_view bytes);
  // True: a row is there. False: no more.
  Result<bool> Step();
  // Steps to the end and resets, for statements without rows.
  Status Run();
  void Reset();

  [[nodiscard]] int64_t Int(int column) const;
  // Valid until the next Step or Reset.
  [[nodiscard]] std::string_view Blob(int column) const;

 private:
  friend class Db;
  sqlite3_stmt* stmt_ = nullptr;
};

class Db {
 public:
  enum class Mode { kReadWrite, kReadOnly };

  Db() = default;
  ~Db();
  Db(Db&& other) noexcept;
  Db& operator=(Db&& other) noexcept;
  Db(const Db&) = delete;
  Db& operator=(const Db&) = delete;

  // kReadWrite creates the file. DataLoss where SQLite says that the file is
  // damaged or no database; kUnavailable, kResourceExhausted otherwise.
  static Result<Db> Open(const std::string& path, Mode mode);

  Status Exec(const std::string& sql);
  Result<Stmt> Prepare(const std::string& sql);
  // Asked every few thousand steps; true ends the statement with kCancelled.
  void SetInterrupt(std::function<bool()> stop);
  [[nodiscard]] bool open() const { return db_ != nullptr; }
  [[nodiscard]] int64_t LastRowId() const;
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  void Close();
  sqlite3* db_ = nullptr;
  std::string path_;
  std::function<bool()> stop_;
};

}  // namespace nodetrail::collector

#endif  // NODETRAIL_COLLECTOR_INDEX_SQLITE_H_

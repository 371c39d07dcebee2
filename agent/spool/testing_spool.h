// SPDX-License-Identifier: Apache-2.0
//
// Shared by the spool's tests: batches to append, and file operations that
// fail, crash or forget on command.
#ifndef NODETRAIL_AGENT_SPOOL_TESTING_SPOOL_H_
#define NODETRAIL_AGENT_SPOOL_TESTING_SPOOL_H_

#include <fcntl.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "agent/seal/eviction_signer.h"
#include "agent/spool/file_ops.h"
#include "agent/spool/spool.h"
#include "trail/testing/temp_dir.h"
#include "trail/testing/test_agent.h"

namespace nodetrail::agent {

// The real operations, with a hook before each: what it returns if not 0 is
// the result (-errno), and the operation does not happen.
class FaultyFileOps final : public FileOps {
 public:
  enum class Op { kOpen, kRead, kWrite, kFallocate, kTruncate, kSync, kRename, kUnlink, kSyncDir };
  std::function<int(Op op, int fd)> fault = [](Op, int) { return 0; };
  size_t max_write = SIZE_MAX;  // short writes
  bool real_sync = true;        // false: a test without power loss needs none, and disks are slow

  int Open(const std::string& path, int flags, unsigned mode) override {
    const bool create = (flags & O_CREAT) != 0;
    if (create) {
      if (const int e = fault(Op::kOpen, -1); e != 0) return e;
    }
    return real_.Open(path, flags, mode);
  }
  void Close(int fd) override { real_.Close(fd); }
  int64_t RegularSize(int fd) override { return real_.RegularSize(fd); }
  ssize_t Pread(int fd, void* data, size_t size, uint64_t offset) override {
    if (const int e = fault(Op::kRead, fd); e != 0) return e;
    return real_.Pread(fd, data, size, offset);
  }
  ssize_t Pwrite(int fd, const void* data, size_t size, uint64_t offset) override {
    if (const int e = fault(Op::kWrite, fd); e != 0) return e;
    return real_.Pwrite(fd, data, std::min(size, max_write), offset);
  }
  int Fallocate(int fd, uint64_t size) override {
    if (const int e = fault(Op::kFallocate, fd); e != 0) return e;
    return real_.Fallocate(fd, size);
  }
  int Ftruncate(int fd, uint64_t size) override {
    if (const int e = fault(Op::kTruncate, fd); e != 0) return e;
    return real_.Ftruncate(fd, size);
  }
  int Fdatasync(int fd) override {
    if (const int e = fault(Op::kSync, fd); e != 0) return e;
    return real_sync ? real_.Fdatasync(fd) : 0;
  }
  int Rename(const std::string& from, const std::string& to) override {
    if (const int e = fault(Op::kRename, -1); e != 0) return e;
    return real_.Rename(from, to);
  }
  int Unlink(const std::string& path) override {
    if (const int e = fault(Op::kUnlink, -1); e != 0) return e;
    return real_.Unlink(path);
  }
  int SyncDir(const std::string& dir) override {
    if (const int e = fault(Op::kSyncDir, -1); e != 0) return e;
    return real_sync ? real_.SyncDir(dir) : 0;
  }

 private:
  FileOps& real_ = SystemFileOps();
};

// Signs with the identity of a test's agent.
class TestSigner final : public EvictionSigner {
 public:
  explicit TestSigner(const trail::TestAgent* agent) : agent_(agent) {}
  Result<std::string> Sign(const trail::v1::BatchHeader& header, const trail::Hash& batch_hash) override {
    if (fail) return InvalidArgument("no key");
    trail::SealedBatch batch;
    batch.header = header;
    batch.batch_hash = batch_hash;
    return agent_->Eviction(batch);
  }
  bool fail = false;

 private:
  const trail::TestAgent* agent_;
};

class SpoolTestBase : public ::testing::Test {
 protected:
  SpoolTestBase() : agent_(ca_, "acme", "web-1") { options_.dir = dir_ / "spool"; }

  std::unique_ptr<Spool> Open() {
    auto spool = Spool::Open(options_);
    EXPECT_TRUE(spool.ok()) << spool.status().ToString();
    return spool.ok() ? std::move(*spool) : nullptr;
  }
  // Seals and appends n batches.
  void Append(Spool* spool, int n) {
    for (int i = 0; i < n; ++i) {
      batches_.push_back(agent_.Batch());
      const Status status = spool->Append(batches_.back());
      ASSERT_TRUE(status.ok()) << status.ToString();
    }
  }
  // Everything that the cursor hands out now.
  static std::vector<SpooledBatch> Drain(Spool* spool) {
    std::vector<SpooledBatch> out;
    while (auto batch = spool->Next(std::chrono::milliseconds(0))) out.push_back(std::move(*batch));
    return out;
  }
  // What comes out is what went in, from `from` on.
  void ExpectBatches(const std::vector<SpooledBatch>& got, size_t from = 0) {
    ASSERT_EQ(got.size(), batches_.size() - from);
    for (size_t i = 0; i < got.size(); ++i) {
      EXPECT_EQ(got[i].leaf, batches_[from + i].leaf) << i;
      EXPECT_EQ(got[i].body, batches_[from + i].body) << i;
      EXPECT_EQ(got[i].batch_hash, batches_[from + i].batch_hash) << i;
      EXPECT_FALSE(got[i].after_hole) << i;
    }
  }
  std::vector<std::string> Segments() const {
    std::vector<std::string> out;
    for (const auto& entry : std::filesystem::directory_iterator(options_.dir)) {
      if (entry.path().extension() == ".seg") out.push_back(entry.path().string());
    }
    std::sort(out.begin(), out.end());
    return out;
  }

  trail::TempDir dir_;
  trail::TestCa ca_;
  trail::TestAgent agent_;
  SpoolOptions options_;
  std::vector<trail::SealedBatch> batches_;
};

// Rows of the fault table: each test is named after its row.
class SpoolFaults : public SpoolTestBase {
 protected:
  SpoolFaults() { options_.ops = &ops_; }
  void Heal() {
    ops_.fault = [](FaultyFileOps::Op, int) { return 0; };
  }
  FaultyFileOps ops_;
};

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_SPOOL_TESTING_SPOOL_H_

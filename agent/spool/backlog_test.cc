// SPDX-License-Identifier: Apache-2.0
//
// Row 14: a start on a large backlog in constant memory. The size is
// NODETRAIL_BACKLOG_MIB, 256 if it is not set; nothing in the files is sparse.
#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iostream>

#include "agent/spool/record_format.h"
#include "agent/spool/testing_spool.h"

namespace nodetrail::agent {
namespace {

constexpr uint64_t kMaxResidentKib = 64 * 1024;
constexpr uint64_t kBodyBytes = 256 * 1024;
constexpr uint64_t kHeadBytes = 4096;  // more than a segment header and a head record take

uint64_t BacklogBytes() {
  const char* mib = std::getenv("NODETRAIL_BACKLOG_MIB");
  return (mib != nullptr ? std::strtoull(mib, nullptr, 10) : 256) << 20U;
}

uint64_t ResidentPeakKib() {
  std::ifstream status("/proc/self/status");
  std::string line;
  while (std::getline(status, line)) {
    if (line.starts_with("VmHWM:")) return std::strtoull(line.c_str() + 6, nullptr, 10);
  }
  return UINT64_MAX;
}

class SpoolBacklog : public SpoolTestBase {
 protected:
  // Segments as the spool writes them, of batches whose bodies are as large as
  // those of a busy host; without the syncs, which would take most of the time.
  uint64_t Make(uint64_t bytes) {
    std::filesystem::create_directories(options_.dir);
    std::string body(kBodyBytes, '\0');
    for (size_t i = 0; i < body.size(); ++i) body[i] = static_cast<char>(1 + i * 131 % 255);
    SpoolHead head;
    uint64_t lsn = 1;
    uint64_t batches = 0;
    trail::SealedBatch next = agent_.Batch(1);
    for (uint64_t made = 0; made < bytes;) {
      SpoolSegmentHeader header;
      header.first_lsn = lsn;
      trail::RandomBytes(header.salt);
      std::ofstream file(options_.dir + "/" + SegmentName(lsn), std::ios::binary);
      std::string record = EncodeSegmentHeader(header) +
                           EncodeRecord(SpoolRecordType::kHead, lsn++, EncodeHeadPayload(head), header.salt);
      uint64_t size = 0;
      while (size + record.size() <= options_.segment_bytes) {
        file << record;
        size += record.size();
        if (size > kHeadBytes) {  // a batch was written
          head.head = trail::HeadOf(next.header, next.batch_hash);
          ++lsn;
          ++batches;
          next = agent_.Batch(1);
        }
        record = EncodeRecord(SpoolRecordType::kBatch, lsn, EncodeBatchPayload(next.leaf, body), header.salt);
      }
      made += size;
      if (!file.flush()) return 0;
    }
    return batches;
  }
};

TEST_F(SpoolBacklog, Row14StartsInConstantMemory) {
  const uint64_t bytes = BacklogBytes();
  options_.max_bytes = 4 * bytes;
  const uint64_t batches = Make(bytes);
  ASSERT_GT(batches, 0U);
  int pipe[2];
  ASSERT_EQ(::pipe(pipe), 0);
  // A child of a process that has touched little: its peak is that of the start.
  const pid_t pid = ::fork();
  if (pid == 0) {
    const auto start = std::chrono::steady_clock::now();
    const auto spool = Spool::Open(options_);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (!spool.ok()) ::_exit(1);
    const auto first = (*spool)->Next(std::chrono::milliseconds(0));
    if (!first) ::_exit(2);
    const std::string out = fmt::format("{} {} {}", (*spool)->recovery().batches_pending, ResidentPeakKib(), seconds);
    ::_exit(::write(pipe[1], out.data(), out.size()) == static_cast<ssize_t>(out.size()) ? 0 : 3);
  }
  ::close(pipe[1]);
  char text[128] = {};
  const ssize_t n = ::read(pipe[0], text, sizeof(text) - 1);
  ::close(pipe[0]);
  int status = 0;
  ASSERT_EQ(::waitpid(pid, &status, 0), pid);
  ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0 && n > 0) << status;
  unsigned long pending = 0;
  unsigned long peak = 0;
  double seconds = 0;
  ASSERT_EQ(std::sscanf(text, "%lu %lu %lf", &pending, &peak, &seconds), 3);
  std::cout << fmt::format("a backlog of {} MiB, {} batches: open in {:.2f} s, at most {:.1f} MiB resident\n",
                           bytes >> 20U, pending, seconds, static_cast<double>(peak) / 1024);
  EXPECT_EQ(pending, batches);
  EXPECT_LE(peak, kMaxResidentKib);
}

}  // namespace
}  // namespace nodetrail::agent

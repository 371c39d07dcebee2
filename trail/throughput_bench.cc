// SPDX-License-Identifier: Apache-2.0
#include "trail/throughput_bench.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "nodetrail/base/fd.h"
#include "nodetrail/event/v1/event.pb.h"
#include "nodetrail/trail/body.h"
#include "nodetrail/trail/chain.h"
#include "nodetrail/trail/trail_store.h"
#include "trail/testing/temp_dir.h"
#include "trail/testing/test_agent.h"

namespace nodetrail::trail {
namespace {

constexpr size_t kBatchBytes = 256 * 1024;
constexpr size_t kGroup = 16;  // batches that a collector commits together
constexpr int kRounds = 5;

// Recorded events, put together to batches of the size that a busy agent makes.
struct Recording {
  std::vector<event::v1::EventBatch> batches;
  uint64_t events = 0;
  uint64_t bytes = 0;
};

Result<Recording> ReadRecording(const std::string& dir) {
  NT_ASSIGN_OR_RETURN(const std::unique_ptr<TrailReader> reader, TrailReader::Open(dir));
  Recording out;
  event::v1::EventBatch batch;
  size_t size = 0;
  Status failed;
  const auto close = [&] {
    if (batch.events_size() == 0) return;
    batch.set_schema_version(1);
    out.events += static_cast<uint64_t>(batch.events_size());
    out.bytes += batch.ByteSizeLong();
    out.batches.push_back(std::move(batch));
    batch = event::v1::EventBatch();
    size = 0;
  };
  NT_RETURN_IF_ERROR(reader->ForEach(0, [&](const LeafLocation&, std::string_view leaf) {
    const auto parsed = ParseLeaf(leaf);
    if (!parsed.ok() || parsed->header.body_codec() == v1::BODY_CODEC_NONE) return true;
    const auto stored = reader->Body(*HashFromBytes(parsed->header.body_sha256()));
    if (!stored.ok()) return true;
    const auto body = OpenBody(*stored, parsed->header);
    if (!body.ok()) return true;
    for (const std::string& process : body->processes()) {
      batch.add_processes(process);
      size += process.size();
    }
    for (const std::string& event : body->events()) {
      batch.add_events(event);
      size += event.size();
      if (size >= kBatchBytes) close();
    }
    return true;
  }));
  close();
  if (out.batches.empty()) return NotFound(fmt::format("{}: no events in this trail", dir));
  return out;
}

double CpuSeconds() {
  timespec now{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}
double WallSeconds() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

struct Time {
  double cpu = 0;
  double wall = 0;
};
Time Measure(const std::function<void()>& work) {
  const Time start{CpuSeconds(), WallSeconds()};
  work();
  return {CpuSeconds() - start.cpu, WallSeconds() - start.wall};
}

// A file that takes batches as a spool does: appended, synced one by one.
class SyncedFile {
 public:
  explicit SyncedFile(const std::string& path) : fd_(*OpenFd(path, O_RDWR | O_CREAT | O_TRUNC, 0600)) {}
  void Append(std::string_view a, std::string_view b) {
    NT_CHECK(WriteAll(fd_.get(), a, "bench").ok() && WriteAll(fd_.get(), b, "bench").ok());
    NT_CHECK(::fdatasync(fd_.get()) == 0);
  }

 private:
  UniqueFd fd_;
};

// What no design can do without: hash, compress, make durable.
void Floor(const Recording& recording, const std::string& dir) {
  SyncedFile file(dir + "/floor");
  for (const event::v1::EventBatch& batch : recording.batches) {
    const std::string raw = batch.SerializeAsString();
    const Hash hash = Sha256Of(raw);
    file.Append(View(hash), *CompressBody(raw));
  }
}

// As an agent: the root over the records, the ratchet, the signature.
std::vector<SealedBatch> Seal(const Recording& recording, TestAgent* agent, const std::string& dir) {
  SyncedFile file(dir + "/sealed");
  std::vector<SealedBatch> out;
  out.reserve(recording.batches.size());
  for (const event::v1::EventBatch& batch : recording.batches) {
    out.push_back(agent->BatchOfRecords(batch));
    file.Append(out.back().leaf, out.back().body);
  }
  return out;
}

// As a collector: chain, signature, body hash; bodies and leaves durable, a
// group at a time.
void Commit(const std::vector<SealedBatch>& batches, const CaSet& cas, const std::string& dir) {
  ChainVerifier verifier({"acme", "web-1", &cas, 1024});
  const auto writer = *TrailWriter::Open(dir + "/trail");
  for (size_t at = 0; at < batches.size(); at += kGroup) {
    std::vector<std::pair<Hash, std::string_view>> bodies;
    std::vector<std::string_view> leaves;
    for (size_t i = at; i < std::min(batches.size(), at + kGroup); ++i) {
      const ChainResult result = verifier.Check(batches[i].leaf, batches[i].body);
      NT_CHECK(result.accepted());
      bodies.emplace_back(*HashFromBytes(result.leaf->header.body_sha256()), batches[i].body);
      leaves.push_back(batches[i].leaf);
    }
    NT_CHECK(writer->PutBodies(bodies).ok() && writer->AppendLeaves(leaves).ok());
  }
}

Time Median(std::vector<Time> times) {
  const auto middle = static_cast<std::ptrdiff_t>(times.size() / 2);
  Time out;
  std::nth_element(times.begin(), times.begin() + middle, times.end(),
                   [](const Time& a, const Time& b) { return a.cpu < b.cpu; });
  out.cpu = times[times.size() / 2].cpu;
  std::nth_element(times.begin(), times.begin() + middle, times.end(),
                   [](const Time& a, const Time& b) { return a.wall < b.wall; });
  out.wall = times[times.size() / 2].wall;
  return out;
}

}  // namespace

Status BenchThroughput(const std::string& trail_dir) {
  NT_ASSIGN_OR_RETURN(const Recording recording, ReadRecording(trail_dir));
  const auto events = static_cast<double>(recording.events);
  std::printf("%lu recorded events, %.0f bytes each, in %zu batches of %zu KiB\n", recording.events,
              static_cast<double>(recording.bytes) / events, recording.batches.size(), kBatchBytes / 1024);
  const TestCa ca;
  const CaSet cas = *CaSet::FromPem(ca.CertPem());
  std::map<std::string, std::vector<Time>> times;
  // Taken in turn, so that what the machine does besides meets all of them.
  for (int round = 0; round < kRounds; ++round) {
    const TempDir dir;
    TestAgent agent(ca, "acme", "web-1");
    std::vector<SealedBatch> sealed;
    times["floor"].push_back(Measure([&] { Floor(recording, dir.path()); }));
    times["seal"].push_back(Measure([&] { sealed = Seal(recording, &agent, dir.path()); }));
    times["floor"].push_back(Measure([&] { Floor(recording, dir.path()); }));
    times["collector"].push_back(Measure([&] { Commit(sealed, cas, dir.path()); }));
  }
  const Time floor = Median(times["floor"]);
  const auto report = [&](const char* what, const char* key) {
    const Time t = Median(times[key]);
    std::printf("%-52s %9.0f events/s/core %9.0f events/s  %.2f of the floor's CPU, %.2f of its time\n", what,
                events / t.cpu, events / t.wall, t.cpu / floor.cpu, t.wall / floor.wall);
  };
  report("floor: SHA-256, zstd, fdatasync", "floor");
  report("agent: root, zstd, ratchet, signature, fdatasync", "seal");
  report("collector: verify, bodies and leaves, fdatasync", "collector");
  return OkStatus();
}

}  // namespace nodetrail::trail

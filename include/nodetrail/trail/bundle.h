// SPDX-License-Identifier: Apache-2.0
//
// A bundle: the whole log and the bodies of a scope, to hand to an auditor.
// docs/trail-format.md specifies the directory and its manifest.
#ifndef NODETRAIL_TRAIL_BUNDLE_H_
#define NODETRAIL_TRAIL_BUNDLE_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "nodetrail/trail/crypto.h"
#include "nodetrail/trail/v1/trail.pb.h"

namespace nodetrail::trail {

inline constexpr size_t kMaxManifestBytes = 1 << 20;
inline constexpr size_t kMaxBundleAgents = 10'000;
inline constexpr size_t kMaxBundleReceipts = 10'000;
inline constexpr std::string_view kReceiptSuffix = ".tlog-proof";

// Nanoseconds since 1970, both ends included.
struct TimeSpan {
  uint64_t from_ns = 0;
  uint64_t to_ns = 0;
};
// When what is in a batch happened; without events, when it was sealed.
TimeSpan TimeOf(const v1::BatchHeader& header);

// Which batches a bundle is about.
struct BundleScope {
  std::optional<uint64_t> since_ns;  // nothing: from the beginning
  std::optional<uint64_t> until_ns;  // nothing: to the end; included
  // Nothing: all. Else ascending, each once.
  std::optional<std::vector<std::string>> agents;

  [[nodiscard]] bool HasAgent(std::string_view agent_id) const;
  [[nodiscard]] bool Meets(TimeSpan span) const;
  [[nodiscard]] bool Has(std::string_view agent_id, TimeSpan span) const { return HasAgent(agent_id) && Meets(span); }
  [[nodiscard]] bool Has(const v1::BatchHeader& header) const { return Has(header.agent_id(), TimeOf(header)); }
  // "2026-01-01T…Z to the end, agents a, b": one line.
  [[nodiscard]] std::string ToString() const;
};

struct BundleManifest {
  std::string origin;  // of the checkpoint
  std::string tenant;
  uint64_t checkpoint_size = 0;
  BundleScope scope;
  uint64_t bodies = 0;    // batches of the scope that have a body
  uint64_t receipts = 0;  // files
};

// The bytes of manifest.json; there is one text for one content.
std::string FormatManifest(const BundleManifest& manifest);
// Strict: InvalidArgument for any other bytes than FormatManifest makes of a
// manifest whose values are legal. Says what is wrong.
Result<BundleManifest> ParseManifest(std::string_view text);
// The content of manifest.sha256.
std::string ManifestSum(std::string_view manifest);

// True for "<name>.tlog-proof" with 1 to 100 of A-Z a-z 0-9 . _ -, no dot first.
bool ValidReceiptFile(std::string_view name);

struct ExportOptions {
  BundleScope scope;
  std::vector<std::string> receipts;  // paths of files to put in
};

using ExportProgress = std::function<bool(uint64_t done, uint64_t of)>;

struct ExportReport {
  BundleManifest manifest;
  uint64_t leaves = 0;
  uint64_t body_bytes = 0;         // stored
  uint64_t bodies_outside = 0;     // put in because the verdict needs them
  uint64_t evicted = 0;            // bodies that the agent gave up, with its statement
  uint64_t retired = 0;            // bodies of the scope that were deleted by rule, as entries say
  uint64_t beyond_checkpoint = 0;  // leaves of the trail that are under no checkpoint yet: not in the bundle
};

// Writes `trail_dir` as a bundle to `out_dir`, which must not exist: as
// `out_dir`.tmp first, renamed when all of it is durable. Streams; needs no
// key, and refuses what a verifier would: a checkpoint that is missing or not
// over the leaves, a damaged leaf, a body that is missing or another. On an
// error nothing is left behind. Errors: NotFound (no trail, no checkpoint, no
// batch in the scope, unknown agent), AlreadyExists, DataLoss (the trail is
// damaged: verify it), Cancelled, or the file system's. `progress` is called now
// and then with the leaves done and their number; false cancels.
Result<ExportReport> ExportBundle(const std::string& trail_dir, const std::string& out_dir,
                                  const ExportOptions& options, const ExportProgress& progress = nullptr);

}  // namespace nodetrail::trail

#endif  // NODETRAIL_TRAIL_BUNDLE_H_

// SPDX-License-Identifier: Apache-2.0
#include "trail/verify_quarantine.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>
#include <vector>

#include "nodetrail/base/guard.h"

namespace nodetrail::trail {

QuarantineCheck::QuarantineCheck(const TrailReader& reader, Findings* findings) : findings_(findings) {
  const std::filesystem::path dir = std::filesystem::path(reader.dir()) / "quarantine";
  std::vector<std::string> names;
  std::error_code error;
  std::filesystem::directory_iterator it(dir, error);
  for (const std::filesystem::directory_iterator end; !error && it != end; it.increment(error)) {
    if (it->path().extension() == ".leaf") names.push_back(it->path().filename().string());
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    findings->Note(fmt::format("quarantine/ can't be read: {}", error.message()));
  }
  std::sort(names.begin(), names.end());
  if (names.size() > kMaxFiles) names.resize(kMaxFiles);
  for (const std::string& name : names) {
    const std::string file = "quarantine/" + name;
    const auto bytes = reader.BundleFile(file, kMaxLeafBytes);
    if (!bytes.ok()) continue;
    auto leaf = ParseLeaf(*bytes);
    if (!leaf.ok() || !VerifyLeafSignature(*leaf)) continue;
    const v1::BatchHeader& h = leaf->header;
    rivals_.emplace(Position{h.tenant(), h.agent_id(), h.epoch(), h.seq()},
                    Rival{file, h.signer_key(), leaf->batch_hash});
  }
}

void QuarantineCheck::Take(const v1::BatchHeader& header, const Hash& batch_hash, const LeafLocation& where) {
  if (rivals_.empty()) return;
  const auto [first, last] =
      rivals_.equal_range(Position{header.tenant(), header.agent_id(), header.epoch(), header.seq()});
  for (auto it = first; it != last; ++it) {
    const Rival& rival = it->second;
    // With a key that the log does not know it is anybody's.
    const bool rivals = rival.batch_hash != batch_hash && rival.signer_key == header.signer_key();
    if (!NT_GUARD(verify_quarantine, rivals)) continue;
    findings_->Add(FindingKind::kTamper, reason::kEquivocation,
                   "equivocation: the same key signed another batch for this position, which came and is in "
                   "quarantine: the machine or its key was copied",
                   BatchName(header), &where, rival.file);
  }
}

}  // namespace nodetrail::trail

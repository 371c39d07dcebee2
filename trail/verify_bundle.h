// SPDX-License-Identifier: Apache-2.0
//
// What a bundle says about itself, against what is in it.
#ifndef NODETRAIL_TRAIL_VERIFY_BUNDLE_H_
#define NODETRAIL_TRAIL_VERIFY_BUNDLE_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "nodetrail/trail/bundle.h"
#include "nodetrail/trail/note.h"
#include "nodetrail/trail/trail_store.h"
#include "nodetrail/trail/verify.h"
#include "trail/verify_findings.h"

namespace nodetrail::trail {

// Owner: one verification; what it is given must outlive it.
class BundleCheck {
 public:
  BundleCheck(const TrailReader* reader, Findings* findings) : reader_(reader), findings_(findings) {}

  // First of all. An error is operational. For a trail nothing is read.
  Status Read();
  [[nodiscard]] const std::optional<BundleManifest>& manifest() const { return manifest_; }
  // What must be there. All of a trail; nothing of a bundle whose manifest does
  // not hold: that is bad enough, and who knows what is missing.
  [[nodiscard]] BundleScope scope() const;

  // Hands the files in receipts/ to `take`, by name; what is no receipt's file
  // is a finding. An error is operational.
  Status ReadReceipts(const std::function<void(const std::string& file, std::string_view text)>& take);

  // After the last leaf. `bodies`: batches of the scope that have one, nothing
  // if they were not looked at.
  void Finish(const std::optional<Checkpoint>& checkpoint, uint64_t leaves, std::optional<uint64_t> bodies,
              const VerifyReport& report);

 private:
  void Wrong(std::string_view reason, std::string text, std::string file);

  const TrailReader* reader_;
  Findings* findings_;
  std::optional<BundleManifest> manifest_;
};

}  // namespace nodetrail::trail

#endif  // NODETRAIL_TRAIL_VERIFY_BUNDLE_H_

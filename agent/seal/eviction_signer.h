// SPDX-License-Identifier: Apache-2.0
//
// Signs what the spool gives up. The spool asks when it has to make room.
#ifndef NODETRAIL_AGENT_SEAL_EVICTION_SIGNER_H_
#define NODETRAIL_AGENT_SEAL_EVICTION_SIGNER_H_

#include <optional>
#include <string>

#include "agent/seal/identity.h"
#include "nodetrail/base/clock.h"
#include "nodetrail/base/status.h"
#include "nodetrail/trail/eviction.h"

namespace nodetrail::agent {

// Thread: the spool's appender, one call at a time.
class EvictionSigner {
 public:
  virtual ~EvictionSigner() = default;
  // SignedEviction bytes for the body of this batch, given up now.
  virtual Result<std::string> Sign(const trail::v1::BatchHeader& header, const trail::Hash& batch_hash) = 0;
  // Nothing more for now: secrets may be dropped.
  virtual void Done() {}
};

// With the identity key. The key is loaded for a run of signatures and dropped
// at its end, as when an epoch is opened.
class IdentityEvictionSigner final : public EvictionSigner {
 public:
  // `clock` outlives it. Reads no file yet.
  IdentityEvictionSigner(IdentityOptions options, const Clock* clock) : options_(std::move(options)), clock_(clock) {}

  Result<std::string> Sign(const trail::v1::BatchHeader& header, const trail::Hash& batch_hash) override {
    if (!identity_) {
      NT_ASSIGN_OR_RETURN(Identity identity, Identity::Load(options_));
      identity_ = std::move(identity);
    }
    return trail::SignEviction(trail::EvictionStatement(header, batch_hash, clock_->WallNs()), identity_->key(),
                               identity_->certificate(), identity_->intermediates());
  }
  void Done() override { identity_.reset(); }

 private:
  IdentityOptions options_;
  const Clock* clock_;
  std::optional<Identity> identity_;
};

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_SEAL_EVICTION_SIGNER_H_

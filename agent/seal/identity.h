// SPDX-License-Identifier: Apache-2.0
//
// The agent's identity: its certificate and the key that signs the opening of
// an epoch and what the spool had to give up.
#ifndef NODETRAIL_AGENT_SEAL_IDENTITY_H_
#define NODETRAIL_AGENT_SEAL_IDENTITY_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "nodetrail/base/clock.h"
#include "nodetrail/base/status.h"
#include "nodetrail/trail/crypto.h"
#include "nodetrail/trail/v1/trail.pb.h"

namespace nodetrail::agent {

struct IdentityOptions {
  std::string cert_file;  // PEM: certificate, then its intermediates
  std::string key_file;   // PEM, P-256; not readable by group or others
  std::string key_uri;    // instead of key_file: "pkcs11:…", see trail/pkcs11_key.h
  std::string tenant;
  std::string agent_id;
};

// Loaded when it is needed and dropped after: a key that is in a file is in
// memory for that long only.
class Identity {
 public:
  // InvalidArgument: a file is unreadable, the key is not the certificate's, or
  // the certificate's URI is another agent's; names the file.
  static Result<Identity> Load(const IdentityOptions& options);

  [[nodiscard]] const trail::EcdsaKey& key() const { return key_; }
  [[nodiscard]] const trail::Certificate& certificate() const { return chain_.front(); }
  [[nodiscard]] std::span<const trail::Certificate> intermediates() const { return std::span(chain_).subspan(1); }

 private:
  Identity(trail::EcdsaKey key, std::vector<trail::Certificate> chain)
      : key_(std::move(key)), chain_(std::move(chain)) {}

  trail::EcdsaKey key_;
  std::vector<trail::Certificate> chain_;
};

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_SEAL_IDENTITY_H_

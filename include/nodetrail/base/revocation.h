// SPDX-License-Identifier: Apache-2.0
//
// Revocation lists (RFC 5280) of the authorities whose peers we accept: a file
// that the operator replaces, read anew when it changes.
#ifndef NODETRAIL_BASE_REVOCATION_H_
#define NODETRAIL_BASE_REVOCATION_H_

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "nodetrail/base/status.h"

namespace nodetrail {

// Any thread. A file that becomes unreadable or malformed while it is used is
// told once in the log, and the lists read before stay: who replaces a file
// badly must not let revoked peers in.
class RevocationFile {
 public:
  // PEM, at most 16 MiB of lists and 1 MiB of authorities. `crl_file` empty:
  // nobody is ever revoked. Reads nothing yet.
  RevocationFile(std::string crl_file, std::string ca_file);
  ~RevocationFile();
  RevocationFile(const RevocationFile&) = delete;
  RevocationFile& operator=(const RevocationFile&) = delete;

  // Reads the files if they changed. An error only if there are no lists to go
  // by: one line that names the file, the cause and the fix.
  [[nodiscard]] Status Refresh();

  // Is this peer's certificate, and each of its chain, still good? `chain_pem`
  // are certificates that may be needed between it and an authority; others in
  // it do no harm. kPermissionDenied: revoked. kFailedPrecondition: that can't
  // be told, since a list is missing or out of date at `wall_ns` (ns since the
  // Unix epoch), or the certificate does not chain to an authority. Each
  // authority that issued a certificate of the chain must have its list.
  // Refreshes first.
  [[nodiscard]] Status Check(std::string_view cert_pem, std::string_view chain_pem, uint64_t wall_ns);

  // Grows with each version of the files that was taken. Refreshes first: a
  // peer that passed Check needs another only when this has changed.
  [[nodiscard]] uint64_t Generation();

 private:
  struct Lists;
  struct Stamp;
  Result<std::shared_ptr<Lists>> Load() const;
  Status RefreshLocked();

  const std::string crl_file_;
  const std::string ca_file_;
  std::mutex mutex_;
  std::shared_ptr<Lists> lists_;  // null: none were good yet
  std::unique_ptr<Stamp> tried_;  // the version that was read last, good or not
  Status problem_;                // of that version
  uint64_t generation_ = 0;
};

}  // namespace nodetrail

#endif  // NODETRAIL_BASE_REVOCATION_H_

// SPDX-License-Identifier: Apache-2.0
//
// The three PEM files of a TLS peer, read and checked before a library that
// would only say "handshake failed" gets them.
#ifndef NODETRAIL_BASE_TLS_FILES_H_
#define NODETRAIL_BASE_TLS_FILES_H_

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "nodetrail/base/status.h"

namespace nodetrail {

struct TlsPaths {
  std::string ca_file;    // authorities whose peers we accept
  std::string cert_file;  // our certificate, then its intermediates
  std::string key_file;   // our key
};

struct TlsMaterial {
  std::string ca_pem;
  std::string cert_pem;
  std::string key_pem;
};

// Reads the files, at most 1 MiB each. Errors are one line that names the
// file, the cause and the fix: unreadable, not PEM, key readable by others,
// key and certificate no pair, certificate expired or not yet valid at
// `wall_ns` (ns since the Unix epoch). Thread-safe.
[[nodiscard]] Result<TlsMaterial> LoadTlsFiles(const TlsPaths& paths, uint64_t wall_ns);

// Is this certificate (PEM) for the host of `endpoint` (host:port), or for
// `server_name` if that is not empty? A DNS name or an IP address of its
// subjectAltName. kFailedPrecondition: no. Thread-safe.
[[nodiscard]] Status CheckServerName(std::string_view cert_pem, const std::string& endpoint,
                                     const std::string& server_name);

// Why does TLS to `endpoint` (host:port) fail? One handshake of its own, ended
// before any application byte; `server_name` is expected in the certificate,
// empty: the host of `endpoint`. OK: the handshake works and the peer accepts
// our certificate. Blocks for at most `timeout`. Thread-safe.
[[nodiscard]] Status ProbeTls(const std::string& endpoint, const std::string& server_name, const TlsMaterial& material,
                              std::chrono::milliseconds timeout);

}  // namespace nodetrail

#endif  // NODETRAIL_BASE_TLS_FILES_H_

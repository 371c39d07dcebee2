// SPDX-License-Identifier: Apache-2.0
#include "agent/seal/identity.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>
#include <utility>

#include "nodetrail/base/fd.h"
#include "nodetrail/trail/pkcs11_key.h"

namespace nodetrail::agent {
namespace {

constexpr size_t kMaxPemBytes = 256 * 1024;

// A private key that others may read is no secret: refuse it.
Status CheckKeyFileMode(const std::string& path) {
  struct stat st {};
  if (::stat(path.c_str(), &st) != 0) return ErrnoStatus(errno, fmt::format("identity key {}", path));
  if ((st.st_mode & 077U) != 0) {
    return InvalidArgument(fmt::format("identity key {}: mode {:04o} lets others read it (chmod 600 {})", path,
                                       st.st_mode & 07777U, path));
  }
  return OkStatus();
}

Result<trail::EcdsaKey> LoadKey(const IdentityOptions& options) {
  if (!options.key_uri.empty()) {
    const auto uri = trail::ParsePkcs11Uri(options.key_uri);
    if (!uri.ok()) return Annotate(uri.status(), "identity.key_uri");
    auto key = trail::LoadPkcs11Key(*uri);
    if (!key.ok()) return Annotate(key.status(), "identity.key_uri");
    return key;
  }
  NT_RETURN_IF_ERROR(CheckKeyFileMode(options.key_file));
  NT_ASSIGN_OR_RETURN(std::string pem, ReadFile(options.key_file, kMaxPemBytes));
  auto key = trail::EcdsaKey::FromPem(pem);
  trail::SecureErase(pem.data(), pem.size());
  if (!key.ok()) return Annotate(key.status(), fmt::format("identity key {}", options.key_file));
  return key;
}

}  // namespace

Result<Identity> Identity::Load(const IdentityOptions& options) {
  NT_ASSIGN_OR_RETURN(trail::EcdsaKey key, LoadKey(options));
  const std::string cert_what = fmt::format("identity certificate {}", options.cert_file);
  NT_ASSIGN_OR_RETURN(const std::string cert_pem, ReadFile(options.cert_file, kMaxPemBytes));
  auto chain = trail::Certificate::AllFromPem(cert_pem);
  if (!chain.ok()) return Annotate(chain.status(), cert_what);
  const trail::Certificate& identity = chain->front();
  if (identity.PublicDer() != key.PublicDer()) {
    const std::string& where = options.key_uri.empty() ? options.key_file : "in identity.key_uri";
    return InvalidArgument(fmt::format("{}: does not belong to key {}", cert_what, where));
  }
  const std::vector<std::string> uris = identity.UriSans();
  if (uris.size() != 1)
    return InvalidArgument(fmt::format("{}: {} URIs, exactly one expected", cert_what, uris.size()));
  const auto id = trail::ParseSpiffeId(uris[0]);
  if (!id.ok()) return Annotate(id.status(), cert_what);
  if (id->role != 'a' || id->tenant != options.tenant || id->name != options.agent_id) {
    return InvalidArgument(fmt::format("{}: of tenant {} agent {}, configured are {} and {}", cert_what, id->tenant,
                                       id->name, options.tenant, options.agent_id));
  }
  return Identity(std::move(key), std::move(*chain));
}

}  // namespace nodetrail::agent

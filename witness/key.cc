// SPDX-License-Identifier: Apache-2.0
#include "witness/key.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <utility>

#include "nodetrail/base/fd.h"

namespace nodetrail::witness {
namespace {

constexpr size_t kMaxKeyFileBytes = 64 * 1024;
// RFC 8410: the PrivateKeyInfo of an Ed25519 key up to its seed.
constexpr std::string_view kPkcs8("\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20", 16);

}  // namespace

Result<trail::Ed25519Key> LoadKey(const std::string& path) {
  struct stat st {};
  if (::stat(path.c_str(), &st) != 0) return ErrnoStatus(errno, fmt::format("key_file: stat {}", path));
  if ((st.st_mode & 077) != 0) {
    return PermissionDenied(
        fmt::format("key_file: {}: readable by others (mode {:04o}); chmod 0600 {}", path, st.st_mode & 07777, path));
  }
  auto pem = ReadFile(path, kMaxKeyFileBytes);
  if (!pem.ok()) return Annotate(pem.status(), "key_file");
  auto key = trail::Ed25519Key::FromPem(*pem);
  trail::SecureErase(pem->data(), pem->size());
  if (key.ok()) return key;
  return InvalidArgument(
      fmt::format("key_file: {}: {}; make one with nodetrail-witness keygen", path, key.status().message()));
}

Result<trail::Ed25519Key> MakeKeyFile(const std::string& path) {
  trail::Ed25519Key key = trail::Ed25519Key::Generate();
  std::array<uint8_t, 32> seed{};
  key.CopySeed(seed);
  std::string der = std::string(kPkcs8) + trail::Bytes(seed);
  std::string base64 = trail::Base64Encode(der);
  std::string pem = fmt::format("-----BEGIN {0}-----\n{1}\n-----END {0}-----\n", "PRIVATE KEY", base64);
  const auto write = [&]() -> Status {
    NT_ASSIGN_OR_RETURN(const UniqueFd fd, OpenFd(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
    NT_RETURN_IF_ERROR(WriteAll(fd.get(), pem, path));
    if (::fsync(fd.get()) != 0) return ErrnoStatus(errno, fmt::format("fsync {}", path));
    const std::string dir = std::filesystem::path(path).parent_path().string();
    return FsyncDirectory(dir.empty() ? "." : dir);
  };
  const Status written = write();
  for (std::string* secret : {&der, &base64, &pem}) trail::SecureErase(secret->data(), secret->size());
  trail::SecureErase(seed.data(), seed.size());
  if (!written.ok()) return written;
  return key;
}

Result<std::vector<trail::NoteVerifier>> LoadLogKeys(const std::string& vkey_or_file, const std::string& base_dir) {
  std::vector<trail::NoteVerifier> out;
  auto parsed = trail::NoteVerifier::Parse(vkey_or_file);
  if (parsed.ok()) {
    out.push_back(*std::move(parsed));
    return out;
  }
  const std::string path =
      vkey_or_file.starts_with('/') ? vkey_or_file : (std::filesystem::path(base_dir) / vkey_or_file).string();
  const auto text = ReadFile(path, kMaxKeyFileBytes);
  if (!text.ok()) {
    return InvalidArgument(
        fmt::format("neither a verifier key ({}) nor a file ({})", parsed.status().message(), text.status().message()));
  }
  std::string_view rest = *text;
  while (!rest.empty()) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    if (end > 0) {
      auto key = trail::NoteVerifier::Parse(rest.substr(0, end));
      if (!key.ok()) return Annotate(key.status(), path);
      out.push_back(*std::move(key));
    }
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  if (out.empty()) return InvalidArgument(fmt::format("{}: no verifier key in it", path));
  return out;
}

}  // namespace nodetrail::witness

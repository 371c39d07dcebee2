// SPDX-License-Identifier: Apache-2.0
#include "nodetrail/trail/pkcs11_key.h"

// OpenSSL 3.0 calls engines deprecated, but Debian 12 has no PKCS#11 provider.
#define OPENSSL_SUPPRESS_DEPRECATED
#include <fmt/format.h>
#include <openssl/engine.h>
#include <openssl/err.h>
#include <openssl/ui.h>
#include <sys/stat.h>

#include <cerrno>
#include <utility>

#include "nodetrail/base/fd.h"
#include "trail/openssl_util.h"

namespace nodetrail::trail {
namespace {

constexpr std::string_view kScheme = "pkcs11:";
constexpr size_t kMaxUriBytes = 4096;
constexpr size_t kMaxPinBytes = 256;

Result<std::string> PercentDecode(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    std::string digits(text.substr(i + 1, 2));
    for (char& c : digits) {
      if (c >= 'A' && c <= 'F') c = static_cast<char>(c - 'A' + 'a');
    }
    const auto byte = HexDecode(digits);
    if (!byte.ok() || byte->size() != 1 || (*byte)[0] == '\0') return InvalidArgument("a wrong %-escape");
    out += *byte;
    i += 2;
  }
  return out;
}

// A PIN that others may read is no secret.
Result<std::string> ReadPin(const std::string& path) {
  struct stat st {};
  if (::stat(path.c_str(), &st) != 0) return ErrnoStatus(errno, fmt::format("PIN file {}", path));
  if ((st.st_mode & 077U) != 0) {
    return InvalidArgument(
        fmt::format("PIN file {}: mode {:04o} lets others read it (chmod 600 {})", path, st.st_mode & 07777U, path));
  }
  NT_ASSIGN_OR_RETURN(std::string pin, ReadFile(path, kMaxPinBytes));
  while (!pin.empty() && (pin.back() == '\n' || pin.back() == '\r')) pin.pop_back();
  if (pin.empty() || pin.find('\0') != std::string::npos) {
    SecureErase(pin.data(), pin.size());
    return InvalidArgument(fmt::format("PIN file {}: holds no PIN", path));
  }
  return pin;
}

// Loaded once: the keys hold on to it, and a second initialisation of the same
// module is an error.
Result<ENGINE*> Engine(const std::string& module_path) {
  static ENGINE* engine = nullptr;
  static std::string* loaded = nullptr;
  if (engine != nullptr) {
    if (*loaded == module_path) return engine;
    return FailedPrecondition(fmt::format("PKCS#11: {} is loaded, and {} is wanted as well", *loaded, module_path));
  }
  ENGINE_load_dynamic();
  ENGINE* fresh = ENGINE_by_id("pkcs11");
  if (fresh == nullptr) {
    return FailedPrecondition(
        OpenSslError("OpenSSL's engine \"pkcs11\" is not there (on Debian: apt install libengine-pkcs11-openssl)"));
  }
  if (ENGINE_ctrl_cmd_string(fresh, "MODULE_PATH", module_path.c_str(), 0) != 1 || ENGINE_init(fresh) != 1) {
    Status status = FailedPrecondition(OpenSslError(fmt::format("PKCS#11 module {}", module_path)));
    ENGINE_free(fresh);
    return status;
  }
  engine = fresh;
  loaded = new std::string(module_path);
  return engine;
}

}  // namespace

Result<Pkcs11Uri> ParsePkcs11Uri(std::string_view uri) {
  const auto wrong = [](std::string_view why) { return InvalidArgument(fmt::format("PKCS#11 URI: {}", why)); };
  if (uri.size() > kMaxUriBytes || !uri.starts_with(kScheme)) return wrong("does not begin with pkcs11:");
  for (const char c : uri) {
    if (c <= 0x20 || c > 0x7e) return wrong("a character that must be %-escaped");
  }
  Pkcs11Uri out;
  const size_t question = uri.find('?');
  out.object = std::string(uri.substr(0, question));
  std::string_view query = question == std::string_view::npos ? std::string_view() : uri.substr(question + 1);
  for (const std::string_view name : {"pin-value=", "pin-source="}) {
    if (out.object.find(name) != std::string::npos) return wrong("the PIN belongs behind the question mark");
  }
  while (!query.empty()) {
    const size_t end = query.find('&');
    const std::string_view part = query.substr(0, end);
    query = end == std::string_view::npos ? std::string_view() : query.substr(end + 1);
    const size_t equals = part.find('=');
    const std::string_view name = part.substr(0, equals);
    auto value = PercentDecode(equals == std::string_view::npos ? std::string_view() : part.substr(equals + 1));
    if (!value.ok()) return wrong(value.status().message());
    if (name == "module-path") {
      out.module_path = std::move(*value);
    } else if (name == "pin-source") {
      out.pin_file = std::move(*value);
      if (out.pin_file.starts_with("file:")) out.pin_file.erase(0, 5);
      if (out.pin_file.starts_with("//")) out.pin_file.erase(0, 2);
      if (!out.pin_file.starts_with('/')) return wrong("pin-source must be an absolute path of a file");
    } else if (name == "pin-value") {
      return wrong("holds the PIN itself; put it in a file and name that by pin-source=file:/path");
    } else {
      return wrong("has a query attribute other than module-path and pin-source");
    }
  }
  if (!out.module_path.starts_with('/'))
    return wrong("needs ?module-path= with the absolute path of the token's module");
  return out;
}

Result<EcdsaKey> LoadPkcs11Key(const Pkcs11Uri& uri) {
  NT_ASSIGN_OR_RETURN(ENGINE* const engine, Engine(uri.module_path));
  if (!uri.pin_file.empty()) {
    NT_ASSIGN_OR_RETURN(std::string pin, ReadPin(uri.pin_file));
    const int taken = ENGINE_ctrl_cmd_string(engine, "PIN", pin.c_str(), 0);
    SecureErase(pin.data(), pin.size());
    if (taken != 1) return Internal(OpenSslError("PKCS#11 PIN"));
  }
  EvpKey key(ENGINE_load_private_key(engine, uri.object.c_str(), const_cast<UI_METHOD*>(UI_null()), nullptr));
  if (key == nullptr) {
    return InvalidArgument(OpenSslError(fmt::format(
        "{}: the token has no such private key, or refuses the PIN (pkcs11-tool -O lists its keys)", uri.object)));
  }
  return WrapEcdsaKey(std::move(key));
}

}  // namespace nodetrail::trail

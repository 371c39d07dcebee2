// SPDX-License-Identifier: Apache-2.0
#include "agent/enrich/host.h"

#include <openssl/evp.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <array>
#include <string>

#include "nodetrail/base/fd.h"

namespace nodetrail::agent {
namespace {

constexpr size_t kMaxFile = size_t{64} << 10U;

std::string ReadTrimmed(const std::string& path) {
  Result<std::string> text = ReadFile(path, kMaxFile);
  if (!text.ok()) return {};
  const size_t end = text->find_last_not_of(" \t\r\n");
  text->resize(end == std::string::npos ? 0 : end + 1);
  return *std::move(text);
}

// A value of os-release(5): maybe quoted, with backslash escapes.
std::string Unquote(std::string_view value) {
  char quote = '\0';
  if (value.size() >= 2 && (value.front() == '"' || value.front() == '\'') && value.back() == value.front()) {
    quote = value.front();
    value = value.substr(1, value.size() - 2);
  }
  std::string out;
  for (size_t i = 0; i < value.size(); ++i) {
    if (quote != '\'' && value[i] == '\\' && i + 1 < value.size()) ++i;
    out.push_back(value[i]);
  }
  return out;
}

void ParseOsRelease(std::string_view text, event::v1::Host* host) {
  while (!text.empty()) {
    const size_t newline = text.find('\n');
    const std::string_view line = text.substr(0, newline);
    text.remove_prefix(newline == std::string_view::npos ? text.size() : newline + 1);
    const size_t equals = line.find('=');
    if (equals == std::string_view::npos) continue;
    const std::string_view key = line.substr(0, equals);
    const std::string value = Unquote(line.substr(equals + 1));
    if (key == "ID") host->set_os_id(value);
    if (key == "VERSION_ID") host->set_os_version(value);
    if (key == "PRETTY_NAME") host->set_os_name(value);
  }
}

// The id itself is confidential (machine-id(5)); only its hash leaves the node.
std::string MachineIdHash(const std::string& id) {
  if (id.empty()) return {};
  const std::string input = "nodetrail-machine-id\n" + id;
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest;
  unsigned length = 0;
  NT_CHECK(EVP_Digest(input.data(), input.size(), digest.data(), &length, EVP_sha256(), nullptr) == 1);
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string out;
  for (unsigned i = 0; i < length; ++i) {
    out.push_back(kHex[digest[i] >> 4U]);
    out.push_back(kHex[digest[i] & 0xfU]);
  }
  return out;
}

// "none [integrity] confidentiality" -> "integrity".
std::string Chosen(const std::string& text) {
  const size_t open = text.find('[');
  const size_t close = text.find(']', open == std::string::npos ? 0 : open);
  if (open == std::string::npos || close == std::string::npos) return {};
  return text.substr(open + 1, close - open - 1);
}

}  // namespace

event::v1::Host ReadHost(const std::map<std::string, std::string>& labels, std::string_view agent_version,
                         const std::string& root) {
  event::v1::Host host;
  utsname name{};
  if (::uname(&name) == 0) {
    host.set_hostname(name.nodename);
    host.set_kernel_release(name.release);
    host.set_kernel_version(name.version);
    host.set_arch(name.machine);
  }
  std::string os = ReadTrimmed(root + "/etc/os-release");
  if (os.empty()) os = ReadTrimmed(root + "/usr/lib/os-release");
  ParseOsRelease(os, &host);
  host.set_machine_id_hash(MachineIdHash(ReadTrimmed(root + "/etc/machine-id")));
  host.set_boot_id(ReadTrimmed(root + "/proc/sys/kernel/random/boot_id"));
  host.set_lsm(ReadTrimmed(root + "/sys/kernel/security/lsm"));
  host.set_lockdown(Chosen(ReadTrimmed(root + "/sys/kernel/security/lockdown")));
  host.set_clock_source(ReadTrimmed(root + "/sys/devices/system/clocksource/clocksource0/current_clocksource"));
  host.set_agent_version(std::string(agent_version));
  for (const auto& [key, value] : labels) (*host.mutable_labels())[key] = value;
  const long cpus = ::sysconf(_SC_NPROCESSORS_ONLN);
  host.set_cpus(cpus > 0 ? static_cast<uint32_t>(cpus) : 0);
  return host;
}

}  // namespace nodetrail::agent

// SPDX-License-Identifier: Apache-2.0
#include "agent/own_paths.h"

#include <filesystem>
#include <string_view>
#include <system_error>

#include "nodetrail/base/fd.h"

namespace nodetrail::agent {
namespace {

// Of the unified hierarchy, "0::/system.slice/x"; empty: none, or the root.
std::string OwnCgroup() {
  const auto text = ReadFile("/proc/self/cgroup", 65536);
  if (!text.ok()) return {};
  const size_t at = text->find("0::/");
  if (at == std::string::npos) return {};
  std::string path = text->substr(at + 3);
  path.resize(path.find('\n') == std::string::npos ? path.size() : path.find('\n'));
  return path == "/" ? std::string() : "/sys/fs/cgroup" + path;
}

}  // namespace

std::vector<OwnPath> OwnPathsOf(const config::v1::AgentConfig& config, const std::string& config_file,
                                const std::string& canary_program) {
  std::vector<OwnPath> out;
  const auto add = [&out](std::string_view object, const std::string& path, bool tree = false) {
    if (path.empty()) return;
    std::error_code error;
    const std::filesystem::path real = std::filesystem::weakly_canonical(path, error);
    out.push_back({std::string(object), error ? path : real.string(), tree});
    // The link itself can be replaced, too.
    const std::string named = std::filesystem::absolute(path, error).lexically_normal().string();
    if (!error && named != out.back().path) out.push_back({std::string(object), named, tree});
  };
  add("config", config_file);
  add("state", config.state_dir(), true);
  add("spool", config.state_dir() + "/spool", true);
  add("state", config.status_socket());
  add("key", config.identity().key_file());
  add("key", config.ship().tls().key_file());
  add("config", config.identity().cert_file());
  add("config", config.ship().tls().cert_file());
  add("config", config.ship().tls().ca_file());
  add("config", config.ship().crl_file());
  add("config", config.ship().log_policy_file());
  add("executable", "/proc/self/exe");
  add("executable", canary_program);
  for (const char* folder : {"/etc/systemd/system/", "/run/systemd/system/", "/usr/lib/systemd/system/"}) {
    add("service", std::string(folder) + "nodetrail-agent.service");
    add("service", std::string(folder) + "nodetrail-agent.service.d", true);
  }
  if (const std::string cgroup = OwnCgroup(); !cgroup.empty()) {
    add("process", cgroup + "/cgroup.freeze");
    add("process", cgroup + "/cgroup.kill");
  }
  // /proc/self/exe names another program for everybody else.
  std::erase_if(out, [](const OwnPath& own) { return own.path.starts_with("/proc/"); });
  return out;
}

}  // namespace nodetrail::agent

// SPDX-License-Identifier: Apache-2.0
#include "agent/attribute/entry.h"

#include <array>
#include <utility>

#include "agent/attribute/process.h"

namespace nodetrail::agent {
namespace {

struct Broker {
  std::string_view name;  // of the file; ends in * for any that begin so
  EntryKind kind;
};

constexpr std::array kBrokers = {
    Broker{"sshd", EntryKind::kSsh},
    Broker{"sshd-session", EntryKind::kSsh},  // OpenSSH 9.8
    Broker{"sshd-auth", EntryKind::kSsh},     // OpenSSH 10.0
    Broker{"dropbear", EntryKind::kSsh},
    Broker{"login", EntryKind::kConsole},
    Broker{"agetty", EntryKind::kConsole},
    Broker{"getty", EntryKind::kConsole},
    Broker{"gdm-session-worker", EntryKind::kConsole},
    Broker{"sddm-helper", EntryKind::kConsole},
    Broker{"lightdm", EntryKind::kConsole},
    Broker{"cron", EntryKind::kCron},
    Broker{"crond", EntryKind::kCron},
    Broker{"anacron", EntryKind::kCron},
    Broker{"atd", EntryKind::kAt},
    Broker{"containerd-shim*", EntryKind::kContainer},
    Broker{"conmon", EntryKind::kContainer},
    Broker{"runc", EntryKind::kContainer},
    Broker{"runc_cloned:*", EntryKind::kContainer},  // the copy in memory that runc makes of itself
    Broker{"crun", EntryKind::kContainer},
    Broker{"lxc-start", EntryKind::kContainer},
    Broker{"lxc-attach", EntryKind::kContainer},
    Broker{"systemd-nspawn", EntryKind::kContainer},
    Broker{"systemd", EntryKind::kInit},
    Broker{"systemd-executor", EntryKind::kInit},  // systemd 255
};

bool Matches(std::string_view pattern, std::string_view name) {
  if (pattern.back() == '*') return name.starts_with(pattern.substr(0, pattern.size() - 1));
  return name == pattern;
}

}  // namespace

std::string_view EntryName(EntryKind kind) {
  switch (kind) {
    case EntryKind::kNone: return "";
    case EntryKind::kInit: return "init";
    case EntryKind::kSsh: return "ssh";
    case EntryKind::kConsole: return "console";
    case EntryKind::kCron: return "cron";
    case EntryKind::kAt: return "at";
    case EntryKind::kContainer: return "container";
  }
  return "";
}

EntryKind BrokerOf(const Image* image, uint32_t tgid) {
  if (image == nullptr) return EntryKind::kNone;
  if (tgid == 1) return EntryKind::kInit;
  if (!image->has_file || image->file.uid != 0) return EntryKind::kNone;
  std::string_view name = image->exe;
  // "/memfd:runc_cloned:/proc/self/exe" has slashes of its own.
  if (constexpr std::string_view kMemfd = "memfd:"; name.find(kMemfd) <= 1) {
    name.remove_prefix(name.find(kMemfd) + kMemfd.size());
  } else {
    name.remove_prefix(name.rfind('/') + 1);
  }
  for (const Broker& broker : kBrokers) {
    if (Matches(broker.name, name)) return broker.kind;
  }
  return EntryKind::kNone;
}

}  // namespace nodetrail::agent

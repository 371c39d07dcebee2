// SPDX-License-Identifier: Apache-2.0
#include "nodetrail/schema/labels.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <google/protobuf/descriptor.h>

#include <array>
#include <map>
#include <mutex>
#include <utility>

namespace nodetrail::schema {
namespace {

namespace ev = event::v1;

// Labels by number, read once from the descriptor.
std::map<int, std::string> LabelsOf(const google::protobuf::EnumDescriptor* descriptor) {
  std::map<int, std::string> out;
  for (int i = 0; i < descriptor->value_count(); ++i) {
    const auto* value = descriptor->value(i);
    out[value->number()] = value->options().GetExtension(ev::label);
  }
  return out;
}

std::string_view LabelOf(const std::map<int, std::string>& labels, int value, std::string_view prefix) {
  const auto it = labels.find(value);
  if (it != labels.end() && !it->second.empty()) return it->second;
  // A value from a newer agent. Kept for the life of the program: the set is
  // bounded by what a record can hold that decodes, and each is one short string.
  static std::mutex mutex;
  static std::map<std::pair<std::string, int>, std::string> unknown;
  const std::lock_guard lock(mutex);
  auto& text = unknown[{std::string(prefix), unknown.size() < 1024 ? value : -1}];
  if (text.empty()) text = fmt::format("{}.{}", prefix, value);
  return text;
}

const google::protobuf::EnumValueOptions* KindOptions(ev::Kind kind) {
  const auto* value = ev::Kind_descriptor()->FindValueByNumber(kind);
  return value == nullptr ? nullptr : &value->options();
}

}  // namespace

std::string_view KindLabel(ev::Kind kind) {
  static const auto kLabels = LabelsOf(ev::Kind_descriptor());
  return LabelOf(kLabels, kind, "kind");
}

std::optional<ev::Kind> ParseKind(std::string_view label) {
  for (const ev::Kind kind : AllKinds()) {
    if (KindLabel(kind) == label) return kind;
  }
  return std::nullopt;
}

std::string_view KindSummary(ev::Kind kind) {
  const auto* options = KindOptions(kind);
  if (options == nullptr) return {};
  return options->GetExtension(ev::summary);
}

uint32_t KindOcsfClass(ev::Kind kind) {
  const auto* options = KindOptions(kind);
  return options == nullptr ? 0 : options->GetExtension(ev::ocsf_class);
}

bool KindIsCritical(ev::Kind kind) {
  const auto* options = KindOptions(kind);
  return options != nullptr && options->GetExtension(ev::critical);
}

bool KindIsConnection(ev::Kind kind) {
  return kind == ev::KIND_NET_CONNECT || kind == ev::KIND_NET_ACCEPT || kind == ev::KIND_NET_CLOSE;
}

const std::vector<ev::Kind>& AllKinds() {
  static const auto kKinds = [] {
    std::vector<ev::Kind> out;
    const auto* descriptor = ev::Kind_descriptor();
    for (int i = 0; i < descriptor->value_count(); ++i) {
      if (descriptor->value(i)->number() != 0) out.push_back(static_cast<ev::Kind>(descriptor->value(i)->number()));
    }
    return out;
  }();
  return kKinds;
}

std::string_view CredCauseLabel(ev::CredCause cause) {
  static const auto kLabels = LabelsOf(ev::CredCause_descriptor());
  return LabelOf(kLabels, cause, "cause");
}

std::string_view PathSourceLabel(ev::PathSource source) {
  static const auto kLabels = LabelsOf(ev::PathSource_descriptor());
  return LabelOf(kLabels, source, "path_source");
}

std::string CapabilityName(unsigned bit) {
  static constexpr std::array<std::string_view, 41> kNames = {"CHOWN",
                                                              "DAC_OVERRIDE",
                                                              "DAC_READ_SEARCH",
                                                              "FOWNER",
                                                              "FSETID",
                                                              "KILL",
                                                              "SETGID",
                                                              "SETUID",
                                                              "SETPCAP",
                                                              "LINUX_IMMUTABLE",
                                                              "NET_BIND_SERVICE",
                                                              "NET_BROADCAST",
                                                              "NET_ADMIN",
                                                              "NET_RAW",
                                                              "IPC_LOCK",
                                                              "IPC_OWNER",
                                                              "SYS_MODULE",
                                                              "SYS_RAWIO",
                                                              "SYS_CHROOT",
                                                              "SYS_PTRACE",
                                                              "SYS_PACCT",
                                                              "SYS_ADMIN",
                                                              "SYS_BOOT",
                                                              "SYS_NICE",
                                                              "SYS_RESOURCE",
                                                              "SYS_TIME",
                                                              "SYS_TTY_CONFIG",
                                                              "MKNOD",
                                                              "LEASE",
                                                              "AUDIT_WRITE",
                                                              "AUDIT_CONTROL",
                                                              "SETFCAP",
                                                              "MAC_OVERRIDE",
                                                              "MAC_ADMIN",
                                                              "SYSLOG",
                                                              "WAKE_ALARM",
                                                              "BLOCK_SUSPEND",
                                                              "AUDIT_READ",
                                                              "PERFMON",
                                                              "BPF",
                                                              "CHECKPOINT_RESTORE"};
  if (bit < kNames.size()) return fmt::format("CAP_{}", kNames[bit]);
  return fmt::format("CAP_{}", bit);
}

std::string OpenFlagsText(uint32_t flags) {
  static constexpr std::array<std::pair<uint32_t, std::string_view>, 13> kFlags = {
      {{O_CREAT, "O_CREAT"},
       {O_EXCL, "O_EXCL"},
       {O_NOCTTY, "O_NOCTTY"},
       {O_TRUNC, "O_TRUNC"},
       {O_APPEND, "O_APPEND"},
       {O_NONBLOCK, "O_NONBLOCK"},
       {O_DIRECTORY, "O_DIRECTORY"},
       {O_NOFOLLOW, "O_NOFOLLOW"},
       {O_CLOEXEC, "O_CLOEXEC"},
       {O_ASYNC, "O_ASYNC"},
       // O_DIRECT, O_NOATIME, O_PATH (GNU names)
       {040000, "O_DIRECT"},
       {01000000, "O_NOATIME"},
       {010000000, "O_PATH"}}};
  static constexpr std::array<std::string_view, 4> kAccess = {"O_RDONLY", "O_WRONLY", "O_RDWR", "O_ACCMODE"};
  std::string out(kAccess[flags & 3U]);
  uint32_t rest = flags & ~3U;
  // O_SYNC holds the O_DSYNC bit, O_TMPFILE the O_DIRECTORY bit.
  if ((rest & 04010000U) == 04010000U) {
    out += "|O_SYNC";
    rest &= ~04010000U;
  } else if ((rest & 010000U) != 0) {
    out += "|O_DSYNC";
    rest &= ~010000U;
  }
  if ((rest & 020200000U) == 020200000U) {
    out += "|O_TMPFILE";
    rest &= ~020200000U;
  }
  for (const auto& [bit, name] : kFlags) {
    if ((rest & bit) != 0) {
      out += "|";
      out += name;
      rest &= ~bit;
    }
  }
  rest &= ~0100000U;  // O_LARGEFILE says nothing
  if (rest != 0) out += fmt::format("|0{:o}", rest);
  return out;
}

}  // namespace nodetrail::schema

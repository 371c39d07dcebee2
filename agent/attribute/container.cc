// SPDX-License-Identifier: Apache-2.0
#include "agent/attribute/container.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <utility>
#include <vector>

namespace nodetrail::agent {
namespace {

bool IsHex(std::string_view s) {
  return std::all_of(s.begin(), s.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}
bool IsDigits(std::string_view s) {
  return !s.empty() && std::all_of(s.begin(), s.end(), [](char c) { return c >= '0' && c <= '9'; });
}
bool IsHexId(std::string_view s) { return s.size() == 64 && IsHex(s); }

bool TakePrefix(std::string_view* s, std::string_view prefix) {
  if (!s->starts_with(prefix)) return false;
  s->remove_prefix(prefix.size());
  return true;
}
bool TakeSuffix(std::string_view* s, std::string_view suffix) {
  if (!s->ends_with(suffix)) return false;
  s->remove_suffix(suffix.size());
  return true;
}

// Amazon ECS names containers <32 hex task>-<digits>.
bool IsEcsId(std::string_view s) {
  return s.size() > 33 && IsHex(s.substr(0, 32)) && s[32] == '-' && IsDigits(s.substr(33));
}

// systemd spells '-' within a name as \x2d.
std::string Unescape(std::string_view s) {
  std::string out;
  for (size_t i = 0; i < s.size(); ++i) {
    if (s.substr(i).starts_with("\\x2d")) {
      out.push_back('-');
      i += 3;
    } else {
      out.push_back(s[i]);
    }
  }
  return out;
}

// "pod<uid>" at the end of a component, dashes maybe written as underscores;
// a static pod has 32 hex digits instead.
std::string PodUid(std::string_view component) {
  TakeSuffix(&component, ".slice");
  const size_t at = component.rfind("pod");
  if (at == std::string_view::npos || (at > 0 && component[at - 1] != '-')) return {};
  std::string uid(component.substr(at + 3));
  std::replace(uid.begin(), uid.end(), '_', '-');
  if (uid.size() == 32 && IsHex(uid)) return uid;
  constexpr std::array<size_t, 4> kDashes = {8, 13, 18, 23};
  if (uid.size() != 36) return {};
  for (size_t i = 0; i < uid.size(); ++i) {
    const bool dash = std::find(kDashes.begin(), kDashes.end(), i) != kDashes.end();
    if (dash ? uid[i] != '-' : !IsHex(std::string_view(uid).substr(i, 1))) return {};
  }
  return uid;
}

struct Spelling {
  std::string_view prefix;
  std::string_view runtime;
};

// "<prefix>-<64 hex>", as systemd scopes and some cgroupfs directories have it.
constexpr std::array<Spelling, 9> kSpellings = {{
    {"docker", "docker"},
    {"cri-containerd", "containerd"},
    {"containerd", "containerd"},
    {"nerdctl", "containerd"},
    {"crio", "cri-o"},
    {"cri-o", "cri-o"},
    {"libpod", "podman"},
    {"podman", "podman"},
    {"k8s.io", "containerd"},
}};

std::string_view RuntimeOf(std::string_view prefix) {
  for (const Spelling& s : kSpellings) {
    if (s.prefix == prefix) return s.runtime;
  }
  return {};
}

// The runtime that a directory above a bare id speaks of.
std::string_view RuntimeOfParent(std::string_view parent) {
  if (parent == "docker" || parent == "moby") return "docker";
  if (parent == "libpod_parent" || parent == "libpod") return "podman";
  if (parent == "crio" || parent == "cri-o") return "cri-o";
  if (parent == "default" || parent == "k8s.io" || parent == "containerd" || parent == "nerdctl") return "containerd";
  return {};
}

bool MatchComponent(std::string_view name, std::string_view parent, std::string_view grandparent, ContainerRef* out) {
  // containerd under a systemd unit, cgroupfs driver: "kubepods-…-pod<uid>.slice:cri-containerd:<id>".
  if (const size_t colon = name.rfind(':'); colon != std::string_view::npos) {
    const std::string_view id = name.substr(colon + 1);
    std::string_view rest = name.substr(0, colon);
    const size_t before = rest.rfind(':');
    if (!IsHexId(id) || before == std::string_view::npos) return false;
    out->id = id;
    out->runtime = RuntimeOf(rest.substr(before + 1));
    out->pod_uid = PodUid(rest.substr(0, before));
    return true;
  }
  if (IsHexId(name)) {
    out->id = name;
    out->runtime = RuntimeOfParent(parent);
    return true;
  }
  if (IsEcsId(name)) {
    out->id = name;
    return true;
  }
  if (std::string_view rest = name; TakePrefix(&rest, "lxc.payload.") && !rest.empty()) {
    out->id = rest;
    out->runtime = "lxc";
    return true;
  }
  if ((parent == "lxc" || parent == "lxc.payload") && grandparent != "lxc") {
    out->id = name;
    out->runtime = "lxc";
    return true;
  }
  if (std::string_view rest = name; TakePrefix(&rest, "systemd-nspawn@") && TakeSuffix(&rest, ".service")) {
    out->id = Unescape(rest);
    out->runtime = "nspawn";
    return true;
  }
  std::string_view rest = name;
  const bool scope = TakeSuffix(&rest, ".scope");
  if (scope && parent == "machine.slice" && TakePrefix(&rest, "machine-")) {
    const std::string machine = Unescape(rest);
    // libvirt registers its guests with the same slice: virtual machines, not containers.
    if (machine.starts_with("qemu-") || machine.starts_with("lxc-")) return false;
    out->id = machine;
    out->runtime = "nspawn";
    return true;
  }
  const size_t dash = rest.rfind('-');
  if (dash == std::string_view::npos || !IsHexId(rest.substr(dash + 1))) return false;
  const std::string_view prefix = rest.substr(0, dash);
  if (prefix.ends_with("conmon")) return false;
  const std::string_view runtime = RuntimeOf(prefix);
  if (runtime.empty() && !scope) return false;
  out->id = rest.substr(dash + 1);
  out->runtime = runtime;
  return true;
}

}  // namespace

ContainerRef ParseContainer(std::string_view path) {
  std::vector<std::string_view> parts;
  while (!path.empty()) {
    const size_t slash = path.find('/');
    if (slash != 0) parts.push_back(path.substr(0, slash));
    if (slash == std::string_view::npos) break;
    path.remove_prefix(slash + 1);
  }
  ContainerRef out;
  for (size_t i = parts.size(); i-- > 0;) {
    const std::string_view parent = i > 0 ? parts[i - 1] : std::string_view();
    const std::string_view grandparent = i > 1 ? parts[i - 2] : std::string_view();
    ContainerRef found;
    if (out.id.empty() && MatchComponent(parts[i], parent, grandparent, &found)) {
      const std::string pod = std::move(out.pod_uid);
      out = std::move(found);
      if (out.pod_uid.empty()) out.pod_uid = pod;
    }
    if (out.pod_uid.empty()) out.pod_uid = PodUid(parts[i]);
  }
  return out;
}

}  // namespace nodetrail::agent

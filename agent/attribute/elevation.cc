// SPDX-License-Identifier: Apache-2.0
#include "agent/attribute/elevation.h"

#include <sys/stat.h>

#include <utility>

#include "agent/attribute/process.h"

namespace nodetrail::agent {
namespace {

constexpr uint32_t kNobodyLoggedIn = 0xffffffffU;

Elevation Link(const ElevationActor& actor, ElevationCause cause, uint32_t from, uint32_t to) {
  Elevation link;
  link.process = actor.process;
  link.cause = actor.from_proc ? ElevationCause::kUnknown : cause;
  link.from_uid = from;
  link.to_uid = to;
  link.from_proc = actor.from_proc;
  if (actor.image == nullptr) return link;
  const Image& image = *actor.image;
  link.tool = image.exe;
  link.boot_ns = image.exec_boot_ns;
  link.image_id = image.id;
  size_t room = kMaxElevationCommand;
  link.command_truncated = image.argv_truncated;
  for (size_t i = 1; i < image.argv.size(); ++i) {
    if (link.command.size() == kMaxElevationArgs || image.argv[i].size() > room) {
      link.command_truncated = true;
      break;
    }
    room -= image.argv[i].size();
    link.command.push_back(image.argv[i]);
  }
  return link;
}

ElevationChain With(const ElevationChain& chain, Elevation link) {
  auto out =
      chain == nullptr ? std::make_shared<std::vector<Elevation>>() : std::make_shared<std::vector<Elevation>>(*chain);
  if (out->size() == kMaxElevations) out->erase(out->begin() + 1);
  out->push_back(std::move(link));
  return out;
}

ElevationChain WithoutLast(const ElevationChain& chain) {
  if (chain->size() == 1) return nullptr;
  return std::make_shared<std::vector<Elevation>>(chain->begin(), chain->end() - 1);
}

bool LastIs(const ElevationChain& chain, const Image* image) {
  return chain != nullptr && image != nullptr && image->id != 0 && chain->back().image_id == image->id;
}

}  // namespace

bool IsSetuidFile(const Image* image) {
  return image != nullptr && image->has_file && (image->file.mode & S_ISUID) != 0;
}

ElevationChain AfterSwitch(const ElevationChain& chain, const ElevationActor& actor, uint32_t from, uint32_t to) {
  if (from == to) return chain;
  if (LastIs(chain, actor.image)) {
    Elevation link = chain->back();
    const ElevationChain before = WithoutLast(chain);
    // Back to where it came from: passed nobody.
    if (link.from_uid == to && link.cause == ElevationCause::kCall) return before;
    link.to_uid = to;
    return With(before, std::move(link));
  }
  const bool setuid_file = IsSetuidFile(actor.image);
  if (!setuid_file) {
    if (actor.loginuid == kNobodyLoggedIn) return chain;
    if (chain == nullptr && to == actor.loginuid) return chain;
  }
  if (setuid_file || from == 0 || actor.may_setuid) return With(chain, Link(actor, ElevationCause::kCall, from, to));
  // This image could not: the exec of the one that did was not seen.
  return With(chain, Link({.process = actor.process, .from_proc = true}, ElevationCause::kUnknown, from, to));
}

ElevationChain AfterExec(const ElevationChain& chain, const ElevationActor& actor, const nt_cred& before,
                         const nt_cred& after) {
  if (after.euid != before.euid && after.euid != after.uid) {
    return With(chain, Link(actor, ElevationCause::kSetuidFile, before.uid, after.euid));
  }
  // Root gets its capabilities back at each exec; that passes nobody.
  const uint64_t added = after.cap_permitted & ~before.cap_permitted;
  if (added != 0 && after.euid != 0 && after.userns_inum == before.userns_inum) {
    Elevation link = Link(actor, ElevationCause::kCapabilities, after.uid, after.euid);
    link.added_caps = added;
    return With(chain, std::move(link));
  }
  if (chain == nullptr || chain->back().cause == ElevationCause::kCall) return chain;
  const Elevation& last = chain->back();
  const bool as_before = after.uid == last.from_uid && after.euid == last.from_uid;
  const bool keeps_caps = (after.cap_permitted & last.added_caps) != 0;
  return as_before && !keeps_caps ? WithoutLast(chain) : chain;
}

}  // namespace nodetrail::agent

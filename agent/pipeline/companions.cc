// SPDX-License-Identifier: Apache-2.0
#include "agent/pipeline/companions.h"

#include <sys/stat.h>

#include <algorithm>
#include <utility>

namespace nodetrail::agent {

std::optional<nt_file> ProbeFile(const std::string& path) {
  struct stat st {};
  if (::stat(path.c_str(), &st) != 0) return std::nullopt;
  nt_file file{};
  file.dev = st.st_dev;
  file.ino = st.st_ino;
  file.mode = st.st_mode;
  file.uid = st.st_uid;
  file.gid = st.st_gid;
  file.flags = NT_FILE_VALID;
  return file;
}

Companions::Companions(const config::v1::AgentConfig::Capture& config, ProcReader* proc, NameResolver* names,
                       FileProbe probe)
    : proc_(proc), names_(names), probe_(std::move(probe)) {
  for (const auto& companion : config.companions()) paths_.push_back(companion.exe());
}

bool Companions::Is(const Process& process) const {
  if (paths_.empty() || process.image == nullptr || !process.image->has_file) return false;
  const Image& image = *process.image;
  if (std::find(paths_.begin(), paths_.end(), image.exe) == paths_.end()) return false;
  if (process.cred.uid != process.cred.euid) return false;
  if (process.cred.uid != 0) {
    const NameAnswer user = names_->User(process.cred.uid);
    if (user.state != NameState::kKnown || !user.name.starts_with("nodetrail")) return false;
  }
  const std::optional<nt_file> there = probe_(image.exe);
  constexpr uint32_t kOthersWrite = S_IWGRP | S_IWOTH;
  if (!there || there->uid != 0 || (there->mode & kOthersWrite) != 0 || !S_ISREG(there->mode)) return false;
  if (there->ino != image.file.ino) return false;
  if (there->dev == image.file.dev) return true;
  // Where the file system shows stat(2) another device than the kernel holds
  // (overlay, btrfs), the running file is asked the same way as the path.
  const Result<ProcInfo> running = proc_->Read(process.tgid, ProcDetail::kMinimal);
  return running.ok() && running->has_file && running->file.dev == there->dev && running->file.ino == there->ino &&
         running->start_boot_ns / proc_->TickNs() == process.start_boot_ns / proc_->TickNs();
}

}  // namespace nodetrail::agent

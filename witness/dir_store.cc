// SPDX-License-Identifier: Apache-2.0
#include "witness/dir_store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

#include "nodetrail/base/log.h"

namespace nodetrail::witness {
namespace {

constexpr std::string_view kMagic = "nodetrail-witness-state 1\n";
constexpr std::string_view kSum = "sha256 ";
constexpr size_t kSumLine = kSum.size() + 64 + 1;
constexpr size_t kMaxStateBytes = kMaxRequestBytes + 1024;
constexpr size_t kMaxForks = 16;

std::string HashOf(const std::string& origin) { return trail::Hex(trail::Sha256Of(origin)); }

// The record in the bytes of a state file; what is wrong with them, otherwise.
Result<Record> ParseState(std::string_view bytes, const std::string& origin) {
  if (!bytes.starts_with(kMagic)) return DataLoss("it is not a state file of this version");
  bytes.remove_prefix(kMagic.size());
  if (bytes.size() < kSumLine || !bytes.starts_with(kSum) || bytes[kSumLine - 1] != '\n') {
    return DataLoss("it has no checksum");
  }
  const std::string_view note = bytes.substr(kSumLine);
  if (bytes.substr(kSum.size(), 64) != trail::Hex(trail::Sha256Of(note))) {
    return DataLoss("its checksum does not match");
  }
  NT_ASSIGN_OR_RETURN(const trail::Note parsed, trail::ParseNote(note));
  NT_ASSIGN_OR_RETURN(const trail::Checkpoint checkpoint, trail::ParseCheckpointBody(parsed.text));
  if (checkpoint.origin != origin) return DataLoss(fmt::format("it is of the log {}", checkpoint.origin));
  return Record{checkpoint.size, checkpoint.root, std::string(note)};
}

}  // namespace

Result<std::unique_ptr<DirStore>> DirStore::Open(std::string dir) {
  NT_RETURN_IF_ERROR(MakeDirectories(dir, 0700));
  const std::string lock_path = dir + "/LOCK";
  NT_ASSIGN_OR_RETURN(UniqueFd lock, OpenFd(lock_path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return ErrnoStatus(errno, fmt::format("flock {}", lock_path));
    return FailedPrecondition(
        fmt::format("state_dir: {}: another nodetrail-witness runs on it; stop it, or set another state_dir", dir));
  }
  return std::unique_ptr<DirStore>(new DirStore(std::move(dir), std::move(lock)));
}

std::string DirStore::StatePath(const std::string& origin) const {
  return fmt::format("{}/{}.state", dir_, HashOf(origin));
}

Result<Record> DirStore::Load(const std::string& origin) {
  const std::string path = StatePath(origin);
  auto fd = OpenFd(path, O_RDONLY | O_NOFOLLOW);
  if (!fd.ok()) {
    if (fd.status().code() == Code::kNotFound) return Record{};
    return fd.status();
  }
  // A witness that died between rename and fsync left a record that a power cut
  // could still undo, after it was acted upon.
  if (::fsync(fd->get()) != 0) return ErrnoStatus(errno, fmt::format("fsync {}", path));
  NT_RETURN_IF_ERROR(FsyncDirectory(dir_));
  NT_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path, kMaxStateBytes));
  auto record = ParseState(bytes, origin);
  if (record.ok()) return record;
  return DataLoss(fmt::format(
      "{}: {}. This file is the witness's memory of the log {}; without it the witness could cosign a fork, so it "
      "does not start. Get the newest checkpoint of that log which carries this witness's cosignature (from the "
      "log, an agent, an auditor) and run: nodetrail-witness restore CHECKPOINT --config FILE",
      path, record.status().message(), origin));
}

Status DirStore::Save(const std::string& origin, const Record& record) {
  return WriteFileAtomically(
      StatePath(origin), fmt::format("{}{}{}\n{}", kMagic, kSum, trail::Hex(trail::Sha256Of(record.note)), record.note),
      0600);
}

void DirStore::KeepFork(const std::string& origin, const Record& known, const Record& other) {
  const std::string prefix = HashOf(origin) + "-";
  const std::string name = fmt::format("{}{}-{}.fork", prefix, other.size, trail::Hex(other.root).substr(0, 16));
  size_t there = 0;
  std::error_code error;
  for (std::filesystem::directory_iterator at(dir_, error), end; !error && at != end; at.increment(error)) {
    const std::string file = at->path().filename().string();
    if (file == name) return;
    if (file.starts_with(prefix)) ++there;
  }
  if (error || there >= kMaxForks) return;
  const Status kept = WriteFileAtomically(dir_ + "/" + name, known.note + "\n" + other.note, 0600);
  if (!kept.ok()) log::Error(fmt::format("a fork of {} can't be kept: {}", origin, kept.message()));
}

}  // namespace nodetrail::witness

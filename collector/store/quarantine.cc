// SPDX-License-Identifier: Apache-2.0
#include "collector/store/quarantine.h"

#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>
#include <system_error>

#include "nodetrail/base/fd.h"
#include "nodetrail/trail/crypto.h"

namespace nodetrail::collector {

Result<std::unique_ptr<Quarantine>> Quarantine::Open(const std::string& dir, const QuarantineLimits& limits) {
  NT_RETURN_IF_ERROR(MakeDirectories(dir, 0750));
  std::unique_ptr<Quarantine> out(new Quarantine(dir, limits));
  std::error_code ec;
  std::filesystem::directory_iterator it(dir, ec);
  if (ec) return ErrnoStatus(ec.value(), fmt::format("quarantine: read {}", dir));
  for (const std::filesystem::directory_iterator end; it != end; it.increment(ec)) {
    if (ec) return ErrnoStatus(ec.value(), fmt::format("quarantine: read {}", dir));
    std::error_code size_error;
    const uint64_t size = it->is_regular_file(size_error) ? it->file_size(size_error) : 0;
    const std::string name = it->path().filename().string();
    // <agent>-<digest>.<what>; an agent id may have dashes of its own.
    out->Count(name.substr(0, name.rfind('-')), 1, size_error ? 0 : size);
    if (it->path().extension() == ".reason") ++out->batches_;
  }
  return out;
}

void Quarantine::Count(std::string_view agent_id, uint64_t files, uint64_t bytes) {
  Usage& agent = agents_[std::string(agent_id)];
  for (Usage* usage : {&all_, &agent}) {
    usage->files += files;
    usage->bytes += bytes;
  }
}

bool Quarantine::Fits(std::string_view agent_id, uint64_t files, uint64_t bytes) const {
  const auto within = [&](const Usage& used, uint64_t part) {
    return used.files + files <= limits_.max_files / part && used.bytes + bytes <= limits_.max_bytes / part;
  };
  const auto agent = agents_.find(agent_id);
  return within(all_, 1) && (within(all_, 2) || within(agent == agents_.end() ? Usage() : agent->second, 4));
}

Status Quarantine::Keep(std::string_view agent_id, std::string_view leaf, std::string_view body,
                        std::string_view reason) {
  NT_ASSIGN_OR_RETURN(const bool kept, TryKeep(agent_id, leaf, body, reason));
  if (!kept) ++dropped_;
  return OkStatus();
}

Result<bool> Quarantine::TryKeep(std::string_view agent_id, std::string_view leaf, std::string_view body,
                                 std::string_view reason) {
  const std::string digest = trail::Hex(trail::Sha256Of({leaf, body})).substr(0, 16);
  const std::string base = fmt::format("{}/{}-{}", dir_, agent_id, digest);
  if (::access((base + ".reason").c_str(), F_OK) == 0) return true;
  const uint64_t bytes = leaf.size() + body.size() + reason.size() + 1;
  if (!Fits(agent_id, 3, bytes)) return false;
  NT_RETURN_IF_ERROR(WriteFileAtomically(base + ".leaf", leaf, 0640));
  if (!body.empty()) NT_RETURN_IF_ERROR(WriteFileAtomically(base + ".body", body, 0640));
  NT_RETURN_IF_ERROR(WriteFileAtomically(base + ".reason", fmt::format("{}\n", reason), 0640));
  Count(agent_id, body.empty() ? 2U : 3U, bytes);
  ++batches_;
  return true;
}

}  // namespace nodetrail::collector

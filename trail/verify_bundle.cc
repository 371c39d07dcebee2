// SPDX-License-Identifier: Apache-2.0
#include "trail/verify_bundle.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <system_error>
#include <utility>

#include "nodetrail/trail/receipt.h"

namespace nodetrail::trail {
namespace {

constexpr const char* kManifestFile = "manifest.json";
constexpr const char* kSumFile = "manifest.sha256";
constexpr const char* kReceiptsDir = "receipts";

// The file is there and not what it should be: no matter of the verifier's.
bool IsEvidence(Code code) {
  return code == Code::kNotFound || code == Code::kDataLoss || code == Code::kResourceExhausted ||
         code == Code::kInvalidArgument;
}

}  // namespace

void BundleCheck::Wrong(std::string_view reason, std::string text, std::string file) {
  findings_->Add(FindingKind::kTamper, reason, std::move(text), {}, nullptr, std::move(file));
}

Status BundleCheck::Read() {
  if (!reader_->is_bundle()) return OkStatus();
  const auto text = reader_->BundleFile(kManifestFile, kMaxManifestBytes);
  if (!text.ok()) {
    if (!IsEvidence(text.status().code())) return text.status();
    Wrong(reason::kBundle, std::string(text.status().message()), kManifestFile);
    return OkStatus();
  }
  const auto sum = reader_->BundleFile(kSumFile, kMaxManifestBytes);
  if (!sum.ok()) {
    if (!IsEvidence(sum.status().code())) return sum.status();
    Wrong(reason::kBundle, std::string(sum.status().message()), kSumFile);
    return OkStatus();
  }
  if (*sum != ManifestSum(*text)) {
    Wrong(reason::kBundle, "the manifest is not the one that was written: its hash is another", kManifestFile);
    return OkStatus();
  }
  auto manifest = ParseManifest(*text);
  if (!manifest.ok()) {
    Wrong(reason::kBundle, std::string(manifest.status().message()), kManifestFile);
    return OkStatus();
  }
  manifest_ = *std::move(manifest);
  return OkStatus();
}

Status BundleCheck::ReadReceipts(const std::function<void(const std::string&, std::string_view)>& take) {
  if (!reader_->is_bundle()) return OkStatus();
  std::set<std::string> names;
  const std::filesystem::path dir = std::filesystem::path(reader_->dir()) / kReceiptsDir;
  std::error_code error;
  for (std::filesystem::directory_iterator it(dir, error), end; !error && it != end; it.increment(error)) {
    names.insert(it->path().filename().string());
    if (names.size() > kMaxBundleReceipts) {
      Wrong(reason::kReceipt, "more than 10,000 receipts", kReceiptsDir);
      return OkStatus();
    }
  }
  if (error && error != std::errc::no_such_file_or_directory && error != std::errc::not_a_directory) {
    return ErrnoStatus(error.value(), fmt::format("list {}", dir.string()));
  }
  if (error == std::errc::not_a_directory) Wrong(reason::kReceipt, "not a directory", kReceiptsDir);
  for (const std::string& name : names) {
    const std::string file = fmt::format("{}/{}", kReceiptsDir, name);
    if (!ValidReceiptFile(name)) {
      Wrong(reason::kReceipt, "not the name of a receipt's file", fmt::format("{}/…", kReceiptsDir));
      continue;
    }
    const auto text = reader_->BundleFile(file, kMaxReceiptBytes);
    if (text.ok()) {
      take(file, *text);
    } else if (IsEvidence(text.status().code())) {
      Wrong(reason::kReceipt, std::string(text.status().message()), file);
    } else {
      return text.status();
    }
  }
  if (manifest_ && names.size() != manifest_->receipts) {
    Wrong(reason::kBundle,
          fmt::format("the manifest says {} receipts, there are {}", manifest_->receipts, names.size()), kManifestFile);
  }
  return OkStatus();
}

BundleScope BundleCheck::scope() const {
  if (manifest_) return manifest_->scope;
  BundleScope out;
  if (reader_->is_bundle()) out.agents.emplace();
  return out;
}

void BundleCheck::Finish(const std::optional<Checkpoint>& checkpoint, uint64_t leaves, std::optional<uint64_t> bodies,
                         const VerifyReport& report) {
  if (!reader_->is_bundle()) return;
  if (!report.checkpoint_present) Wrong(reason::kCheckpoint, "the bundle has no checkpoint", "log/checkpoint");
  if (checkpoint && leaves > checkpoint->size) {
    Wrong(reason::kBundle,
          fmt::format("the bundle holds {} leaves, its checkpoint covers {}", leaves, checkpoint->size),
          "log/checkpoint");
  }
  if (!manifest_) return;
  if (checkpoint && checkpoint->origin != manifest_->origin) {
    Wrong(reason::kBundle,
          fmt::format("the manifest is of log {}, the checkpoint of {}", manifest_->origin, checkpoint->origin),
          kManifestFile);
  }
  if (checkpoint && checkpoint->size != manifest_->checkpoint_size) {
    Wrong(reason::kBundle,
          fmt::format("the manifest says {} leaves, the checkpoint {}", manifest_->checkpoint_size, checkpoint->size),
          kManifestFile);
  }
  if (bodies && *bodies != manifest_->bodies) {
    Wrong(reason::kBundle,
          fmt::format("the manifest says {} bodies, the log has {} in the scope", manifest_->bodies, *bodies),
          kManifestFile);
  }
  if (!manifest_->scope.agents) return;
  for (const std::string& id : *manifest_->scope.agents) {
    const bool known = std::any_of(report.agents.begin(), report.agents.end(),
                                   [&id](const AgentCoverage& agent) { return agent.agent_id == id; });
    if (!known) findings_->Note(fmt::format("the scope names agent {}, the log has no batch of it", id));
  }
}

}  // namespace nodetrail::trail

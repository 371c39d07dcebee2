// SPDX-License-Identifier: Apache-2.0
#include "nodetrail/trail/receipt.h"

#include <fmt/format.h>

#include <charconv>
#include <utility>

#include "nodetrail/base/guard.h"
#include "nodetrail/trail/merkle.h"

namespace nodetrail::trail {
namespace {

constexpr std::string_view kMagic = "c2sp.org/tlog-proof@v1";
constexpr std::string_view kIndex = "index ";

// The next line without its newline; false if there is none that ends in one.
bool TakeLine(std::string_view* text, std::string_view* line) {
  const size_t end = text->find('\n');
  if (end == std::string_view::npos) return false;
  *line = text->substr(0, end);
  text->remove_prefix(end + 1);
  return true;
}

}  // namespace

std::string FormatReceipt(uint64_t index, std::span<const Hash> path, std::string_view checkpoint) {
  NT_CHECK(path.size() <= kMaxReceiptPath);
  std::string out = fmt::format("{}\n{}{}\n", kMagic, kIndex, index);
  for (const Hash& hash : path) {
    out += Base64Encode(View(hash));
    out += '\n';
  }
  out += '\n';
  out += checkpoint;
  return out;
}

Result<Receipt> ParseReceipt(std::string_view text) {
  if (text.size() > kMaxReceiptBytes) return InvalidArgument("receipt: longer than 1 MiB");
  std::string_view line;
  if (!TakeLine(&text, &line) || line != kMagic) return InvalidArgument("receipt: not a tlog-proof, version 1");
  if (!TakeLine(&text, &line) || !line.starts_with(kIndex)) return InvalidArgument("receipt: no index line");
  line.remove_prefix(kIndex.size());
  Receipt out;
  const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), out.index);
  if (line.empty() || error != std::errc() || end != line.data() + line.size() || (line.size() > 1 && line[0] == '0')) {
    return InvalidArgument("receipt: the index is not a plain decimal number");
  }
  while (true) {
    if (!TakeLine(&text, &line)) return InvalidArgument("receipt: no empty line before the checkpoint");
    if (line.empty()) break;
    if (out.path.size() == kMaxReceiptPath) return InvalidArgument("receipt: more than 64 hashes");
    const auto bytes = Base64Decode(line);
    const auto hash = bytes.ok() ? HashFromBytes(*bytes) : std::nullopt;
    if (!hash) return InvalidArgument(fmt::format("receipt: line {} of the path is not a hash", out.path.size() + 1));
    out.path.push_back(*hash);
  }
  const auto note = ParseNote(text);
  if (!note.ok()) return Annotate(note.status(), "receipt");
  out.checkpoint = std::string(text);
  return out;
}

Result<PolicyVerdict> ExamineReceipt(const Hash& leaf_hash, const Receipt& receipt, const LogPolicy& policy) {
  auto verdict = policy.Examine(receipt.checkpoint);
  if (!verdict.ok()) return DataLoss(fmt::format("receipt: {}", verdict.status().message()));
  const Checkpoint& checkpoint = verdict->checkpoint;
  const Status included = VerifyInclusion(leaf_hash, receipt.index, checkpoint.size, receipt.path, checkpoint.root);
  if (NT_GUARD(receipt_path, !included.ok())) return DataLoss(fmt::format("receipt: {}", included.message()));
  return verdict;
}

Result<Checkpoint> VerifyReceipt(const Hash& leaf_hash, const Receipt& receipt, const LogPolicy& policy) {
  NT_ASSIGN_OR_RETURN(PolicyVerdict verdict, ExamineReceipt(leaf_hash, receipt, policy));
  if (!verdict.quorum) return FailedPrecondition(fmt::format("receipt: {}", verdict.shortfall));
  return std::move(verdict.checkpoint);
}

}  // namespace nodetrail::trail

// SPDX-License-Identifier: Apache-2.0
#include "collector/witness/protocol.h"

#include <fmt/format.h>

#include <charconv>

namespace nodetrail::collector {

std::string FormatAddCheckpoint(uint64_t old_size, std::span<const trail::Hash> proof, std::string_view note) {
  std::string out = fmt::format("old {}\n", old_size);
  for (const trail::Hash& hash : proof) out += trail::Base64Encode(trail::View(hash)) + "\n";
  out += "\n";
  out += note;
  return out;
}

std::optional<uint64_t> ParseSizeBody(std::string_view body) {
  if (body.size() < 2 || body.back() != '\n') return std::nullopt;
  body.remove_suffix(1);
  if (body.size() > 1 && body.front() == '0') return std::nullopt;
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(body.data(), body.data() + body.size(), value);
  if (error != std::errc() || end != body.data() + body.size()) return std::nullopt;
  return value;
}

Result<Cosignature> FindCosignature(std::string_view lines, std::string_view text, const trail::CosignerVerifier& key) {
  const auto signatures = trail::ParseNoteSignatures(lines);
  if (!signatures.ok()) return DataLoss("the answer is not signature lines");
  std::string_view rest = lines;
  for (const trail::NoteSignature& signature : *signatures) {
    const std::string_view line = rest.substr(0, rest.find('\n') + 1);
    rest.remove_prefix(line.size());
    if (signature.name != key.name || signature.key_id != key.key_id) continue;
    const auto time = trail::VerifyCosignature(text, signature, key);
    if (!time.ok()) return DataLoss("its cosignature is wrong");
    return Cosignature{std::string(line), *time};
  }
  return NotFound(fmt::format("no cosignature by {} in the answer", key.ToString()));
}

}  // namespace nodetrail::collector

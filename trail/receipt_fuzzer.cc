// SPDX-License-Identifier: Apache-2.0
//
// Receipts on hostile bytes. First byte: 0 the bytes are a receipt; 1 the
// harness makes one (second byte: leaves in the log, third: the leaf) and flips
// the bits that the rest names: no receipt with another index, path, leaf or
// signed text may hold.
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "nodetrail/base/status.h"
#include "nodetrail/trail/merkle.h"
#include "nodetrail/trail/receipt.h"

namespace nodetrail::trail {
namespace {

constexpr const char* kLog = "log.example.org";

struct Harness {
  Harness()
      : key(*Ed25519Key::FromSeed(std::string(32, 'l'))),
        policy(LogPolicy::OneLog(*NoteVerifier::Make(kLog, key.public_key()))) {}
  Ed25519Key key;
  LogPolicy policy;
};

void Parse(std::string_view bytes, const Harness& harness) {
  const auto receipt = ParseReceipt(bytes);
  if (!receipt.ok()) return;
  // One text per receipt.
  NT_CHECK(FormatReceipt(receipt->index, receipt->path, receipt->checkpoint) == bytes);
  for (const char c : {'a', 'b', 'c'}) {
    (void)VerifyReceipt(LeafHash(std::string(1, c)), *receipt, harness.policy).ok();
  }
}

struct Made {
  Hash leaf;
  std::string text;
  Receipt receipt;
};

// A receipt that holds, for this leaf alone. Signed and verified once for each
// tree and leaf: that takes a thousand times as long as to parse a bent one.
const Made& Honest(size_t size, size_t index, const Harness& harness) {
  static std::map<std::pair<size_t, size_t>, Made> made;
  const auto known = made.find({size, index});
  if (known != made.end()) return known->second;
  std::vector<Hash> leaves;
  for (size_t i = 0; i < size; ++i) leaves.push_back(LeafHash(std::to_string(i)));
  const std::string note = *SignCheckpoint({kLog, size, MerkleRoot(leaves), {}}, harness.key);
  const std::string text = FormatReceipt(index, *InclusionProof(leaves, index), note);
  const auto honest = ParseReceipt(text);
  NT_CHECK(honest.ok());
  for (size_t i = 0; i < size; ++i) {
    NT_CHECK((i == index) == VerifyReceipt(leaves[i], *honest, harness.policy).ok());
  }
  return made.emplace(std::pair(size, index), Made{leaves[index], text, *honest}).first->second;
}

void Make(std::string_view bytes, const Harness& harness) {
  if (bytes.size() < 2) return;
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(bytes[i]); };
  const size_t size = 1 + byte(0) % 40U;
  const auto& [leaf, text, honest] = Honest(size, byte(1) % size, harness);

  std::string bent = text;
  for (size_t i = 2; i + 1 < bytes.size(); i += 2) {
    char& c = bent[(size_t{byte(i)} * 7 + byte(i + 1)) % bent.size()];
    c = static_cast<char>(c ^ (1 << (byte(i + 1) % 8)));
  }
  const auto parsed = ParseReceipt(bent);
  if (!parsed.ok()) return;
  const auto checkpoint = VerifyReceipt(leaf, *parsed, harness.policy);
  if (!checkpoint.ok()) return;
  NT_CHECK(parsed->index == honest.index && parsed->path == honest.path);
  NT_CHECK(ParseNote(parsed->checkpoint)->text == ParseNote(honest.checkpoint)->text);
}

}  // namespace
}  // namespace nodetrail::trail

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const nodetrail::trail::Harness harness;
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (data[0] % 2 == 0) nodetrail::trail::Parse(bytes, harness);
  else nodetrail::trail::Make(bytes, harness);
  return 0;
}

// SPDX-License-Identifier: Apache-2.0
//
// Leaf, header, chain and body on hostile bytes. The first byte chooses: 0 the
// bytes are a leaf; 1 they are a header, which the harness frames (lengths
// right, signature of zeros) and hands to a chain that does not look at
// signatures; 2 the same, signed for real; 3 they are a stored body.
#include <cstdint>
#include <string>
#include <string_view>

#include "nodetrail/trail/body.h"
#include "nodetrail/trail/chain.h"
#include "nodetrail/trail/leaf.h"
#include "trail/wire.h"

namespace nodetrail::trail {
namespace {

// Self-signed P-256, made once; only its being an authority matters.
constexpr std::string_view kCaPem =
#include "trail/testing/fuzz_ca.inc"
    ;

void CheckLeaf(std::string_view leaf) {
  const auto parsed = ParseLeaf(leaf);
  if (!parsed.ok()) {
    NT_CHECK(!parsed.status().message().empty());
    return;
  }
  // The leaf has one encoding.
  std::string again;
  AppendBytesField(&again, 1, parsed->header_bytes);
  AppendBytesField(&again, 2, parsed->signature);
  NT_CHECK(again == leaf);
  NT_CHECK(parsed->header.raw_body_len() <= kMaxBodyBytes);
  (void)VerifyLeafSignature(*parsed);
}

void CheckChain(std::string_view leaf, bool trusted) {
  static const CaSet cas = *CaSet::FromPem(kCaPem);
  ChainVerifier verifier(ChainPolicy{"", "", &cas, 4});
  CheckOptions options;
  options.allow_hole = true;
  options.trusted = trusted;
  const ChainResult first = verifier.Check(leaf, std::nullopt, options);
  const ChainResult second = verifier.Check(leaf, std::nullopt, options);
  NT_CHECK(!second.accepted());
  if (!first.accepted()) return;
  NT_CHECK(second.verdict == ChainVerdict::kDuplicate);
  const auto state = ParseChainState(SerializeChainState(verifier.state()));
  NT_CHECK(state.ok());
}

void Run(unsigned mode, std::string_view bytes) {
  switch (mode % 4) {
    case 0: CheckLeaf(bytes); break;
    case 1: {
      std::string leaf;
      AppendBytesField(&leaf, 1, bytes);
      AppendBytesField(&leaf, 2, std::string(64, '\0'));
      CheckLeaf(leaf);
      CheckChain(leaf, true);
      break;
    }
    case 2: {
      static const Ed25519Key key = *Ed25519Key::FromSeed(std::string(32, 'k'));
      const auto leaf = MakeLeaf(bytes, key);
      if (!leaf.ok()) break;
      CheckLeaf(*leaf);
      CheckChain(*leaf, false);
      break;
    }
    default: {
      const uint64_t raw_len = bytes.size() > 8 ? static_cast<unsigned char>(bytes[0]) * 256U : 16;
      const auto raw = DecompressBody(bytes, raw_len);
      if (raw.ok()) NT_CHECK(raw->size() == raw_len);
      (void)PeekEvent(bytes).has_value();
    }
  }
}

}  // namespace
}  // namespace nodetrail::trail

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  nodetrail::trail::Run(data[0], {reinterpret_cast<const char*>(data) + 1, size - 1});
  return 0;
}

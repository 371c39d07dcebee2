// SPDX-License-Identifier: Apache-2.0
//
// Policies on hostile bytes. First byte: 0 the bytes are a policy; 1 the same,
// with the keys of the harness in place of %A to %D (witnesses) and %L (log),
// so that whole policies are met, and every subset of the witnesses cosigns: a
// further cosignature must never take the quorum away.
#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "nodetrail/base/status.h"
#include "nodetrail/trail/policy.h"

namespace nodetrail::trail {
namespace {

constexpr unsigned kWitnesses = 4;

struct Keys {
  Keys() : log(*Ed25519Key::FromSeed(std::string(32, 'l'))) {
    vkeys['L' - 'A'] = NoteVerifier::Make("log", log.public_key())->ToString();
    note = *SignCheckpoint({"log", 5, Sha256Of("root"), {}}, log);
    for (unsigned i = 0; i < kWitnesses; ++i) {
      const Ed25519Key key = *Ed25519Key::FromSeed(std::string(32, static_cast<char>('a' + i)));
      const std::string name = std::string("w") + static_cast<char>('a' + i);
      vkeys[i] = CosignerVerifier::Make(name, key.public_key())->ToString();
      lines[i] = *CosignCheckpoint(note, name, key, 1'700'000'000 + i);
    }
  }
  Ed25519Key log;
  std::string note;
  std::array<std::string, 26> vkeys;
  std::array<std::string, kWitnesses> lines;
};

std::string Filled(std::string_view text, const Keys& keys) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool key = text[i] == '%' && i + 1 < text.size() && text[i + 1] >= 'A' && text[i + 1] <= 'Z';
    if (key) {
      out += keys.vkeys[static_cast<size_t>(text[++i] - 'A')];
    } else {
      out += text[i];
    }
  }
  return out;
}

void Run(bool fill, std::string_view bytes) {
  static const Keys keys;
  const auto policy = LogPolicy::Parse(fill ? Filled(bytes, keys) : std::string(bytes));
  if (!policy.ok()) {
    NT_CHECK(policy.status().message().starts_with("policy"));
    return;
  }
  std::array<bool, 1U << kWitnesses> quorum{};
  for (unsigned set = 0; set < quorum.size(); ++set) {
    std::string note = keys.note;
    for (unsigned i = 0; i < kWitnesses; ++i) {
      if ((set >> i & 1U) != 0) note += keys.lines[i];
    }
    const auto verdict = policy->Examine(note);
    if (!verdict.ok()) {
      NT_CHECK(!policy->Check(note).ok());
      continue;
    }
    quorum[set] = verdict->quorum;
    NT_CHECK(policy->Check(note).ok() == verdict->quorum);
    NT_CHECK(verdict->quorum == verdict->shortfall.empty());
    NT_CHECK(verdict->cosigned.size() + verdict->missing.size() == policy->witnesses().size());
    NT_CHECK(policy->wants_witnesses() || verdict->quorum);
    for (unsigned i = 0; i < kWitnesses; ++i) {
      if ((set >> i & 1U) != 0) NT_CHECK(quorum[set] || !quorum[set & ~(1U << i)]);
    }
  }
}

}  // namespace
}  // namespace nodetrail::trail

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  nodetrail::trail::Run(data[0] % 2 == 1, {reinterpret_cast<const char*>(data) + 1, size - 1});
  return 0;
}

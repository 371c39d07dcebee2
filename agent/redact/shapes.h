// SPDX-License-Identifier: Apache-2.0
//
// Secrets known by their own shape, wherever they stand: tokens with a
// documented prefix, JSON web tokens, private keys in PEM.
#ifndef NODETRAIL_AGENT_REDACT_SHAPES_H_
#define NODETRAIL_AGENT_REDACT_SHAPES_H_

#include <cstdint>
#include <span>
#include <string_view>

#include "agent/redact/rules.h"

namespace nodetrail::agent::redact {

enum class Form : uint8_t {
  kTail,      // prefix, then at least min_tail bytes of the set
  kJwt,       // eyJ….….…
  kPem,       // -----BEGIN … PRIVATE KEY-----
  kTelegram,  // digits:AA…
  kSendgrid,  // SG.22.43
  kBearer,    // bearer TOKEN
};

enum class Set : uint8_t { kAlnum, kWordChar, kUrlSafe, kUpperDigit, kHex, kDotted };

struct Shape {
  uint16_t rule;
  std::string_view needle;  // lower case, what triggers.h looks for
  std::string_view prefix;  // exact; empty where the form knows it itself
  Form form;
  Set set;
  uint16_t min_tail;
  uint16_t max_tail;  // 0: any
  bool needs_digit;
};

std::span<const Shape> Shapes();

// Adds what has a shape in `text`.
void FindShapes(const Text& text, Findings* findings);

// Adds what may be the secret half of an AWS key pair, once the other half was
// seen in the same argv: 40 bytes of base64 that stand alone.
void FindAwsSecrets(const Text& text, Findings* findings);

}  // namespace nodetrail::agent::redact

#endif  // NODETRAIL_AGENT_REDACT_SHAPES_H_

// SPDX-License-Identifier: Apache-2.0
//
// Does a name (of an option, a variable, a JSON key, a header, a query
// parameter) announce a secret, and is a value one? Pure.
#ifndef NODETRAIL_AGENT_REDACT_NAMES_H_
#define NODETRAIL_AGENT_REDACT_NAMES_H_

#include <cstdint>
#include <string_view>

#include "agent/redact/rules.h"

namespace nodetrail::agent::redact {

enum class NameKind : uint8_t {
  kNone,
  kPassword,    // password, passwd, passphrase, pass, pwd: any value is a secret
  kToken,       // token, secret, api key: a value that is a path or a mode is none
  kKey,         // a key of doubtful secrecy (NAME_KEY): only a random value is a secret
  kCredential,  // credentials: often a path
  kAuth,        // auth: often the name of a method
};

// By its words, told apart at '-', '_', '.' and inner capitals; the last one
// decides, behind words like "prod" or "base" the one before: PASSWORD_FILE,
// token-ttl, author and KEYBOARD announce nothing.
NameKind ClassifyName(std::string_view name);

// "X-Api-Key", "Cookie", "PRIVATE-TOKEN" and what ClassifyName knows, if a '-' is in it.
bool IsSecretHeader(std::string_view name);

// Parameters of a URL that ClassifyName leaves: sig, key, sid, code_verifier…
bool IsSecretParameter(std::string_view name);

// An option that asks for or speaks of a secret instead of being followed by
// one: "no-password", "ask-pass", "with-token".
bool IsSwitch(std::string_view option);

// The value at [begin, end) of `text` of something named so is a secret: it is
// no variable, placeholder, path, mode or type.
bool IsSecretValue(const Text& text, size_t begin, size_t end, NameKind kind);

// At least 16 letters and digits mixed, no path or host name.
bool LooksRandom(std::string_view value);

// Reads as another option: "-x", "--name", "--name=value".
bool LooksLikeOption(std::string_view word);

}  // namespace nodetrail::agent::redact

#endif  // NODETRAIL_AGENT_REDACT_NAMES_H_

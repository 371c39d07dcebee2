// SPDX-License-Identifier: Apache-2.0
//
// Programs with short options or arguments of their own that carry secrets,
// and programs that run others.
#ifndef NODETRAIL_AGENT_REDACT_PROGRAMS_H_
#define NODETRAIL_AGENT_REDACT_PROGRAMS_H_

#include <cstdint>
#include <string_view>

namespace nodetrail::agent::redact {

enum Trait : uint32_t {
  kNoTrait = 0,
  kWrapper = 1,              // its arguments may hold another command
  kShell = 2,                // -c SCRIPT
  kTakesScript = 4,          // -c SCRIPT, and runs others
  kRemote = 8,               // every argument may be a script: ssh, watch, eval
  kLoginOnly = 16,           // its letters hold behind the word "login" only
  kCommaUser = 32,           // user,password
  kPercentUser = 64,         // user%password
  kOpenssl = 128,            // pass:…
  kHtpasswd = 256,           // -b … user password
  kKubectl = 512,            // --from-literal=name=value of a secret
  kVaultPut = 1024,          // kv put name=value
  kLastWord = 2048,          // wpa_passphrase SSID passphrase
  kAddUser = 4096,           // add_user name password
  kCloudValue = 8192,        // --value, behind "secret" or SecureString
  kExpectScript = 16384,     // send "password"
  kSlashUser = 32768,        // user/password@db
  kQuiet = 65536,            // prints or searches texts: they are no scripts
  kSlashOptions = 131072,    // /p:value
  kCookies = 262144,         // -b name=value
  kUnlock = 524288,          // unlock SECRET, unseal SECRET, login SECRET
  kArchiveHeader = 1048576,  // -hpSECRET
  kNamedWords = 2097152,     // NAME SECRET, without dashes
  kWithUser = 4194304,       // its letters hold behind -u as well
};

struct Program {
  std::string_view name;
  uint32_t traits;
  std::string_view attached;         // letters whose value is in the same word: -pVALUE
  std::string_view separate = {};    // letters whose value is in the same or the next word
  std::string_view user = {};        // letters whose value is user:password
  std::string_view names = {};       // further long options with a value, space separated, no dashes
  std::string_view user_names = {};  // further long options with user:password
};

// Null if it has nothing of its own.
const Program* FindProgram(std::string_view name);

}  // namespace nodetrail::agent::redact

#endif  // NODETRAIL_AGENT_REDACT_PROGRAMS_H_

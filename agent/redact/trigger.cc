// SPDX-License-Identifier: Apache-2.0
#include "agent/redact/trigger.h"

#include "agent/redact/shapes.h"

namespace nodetrail::agent::redact {

const Triggers& Triggers::Get() {
  static const Triggers triggers;
  return triggers;
}

Triggers::Triggers() {
  for (const std::string_view word :
       {"pass",       "pwd",    "secret",  "token",     "key", "auth", "cred",    "cookie",
        "identified", "bearer", "sig=",    "signature", "jwt", "otp",  "psk",     "bindpw",
        "rootpw",     "userpw", "adminpw", "dbpw",      "-pw", "_pw",  "session", "assertion"}) {
    Insert({word, kWord, 0});
  }
  Insert({"://", kUrl, 0});
  for (const std::string_view program :
       {"mysql",  "maria",    "curl",       "redis",      "mongo",      "ldap",      "smb",      "openssl",
        "7z",     "rar ",     "zip ",       "docker",     "podman",     "useradd",   "usermod",  "lftp",
        "sqlcmd", "sqlplus",  "ipmitool",   "snmp",       "ssh-keygen", "mosquitto", "twine",    "rabbitmq",
        "vault",  "kubectl",  "expect",     "send ",      "chpasswd",   "login",     "aws ",     "az ",
        "sudo",   "kinit",    "cryptsetup", "bcp",        "tsql",       "beeline",   "cqlsh",    "cypher-shell",
        "winexe", "rdesktop", "xfreerdp",   "evil-winrm", "swaks",      "qpdf",      "pkcs11",   "op ",
        "helm",   "oras",     "crane",      "skopeo",     "buildah",    "nerdctl",   "mydumper", "keydb",
        "valkey", "wpa_",     "pdftk",      "nmcli",      "net rpc",    "expdp",     "impdp"}) {
    if (program.size() >= 3) Insert({program, kProgram, 0});
  }
  Insert({"7z ", kProgram, 0});
  uint8_t index = 0;
  for (const Shape& shape : Shapes()) {
    std::string_view needle = shape.needle;
    Insert({needle, kShape, index++});
  }
}

void Triggers::Insert(const Needle& needle) {
  // Needles that begin alike share a group, which keeps the tables sparse.
  uint32_t group = count_++ % 32;
  for (uint32_t i = 0; i < 32; ++i) {
    if (!groups_[i].empty() && groups_[i].front().text.substr(0, 2) == needle.text.substr(0, 2)) group = i;
  }
  const uint32_t bit = uint32_t{1} << group;
  const auto add = [bit](std::array<uint32_t, 256>& table, char c) {
    table[static_cast<uint8_t>(c)] |= bit;
    if (IsLower(c)) table[static_cast<uint8_t>(c - 'a' + 'A')] |= bit;
  };
  add(first_, needle.text[0]);
  add(second_, needle.text[1]);
  add(third_, needle.text[2]);
  groups_[group].push_back(needle);
}

uint8_t Triggers::Confirm(std::string_view s, size_t i, uint32_t groups) const {
  uint8_t families = 0;
  for (uint32_t group = 0; groups != 0; ++group, groups >>= 1U) {
    if ((groups & 1U) == 0) continue;
    for (const Needle& needle : groups_[group]) {
      if ((families & needle.family) == 0 && StartsWithIgnoreCase(s.substr(i), needle.text))
        families = static_cast<uint8_t>(families | needle.family);
    }
  }
  return families;
}

}  // namespace nodetrail::agent::redact

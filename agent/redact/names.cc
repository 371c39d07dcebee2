// SPDX-License-Identifier: Apache-2.0
#include "agent/redact/names.h"

#include <algorithm>
#include <array>
#include <span>

namespace nodetrail::agent::redact {
namespace {

using std::string_view;

template <size_t N>
bool OneOf(string_view word, const std::array<string_view, N>& words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

bool EndsWith(string_view s, string_view end) {
  return s.size() >= end.size() && s.substr(s.size() - end.size()) == end;
}

constexpr size_t kMaxName = 96;  // no name is longer; of a longer one the end decides

// A name's words in lower case.
class Words {
 public:
  explicit Words(string_view name) {
    if (name.size() > kMaxName) name.remove_prefix(name.size() - kMaxName);
    size_t begin = 0;
    for (size_t i = 0; i < name.size(); ++i) {
      const char c = name[i];
      lower_[i] = Lower(c);
      const bool letter = IsAlnum(c) || (static_cast<unsigned char>(c) & 0x80U) != 0;
      const bool starts_word = IsUpper(c) && i > begin &&
                               (IsLower(name[i - 1]) || IsDigit(name[i - 1]) ||
                                (IsUpper(name[i - 1]) && i + 1 < name.size() && IsLower(name[i + 1])));
      if (!letter) {
        Push(begin, i);
        begin = i + 1;
      } else if (starts_word) {
        Push(begin, i);
        begin = i;
      }
    }
    Push(begin, name.size());
  }
  [[nodiscard]] size_t size() const { return count_; }
  // From the end: 0 is the last.
  [[nodiscard]] string_view FromEnd(size_t i) const {
    return i < count_ ? words_[(next_ + kKept - 1 - i) % kKept] : "";
  }
  [[nodiscard]] string_view First() const { return FromEnd(count_ - 1); }

 private:
  static constexpr size_t kKept = 12;
  void Push(size_t begin, size_t end) {
    while (end > begin && IsDigit(lower_[end - 1])) --end;  // PASSWORD1, TOKEN_2
    if (begin == end) return;
    words_[next_] = string_view(lower_.data() + begin, end - begin);
    next_ = (next_ + 1) % kKept;
    count_ = std::min(count_ + 1, kKept);
  }
  std::array<char, kMaxName> lower_;
  std::array<string_view, kKept> words_;
  size_t next_ = 0;
  size_t count_ = 0;
};

constexpr std::array<string_view, 27> kTailWords = {
    "prod",   "production", "dev",       "staging", "stage",  "test", "qa",      "live",      "base",
    "raw",    "plain",      "b",         "base64",  "value",  "old",  "new",     "current",   "default",
    "string", "text",       "plaintext", "github",  "gitlab", "npm",  "primary", "secondary", "previous"};
constexpr std::array<string_view, 19> kPasswords = {
    "password", "passwd", "passwort", "passphrase", "passcode", "pwd",   "pass",  "pw",      "psk",      "bindpw",
    "rootpw",   "userpw", "adminpw",  "dbpw",       "passw",    "pword", "mypwd", "passwds", "passwordd"};
constexpr std::array<string_view, 16> kTokens = {
    "secret",     "token",       "apikey", "apitoken", "accesskey", "secretkey",  "authtoken", "authkey",
    "privatekey", "accesstoken", "jwt",    "otp",      "privkey",   "accountkey", "bearer",    "masterauth"};
constexpr std::array<string_view, 24> kKeyWords = {
    "api",      "access",  "secret", "private", "account", "signing",      "encryption", "encrypt",
    "master",   "service", "auth",   "storage", "shared",  "session",      "license",    "deploy",
    "consumer", "hmac",    "jwt",    "webhook", "client",  "subscription", "write",      "admin"};
constexpr std::array<string_view, 28> kPlainKeyWords = {
    "cache",   "sort",     "primary", "public",      "foreign", "partition", "object", "row",     "routing", "lookup",
    "restore", "index",    "dedup",   "idempotency", "hash",    "s",         "gpg",    "host",    "ssh",     "tls",
    "ssl",     "register", "trusted", "group",       "order",   "unique",    "repo",   "keyboard"};
constexpr std::array<string_view, 12> kNotPass = {"bypass",    "compass",    "trespass",  "surpass",
                                                  "encompass", "overpass",   "underpass", "multipass",
                                                  "onepass",   "singlepass", "twopass",   "firstpass"};

NameKind ClassifyWord(string_view word, string_view before) {
  if (OneOf(word, kPasswords)) {
    if (word == "pass" && (before == "by" || before == "single" || before == "two" || before == "first" ||
                           before == "second" || before == "multi" || before == "one" || before == "last"))
      return NameKind::kNone;
    return NameKind::kPassword;
  }
  if (OneOf(word, kTokens)) return NameKind::kToken;
  if (word == "credential" || word == "credentials" || word == "creds" || word == "cred") return NameKind::kCredential;
  if (word == "auth" || word == "authorization" || word == "auths") return NameKind::kAuth;
  if (word == "key") {
    if (OneOf(before, kKeyWords)) return NameKind::kToken;
    if (before.empty() || OneOf(before, kPlainKeyWords)) return NameKind::kNone;
    return NameKind::kKey;
  }
  if (EndsWith(word, "password") || EndsWith(word, "passwd") || EndsWith(word, "passphrase") ||
      EndsWith(word, "passwort"))
    return NameKind::kPassword;
  if (EndsWith(word, "pass") && word.size() <= 12 && !OneOf(word, kNotPass)) return NameKind::kPassword;
  if (EndsWith(word, "pwd") && word != "oldpwd") return NameKind::kPassword;
  if (EndsWith(word, "secret") || EndsWith(word, "token") || EndsWith(word, "apikey") || EndsWith(word, "secretkey") ||
      EndsWith(word, "accesskey") || EndsWith(word, "authkey"))
    return NameKind::kToken;
  return NameKind::kNone;
}

bool IsPath(string_view v) {
  if (v.empty()) return false;
  if (v[0] == '@' || v.substr(0, 5) == "file:" || v.substr(0, 5) == "path:" || v.substr(0, 4) == "env:" ||
      v.substr(0, 3) == "fd:" || v.substr(0, 7) == "fileb://" || v.substr(0, 7) == "pkcs11:")
    return true;
  if (v.substr(0, 2) == "./" || v.substr(0, 3) == "../" || v.substr(0, 2) == "~/") return true;
  static constexpr std::array<string_view, 26> kTop = {
      "etc",    "run", "var",   "home", "root",    "opt",     "usr",   "tmp",       "dev",
      "proc",   "srv", "mnt",   "data", "app",     "secrets", "vault", "workspace", "builds",
      "github", "ssl", "certs", "keys", "private", "Users",   "conf",  "config"};
  if (v[0] == '/' && v.size() > 2) {
    const string_view top = v.substr(1, v.find('/', 1) - 1);
    if (top.size() + 1 < v.size() && OneOf(top, kTop)) return true;
  }
  static constexpr std::array<string_view, 17> kEnds = {".pem",  ".key", ".json", ".yaml", ".yml",  ".txt",
                                                        ".conf", ".crt", ".p12",  ".env",  ".toml", ".ini",
                                                        ".pub",  ".gpg", ".asc",  ".pfx",  ".jks"};
  return std::any_of(kEnds.begin(), kEnds.end(), [v](string_view end) { return EndsWith(v, end); });
}

bool IsIdentifier(string_view s) {
  return !s.empty() && !IsDigit(s[0]) && std::all_of(s.begin(), s.end(), [](char c) { return IsAlnum(c) || c == '_'; });
}

// What stands for a value: a variable, a template, a placeholder.
bool IsReference(string_view v) {
  const char first = v.front();
  const char last = v.back();
  if (first == '$' && v.size() > 1) {
    const string_view name = v.substr(1);
    if (IsIdentifier(name) && std::none_of(name.begin(), name.end(), IsLower)) return true;
    if (v[1] == '{' || v[1] == '(') return last == '}' || last == ')';
  }
  if (first == '`' && last == '`' && v.size() > 2) return true;
  if (first == '%' && last == '%' && v.size() > 2 && IsIdentifier(v.substr(1, v.size() - 2))) return true;
  if (v.substr(0, 2) == "{{" || v.substr(0, 2) == "%(") return true;
  if (first == '<' && (last == '>' || v.substr(1).find('>') != string_view::npos)) return true;
  if (v.substr(0, 9) == "[redacted") return true;
  return std::all_of(v.begin(), v.end(),
                     [](char c) { return c == '*' || c == 'x' || c == 'X' || c == '.' || c == '-' || c == '_'; });
}

bool IsMode(string_view v) {
  static constexpr std::array<string_view, 24> kModes = {
      "true",   "false", "yes",  "no",       "none",     "null",      "nil",  "on",
      "off",    "0",     "1",    "stdin",    "prompt",   "ask",       "auto", "str",
      "string", "int",   "bool", "optional", "required", "undefined", "env",  "redacted"};
  return std::any_of(kModes.begin(), kModes.end(), [v](string_view mode) { return EqualsIgnoreCase(v, mode); });
}

bool AllDigits(string_view v) { return std::all_of(v.begin(), v.end(), IsDigit); }

}  // namespace

NameKind ClassifyName(string_view name) {
  if (name.size() < 2 || name == "OLDPWD") return NameKind::kNone;
  const Words words(name);
  if (words.size() == 0) return NameKind::kNone;
  for (size_t i = 0; i < words.size() && i < 3; ++i) {
    const NameKind kind = ClassifyWord(words.FromEnd(i), words.FromEnd(i + 1));
    if (kind != NameKind::kNone) return i > 0 && kind == NameKind::kKey ? NameKind::kNone : kind;
    if (!OneOf(words.FromEnd(i), kTailWords)) return NameKind::kNone;
  }
  return NameKind::kNone;
}

bool IsSecretHeader(string_view name) {
  static constexpr std::array<string_view, 8> kHeaders = {
      "authorization",  "proxy-authorization",  "cookie",     "set-cookie", "x-authorization",
      "authentication", "x-amz-security-token", "x-csrftoken"};
  if (std::any_of(kHeaders.begin(), kHeaders.end(),
                  [name](string_view header) { return EqualsIgnoreCase(name, header); }))
    return true;
  if (name.find('-') == string_view::npos) return false;
  const NameKind kind = ClassifyName(name);
  if (kind == NameKind::kKey) return EqualsIgnoreCase(name.substr(0, std::min<size_t>(2, name.size())), "x-");
  return kind != NameKind::kNone;
}

bool IsSecretParameter(string_view name) {
  static constexpr std::array<string_view, 17> kParameters = {"sig",
                                                              "signature",
                                                              "x-amz-signature",
                                                              "x-amz-security-token",
                                                              "x-goog-signature",
                                                              "key",
                                                              "sid",
                                                              "session",
                                                              "sessionid",
                                                              "session_id",
                                                              "code_verifier",
                                                              "assertion",
                                                              "client_assertion",
                                                              "hmac",
                                                              "saml_response",
                                                              "samlresponse",
                                                              "x-amz-credential"};
  return std::any_of(kParameters.begin(), kParameters.end(),
                     [name](string_view p) { return EqualsIgnoreCase(name, p); });
}

bool IsSwitch(string_view option) {
  static constexpr std::array<string_view, 35> kVerbs = {
      "no",      "ask",      "with",   "prompt", "disable", "enable", "skip",   "generate", "gen",
      "show",    "require",  "allow",  "change", "reset",   "print",  "reveal", "get",      "list",
      "clear",   "create",   "force",  "rotate", "revoke",  "has",    "is",     "delete",   "remove",
      "without", "validate", "verify", "check",  "need",    "read",   "update", "hide"};
  const Words words(option);
  return words.size() > 1 && OneOf(words.First(), kVerbs);
}

bool LooksRandom(string_view value) {
  if (value.size() < 16) return false;
  bool upper = false, lower = false, digit = false;
  for (const char c : value) {
    if (IsUpper(c)) {
      upper = true;
    } else if (IsLower(c)) {
      lower = true;
    } else if (IsDigit(c)) {
      digit = true;
    } else if (c != '+' && c != '/' && c != '=' && c != '_' && c != '-' && c != ':') {
      return false;
    }
  }
  return digit && (upper || lower) && !IsPath(value);
}

bool LooksLikeOption(string_view word) {
  if (word.size() < 2 || word[0] != '-') return false;
  if (word[1] != '-') return word.size() == 2 && IsAlpha(word[1]);
  if (word.size() == 2) return true;
  const string_view name = word.substr(2, word.find('=') == string_view::npos ? string_view::npos : word.find('=') - 2);
  return !name.empty() && IsAlpha(name[0]) &&
         std::all_of(name.begin(), name.end(), [](char c) { return IsAlnum(c) || c == '-' || c == '_' || c == '.'; });
}

bool IsSecretValue(const Text& text, size_t begin, size_t end, NameKind kind) {
  if (kind == NameKind::kNone || begin >= end) return false;
  const string_view v = text.s.substr(begin, end - begin);
  if (text.IsExpansion(begin, end)) return false;
  // A cut value may be the beginning of anything.
  if (text.cut && end == text.s.size() && !IsPath(v)) return true;
  if (v == "-" || IsReference(v) || IsMode(v)) return false;
  const bool path = IsPath(v);
  switch (kind) {
    case NameKind::kNone: return false;
    case NameKind::kPassword:
      return !(path && (v[0] == '/' || v.find(':') != string_view::npos)) && !(AllDigits(v) && v.size() <= 2);
    case NameKind::kToken: return !path && !(AllDigits(v) && v.size() <= 5);
    case NameKind::kKey: return LooksRandom(v);
    case NameKind::kCredential: return !path && v.size() >= 4 && (v.find(':') != string_view::npos || v.size() >= 8);
    case NameKind::kAuth:
      return !path && (v.find(':') != string_view::npos || v.find(' ') != string_view::npos || v.size() > 12 ||
                       std::any_of(v.begin(), v.end(), [](char c) { return IsDigit(c) || IsUpper(c); }));
  }
  return false;
}

}  // namespace nodetrail::agent::redact

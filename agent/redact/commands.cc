// SPDX-License-Identifier: Apache-2.0
#include "agent/redact/commands.h"

#include <algorithm>

#include "agent/redact/names.h"
#include "agent/redact/programs.h"
#include "agent/redact/shapes.h"
#include "agent/redact/shell.h"
#include "agent/redact/text_rules.h"
#include "agent/redact/trigger.h"

namespace nodetrail::agent::redact {
namespace {

using std::string_view;

constexpr size_t kMaxPipe = 32;  // commands of a pipe that are looked at

bool HasSpace(string_view s) { return std::any_of(s.begin(), s.end(), IsSpace); }

bool Contains(string_view list, char c) { return list.find(c) != string_view::npos; }

// `word` is one of the space separated `names`.
bool Listed(string_view names, string_view word) {
  size_t at = 0;
  while (at < names.size()) {
    const size_t end = std::min(names.find(' ', at), names.size());
    if (EqualsIgnoreCase(word, names.substr(at, end - at))) return true;
    at = end + 1;
  }
  return false;
}

// The words of one command, read from left to right.
class CommandReader {
 public:
  CommandReader(std::span<const Text> words, int depth, Findings* findings)
      : words_(words), depth_(depth), findings_(findings) {}

  void Run(string_view program) {
    size_t i = 0;
    while (i < words_.size() && IsVariable(words_[i].s)) ++i;  // NAME=value cmd
    if (i < words_.size()) {
      program_ = FindProgram(BaseName(words_[i].s));
      if (program_ == nullptr && i == 0) program_ = FindProgram(program);
      ++i;
    }
    for (; i < words_.size(); ++i) i = Word(i);
    Finish();
  }

 private:
  [[nodiscard]] bool Is(Trait trait) const { return program_ != nullptr && (program_->traits & trait) != 0; }

  static bool IsVariable(string_view word) {
    const size_t equals = word.find('=');
    if (equals == string_view::npos || equals == 0 || IsDigit(word[0])) return false;
    return std::all_of(word.begin(), word.begin() + static_cast<ptrdiff_t>(equals),
                       [](char c) { return IsAlnum(c) || c == '_'; });
  }

  // Asked for a few fixed words only, so once per command is enough.
  [[nodiscard]] bool MentionsLogin() {
    if (login_ < 0) login_ = Mentions("login") || Mentions("service-principal") ? 1 : 0;
    return login_ == 1;
  }
  [[nodiscard]] bool MentionsSecret() {
    if (secret_ < 0) secret_ = Mentions("secret") || Mentions("SecureString") || Mentions("secretsmanager") ? 1 : 0;
    return secret_ == 1;
  }
  [[nodiscard]] bool Mentions(string_view word) const {
    return std::any_of(words_.begin(), words_.end(), [word](const Text& text) { return text.s == word; });
  }

  void Add(size_t word, size_t begin, NameKind kind, uint16_t rule) {
    const Text& text = words_[word];
    if (begin < text.s.size() && IsSecretValue(text, begin, text.s.size(), kind))
      findings_->Add(text, begin, text.s.size(), rule);
  }

  // The password in user:password, or all that stands for both.
  void AddUser(size_t word, size_t begin) {
    const Text& text = words_[word];
    const char separator = Is(kCommaUser) ? ',' : Is(kPercentUser) ? '%' : ':';
    const size_t at = text.s.find(separator, begin);
    if (at == string_view::npos) {
      if (LooksRandom(text.s.substr(begin))) Add(word, begin, NameKind::kPassword, kProgramOption);
    } else if (at + 1 < text.s.size()) {
      Add(word, at + 1, NameKind::kPassword, kProgramOption);
    } else if (LooksRandom(text.s.substr(begin, at - begin))) {
      findings_->Add(text, begin, at, kProgramOption);
    }
  }

  // Looks at word i; returns the last word it used up.
  size_t Word(size_t i) {
    const string_view word = words_[i].s;
    if (word.empty()) return i;
    if (word[0] == '-') return Option(i);
    if (Is(kSlashOptions) && word[0] == '/') {
      const size_t colon = word.find(':');
      if (colon != string_view::npos) {
        const string_view name = word.substr(1, colon - 1);
        if (name == "p" || ClassifyName(name) == NameKind::kPassword)
          Add(i, colon + 1, NameKind::kPassword, kProgramOption);
      }
      return i;
    }
    // sudo mysql -pX, docker exec db sh -c …: from here on it is another command.
    if (program_ != nullptr && (program_->traits & (kWrapper | kRemote | kTakesScript)) != 0 && !HasSpace(word)) {
      const Program* inner = FindProgram(BaseName(word));
      if (inner != nullptr) {
        program_ = inner;
        return i;
      }
    }
    if (Is(kNamedWords) && i + 1 < words_.size() && Listed(program_->names, word)) {
      Add(i + 1, 0, NameKind::kPassword, kProgramOption);
      return i + 1;
    }
    if (HasSpace(word)) Script(i, Is(kRemote));
    // config set NAME VALUE
    if ((words_[i].families & kWord) != 0 || depth_ > 0) {
      const NameKind kind =
          BareName(word) && i + 1 < words_.size() && (Setting(i) || word.find('_') != string_view::npos)
              ? ClassifyName(word)
              : NameKind::kNone;
      if (kind != NameKind::kNone && !maybe_ && Setting(i) && !LooksLikeOption(words_[i + 1].s))
        Add(i + 1, 0, kind, kProgramOption);
      // "password: value" over two words.
      if (word.size() > 1 && word.back() == ':' && i + 1 < words_.size() && depth_ > 0 &&
          ClassifyName(word.substr(0, word.size() - 1)) == NameKind::kPassword) {
        Add(i + 1, 0, NameKind::kPassword, kStructured);
      }
    }
    return i;
  }

  static bool BareName(string_view word) {
    return word.size() <= 64 && word.find('=') == string_view::npos && word.find(' ') == string_view::npos;
  }

  // A verb that sets something stands before word i.
  [[nodiscard]] bool Setting(size_t i) const {
    for (size_t j = i; j-- > 0 && i - j <= 4;) {
      const string_view word = words_[j].s;
      for (const string_view verb :
           {"set", "config", "configure", "connect", "modify", "add", "setting", "hset", "put"}) {
        if (EqualsIgnoreCase(word, verb)) return true;
      }
    }
    return false;
  }

  size_t Option(size_t i) {
    const string_view word = words_[i].s;
    if (word.size() < 2) return i;
    const bool has_next = i + 1 < words_.size();
    const bool dashes = word[1] == '-';
    const string_view name = word.substr(dashes ? 2 : 1);
    if (name.empty()) return i;
    const size_t equals = name.find('=');
    if (!dashes) {
      const size_t used = Letters(i, name);
      if (used != kNotMine) return used;
    }
    if (equals != string_view::npos) {
      if (program_ != nullptr) {
        const size_t begin = word.size() - name.size() + equals + 1;
        if (Listed(program_->names, name.substr(0, equals))) Add(i, begin, NameKind::kPassword, kProgramOption);
        if (Listed(program_->user_names, name.substr(0, equals))) AddUser(i, begin);
        if (Is(kKubectl) && name.substr(0, equals) == "from-literal" && MentionsSecret()) Literal(i, begin);
        if (Is(kOpenssl)) Openssl(i, begin);
      }
      return i;
    }
    if (!has_next) return i;
    if (program_ != nullptr) {
      if (Listed(program_->names, name)) return Add(i + 1, 0, NameKind::kPassword, kProgramOption), i + 1;
      if (Listed(program_->user_names, name)) return AddUser(i + 1, 0), i + 1;
      if (Is(kCookies) && (name == "b" || name == "cookie")) {
        if (words_[i + 1].s.find('=') != string_view::npos) Add(i + 1, 0, NameKind::kPassword, kProgramOption);
        return i + 1;
      }
      if (Is(kOpenssl)) {
        if (name == "k" || name == "K" || name == "hmac")
          return Add(i + 1, 0, NameKind::kPassword, kProgramOption), i + 1;
        if (name.substr(0, 4) == "pass") return Openssl(i + 1, 0), i + 1;
      }
      if (Is(kKubectl) && name == "from-literal" && MentionsSecret()) return Literal(i + 1, 0), i + 1;
      if (Is(kCloudValue) && (name == "value" || name == "secret-string" || name == "string-value") && MentionsSecret())
        return Add(i + 1, 0, NameKind::kPassword, kProgramOption), i + 1;
    }
    const NameKind kind = name.size() >= 3 || name == "pw" ? ClassifyName(name) : NameKind::kNone;
    if (kind == NameKind::kNone) return i;
    const string_view next = words_[i + 1].s;
    if (LooksLikeOption(next)) return i;
    if (IsSwitch(name) && !LooksRandom(next)) return i;
    if (maybe_ && std::all_of(next.begin(), next.end(), IsAlpha)) return i;
    Add(i + 1, 0, kind, kOption);
    return i + 1;
  }

  static constexpr size_t kNotMine = static_cast<size_t>(-1);

  // -pVALUE, -p VALUE, and letters before it that take no value.
  size_t Letters(size_t i, string_view name) {
    if (program_ == nullptr) return kNotMine;
    if ((program_->traits & (kShell | kTakesScript)) != 0 && name.find('c') != string_view::npos && name.size() <= 6 &&
        std::all_of(name.begin(), name.end(), IsAlpha)) {
      for (size_t next = i + 1; next < words_.size(); ++next) {
        if (!words_[next].s.empty() && (words_[next].s[0] == '-' || words_[next].s[0] == '+') &&
            words_[next].s.size() < 16 && Is(kShell))
          continue;
        Script(next, true);
        return next;
      }
      return i;
    }
    if (Is(kExpectScript) && name == "c" && i + 1 < words_.size()) return Expect(i + 1), i + 1;
    if (Is(kArchiveHeader) && name.substr(0, 2) == "hp") return Add(i, 3, NameKind::kPassword, kProgramOption), i;
    if (Is(kHtpasswd) && Contains(name, 'b') && std::all_of(name.begin(), name.end(), IsAlpha)) {
      Add(words_.size() - 1, 0, NameKind::kPassword, kProgramOption);
      return i;
    }
    if (Is(kLoginOnly) && !MentionsLogin() && !(Is(kWithUser) && Mentions("-u"))) return kNotMine;
    // curl's -sSu, where the letters before take no value.
    size_t at = 0;
    while (at + 1 < name.size() && !program_->user.empty() && Contains("sSfLkvgiINqGjJnOa#0123846", name[at])) ++at;
    const char letter = name[at];
    const size_t value = 1 + at + 1;
    const bool inline_value = value < words_[i].s.size();
    if (Contains(program_->user, letter)) {
      if (inline_value) return AddUser(i, value), i;
      if (i + 1 < words_.size()) return AddUser(i + 1, 0), i + 1;
      return i;
    }
    if (at > 0) return kNotMine;
    if (Contains(program_->attached, letter)) {
      if (inline_value && !IsPorts(words_[i].s.substr(value))) Add(i, value, NameKind::kPassword, kProgramOption);
      return i;
    }
    if (Contains(program_->separate, letter)) {
      if (name.size() > 1 && ClassifyName(name) != NameKind::kNone) return kNotMine;  // -password x
      if (inline_value) {
        Add(i, words_[i].s[value] == '=' ? value + 1 : value, NameKind::kPassword, kProgramOption);
        return i;
      }
      if (i + 1 < words_.size() && !LooksLikeOption(words_[i + 1].s))
        return Add(i + 1, 0, NameKind::kPassword, kProgramOption), i + 1;
    }
    return kNotMine;
  }

  // docker's 8080:80
  static bool IsPorts(string_view value) {
    return value.find(':') != string_view::npos && std::all_of(value.begin(), value.end(), [](char c) {
             return IsDigit(c) || c == ':' || c == '.' || c == '-';
           });
  }

  void Openssl(size_t i, size_t begin) {
    const string_view value = words_[i].s.substr(begin);
    if (value.substr(0, 5) == "pass:") Add(i, begin + 5, NameKind::kPassword, kProgramOption);
  }

  void Literal(size_t i, size_t begin) {
    const size_t equals = words_[i].s.find('=', begin);
    if (equals != string_view::npos) Add(i, equals + 1, NameKind::kPassword, kProgramOption);
  }

  // What an expect script sends after it waited for a password.
  void Expect(size_t i) {
    const Text& text = words_[i];
    const string_view s = text.s;
    size_t at = s.find("assword");
    if (at == string_view::npos) at = s.find("assphrase");
    while (at != string_view::npos) {
      const size_t send = s.find("send", at);
      if (send == string_view::npos) break;
      const size_t quote = s.find_first_of("\"{", send);
      if (quote == string_view::npos) break;
      const char close = s[quote] == '{' ? '}' : '"';
      size_t end = quote + 1;
      while (end < s.size() && s[end] != close && s.substr(end, 2) != "\\r" && s.substr(end, 2) != "\\n") ++end;
      if (IsSecretValue(text, quote + 1, end, NameKind::kPassword)) findings_->Add(text, quote + 1, end, kExpect);
      at = s.find("assword", end);
    }
  }

  void Script(size_t i, bool sure) {
    if (!sure && (Is(kQuiet) || words_[i].s.find('{') == 0 || words_[i].s.find('<') == 0)) return;
    if (sure) scripts_.push_back(&words_[i]);
    FindInScript(words_[i], sure, depth_ + 1, findings_);
  }

  // What the whole command says.
  void Finish() {
    const size_t n = words_.size();
    if (Is(kLastWord) && n >= 3) Add(n - 1, 0, NameKind::kPassword, kProgramOption);
    if (Is(kAddUser)) {
      for (size_t i = 0; i + 2 < n; ++i) {
        if (words_[i].s == "add_user" || words_[i].s == "change_password")
          Add(i + 2, 0, NameKind::kPassword, kProgramOption);
      }
    }
    if (Is(kVaultPut) && (Mentions("put") || Mentions("write") || Mentions("create"))) {
      for (size_t i = 1; i < n; ++i) {
        const size_t equals = words_[i].s.find('=');
        if (equals != string_view::npos && words_[i].s[0] != '-') Add(i, equals + 1, NameKind::kToken, kProgramOption);
      }
    }
    if (Is(kUnlock) && n >= 3) {
      const string_view verb = words_[n - 2].s;
      if (verb == "login" || verb == "unlock" || verb == "unseal") Add(n - 1, 0, NameKind::kToken, kProgramOption);
    }
    if (Is(kSlashUser)) {
      for (size_t i = 1; i < n; ++i) {
        const string_view word = words_[i].s;
        const size_t slash = word.find('/');
        if (slash == string_view::npos || slash == 0 || word[0] == '-' || word.find('=') < slash) continue;
        const size_t end = std::min(word.rfind('@'), word.size());
        if (end > slash && IsSecretValue(words_[i], slash + 1, end, NameKind::kPassword))
          findings_->Add(words_[i], slash + 1, end, kProgramOption);
        break;
      }
    }
  }

 public:
  bool maybe_ = false;                // the words may be prose
  std::vector<const Text*> scripts_;  // words that were read as scripts, in order

 private:
  std::span<const Text> words_;
  int depth_;
  Findings* findings_;
  const Program* program_ = nullptr;
  int login_ = -1;  // not looked yet
  int secret_ = -1;
};

// It reads a secret from its standard input.
bool ReadsSecret(const ShellCommand& command) {
  bool login = false;
  for (const Text& text : command.words) {
    const string_view word = text.s;
    const string_view name = BaseName(word);
    for (const string_view program : {"chpasswd", "passwd", "smbpasswd", "kinit", "cryptsetup", "secret-tool",
                                      "pdbedit", "wpa_passphrase", "saslpasswd2", "chgpasswd", "ssh-add", "su"}) {
      if (name == program) return true;
    }
    if (word == "login" || word == "secret" || word == "secrets" || word == "-S" || word == "set-password")
      login = true;
    if (word.substr(0, 2) == "--" && (word.find("password-stdin") != string_view::npos || word == "--with-token" ||
                                      word == "--passphrase-fd" || word == "--stdin" || word == "--pass-stdin"))
      return true;
    if (word == "-passin" || word == "-pass" || word == "-passout")
      login = login || command.words.back().s.find("stdin") != string_view::npos;
  }
  return login;
}

void EchoedSecret(const ShellCommand& command, bool users, Findings* findings) {
  bool first = true;
  for (const Text& text : command.words) {
    if (first) {
      first = false;
      continue;
    }
    if (text.s.size() <= 4 && !text.s.empty() && text.s[0] == '-') continue;
    if (!text.s.empty() && text.s[0] == '%') continue;  // printf's format
    size_t begin = 0;
    const size_t colon = text.s.find(':');
    if (users && colon != string_view::npos) begin = colon + 1;
    if (IsSecretValue(text, begin, text.s.size(), NameKind::kPassword))
      findings->Add(text, begin, text.s.size(), kStdin);
  }
}

bool IsEcho(const ShellCommand& command) {
  if (command.words.size() < 2) return false;
  const string_view name = BaseName(command.words[0].s);
  return name == "echo" || name == "printf" || name == "print";
}

bool Mentions(const ShellCommand& command, string_view name) {
  return std::any_of(command.words.begin(), command.words.end(),
                     [name](const Text& text) { return BaseName(text.s) == name; });
}

// echo SECRET | docker login --password-stdin, and here-strings.
void FindInPipes(const ShellScript& script, bool cut, Findings* findings) {
  const auto& commands = script.commands;
  for (size_t i = 0; i < commands.size(); ++i) {
    if (!commands[i].inputs.empty() && ReadsSecret(commands[i])) {
      const bool users = Mentions(commands[i], "chpasswd");
      for (const Text& text : commands[i].inputs) {
        size_t begin = 0;
        while (begin < text.s.size()) {
          size_t end = std::min(text.s.find('\n', begin), text.s.size());
          const size_t colon = text.s.substr(begin, end - begin).find(':');
          const size_t from = users && colon != string_view::npos ? begin + colon + 1 : begin;
          if (IsSecretValue(text, from, end, NameKind::kPassword)) findings->Add(text, from, end, kStdin);
          begin = end + 1;
        }
      }
    }
    if (!IsEcho(commands[i])) continue;
    bool reads = false, users = false, last = !commands[i].pipes_on && i + 1 == commands.size();
    for (size_t j = i; commands[j].pipes_on && j + 1 < commands.size() && j - i < kMaxPipe; ++j) {
      reads = reads || ReadsSecret(commands[j + 1]);
      users = users || Mentions(commands[j + 1], "chpasswd");
      last = last || (!commands[j + 1].pipes_on && j + 2 >= commands.size());
    }
    // What reads it may stand behind the cut.
    if (reads || (cut && last && !commands[i].redirected)) EchoedSecret(commands[i], users, findings);
  }
}

}  // namespace

string_view BaseName(string_view path) {
  const size_t slash = path.rfind('/');
  if (slash != string_view::npos) path.remove_prefix(slash + 1);
  if (path.size() > 1 && path[0] == '-') path.remove_prefix(1);
  return path;
}

bool IsKnownProgram(string_view name) { return FindProgram(name) != nullptr; }

void FindInText(const Text& text, Findings* findings) {
  if ((text.families & kShape) != 0) FindShapes(text, findings);
  if ((text.families & kUrl) != 0) FindUrls(text, findings);
  if ((text.families & kWord) != 0) FindAssignments(text, findings);
}

void FindInCommand(string_view program, std::span<const Text> words, bool sure, int depth, Findings* findings) {
  CommandReader reader(words, depth, findings);
  reader.maybe_ = !sure;
  reader.Run(program);
  auto script = reader.scripts_.begin();
  for (const Text& word : words) {
    Text text = word;
    while (script != reader.scripts_.end() && *script < &word) ++script;
    if (script != reader.scripts_.end() && *script == &word) {
      text.families = static_cast<uint8_t>(text.families & ~kWord);  // names there were looked at, word by word
    } else if (!sure) {
      text.families = static_cast<uint8_t>(text.families & ~kWord);  // names there are looked at in the whole text
    }
    FindInText(text, findings);
  }
}

void FindInScript(const Text& text, bool sure, int depth, Findings* findings) {
  if (depth > kMaxDepth) return findings->Fail(text.arg);
  const Triggers& triggers = Triggers::Get();
  if (triggers.Families(text.s) == 0 && !text.cut) return;
  ShellScript script;
  SplitShell(text, &script);
  for (ShellCommand& command : script.commands) {
    for (Text& word : command.words) word.families = triggers.Families(word.s);
    FindInCommand({}, command.words, sure, depth, findings);
    for (Text& input : command.inputs) {
      input.families = triggers.Families(input.s);
      FindInText(input, findings);
    }
  }
  for (Text& loose : script.loose) {
    loose.families = triggers.Families(loose.s);
    FindInText(loose, findings);
    if (HasSpace(loose.s)) FindInScript(loose, false, depth + 1, findings);
  }
  for (const Text& inner : script.scripts) FindInScript(inner, true, depth + 1, findings);
  FindInPipes(script, text.cut, findings);
}

}  // namespace nodetrail::agent::redact

// SPDX-License-Identifier: Apache-2.0
#include "agent/redact/text_rules.h"

#include <algorithm>
#include <array>

#include "agent/redact/names.h"

namespace nodetrail::agent::redact {
namespace {

using std::string_view;
constexpr size_t kMaxName = 96;
constexpr size_t kMaxUrl = 2048;  // how far the user part is looked for

bool IsNameChar(char c) { return IsAlnum(c) || c == '_' || c == '-' || c == '.'; }
bool IsQuote(char c) { return c == '"' || c == '\''; }

// Where a separator stands, and what it separates.
struct Site {
  size_t separator = 0;  // '=' or ':'
  size_t name_begin = 0, name_end = 0;
  size_t value = 0;  // first byte behind the separator
  char name_quote = 0;
  bool spaced = false;    // white space before the separator
  bool compared = false;  // ==, !=: only a quoted value can be a secret
};

class AssignmentFinder {
 public:
  AssignmentFinder(const Text& text, Findings* findings) : text_(text), s_(text.s), findings_(findings) {}

  void Run() {
    while (dashes_ < s_.size() && (s_[dashes_] == '-' || s_[dashes_] == '/')) ++dashes_;
    for (size_t i = 0; i < s_.size(); ++i) {
      const char c = s_[i];
      if (c == '?') in_query_ = true;
      if (IsSpace(c)) in_query_ = false;
      if (i < done_) continue;
      if (c == '=' || c == ':') {
        Site site;
        if (ReadSite(i, &site)) Judge(site);
      } else if (c == '>') {
        Element(i);
      } else if (IsQuote(c)) {
        Sql(i);
      }
    }
  }

 private:
  bool ReadSite(size_t i, Site* site) {
    site->separator = i;
    site->value = i + 1;
    size_t j = i;
    if (s_[i] == ':' && (s_.substr(i, 3) == "://" || s_.substr(i, 2) == "::")) return false;
    if (i > 0 && (s_[i - 1] == ':' || s_[i - 1] == '+') && s_[i] == '=') --j;  // := +=
    if (i > 0 && s_[i] == '=' && (s_[i - 1] == '=' || s_[i - 1] == '!' || s_[i - 1] == '<' || s_[i - 1] == '>')) {
      site->compared = true;
      --j;
    }
    if (s_[i] == '=' && i + 1 < s_.size() && s_[i + 1] == '=') return false;  // the second one is looked at
    if (s_[i] == '=' && i + 1 < s_.size() && s_[i + 1] == '>') ++site->value;
    if (s_[i] == '=' && i + 1 < s_.size() && s_[i + 1] == '~') return false;
    size_t spaces = 0;
    while (j > 0 && spaces < 8 && (s_[j - 1] == ' ' || s_[j - 1] == '\t')) --j, ++spaces;
    site->spaced = spaces > 0;
    while (j > 0 && s_[j - 1] == ']') --j;
    if (j > 0 && IsQuote(s_[j - 1])) {
      site->name_quote = s_[--j];
      while (j > 0 && s_[j - 1] == '\\') --j;
    }
    site->name_end = j;
    while (j > 0 && site->name_end - j < kMaxName && IsNameChar(s_[j - 1])) --j;
    site->name_begin = j;
    while (site->name_begin < site->name_end && (s_[site->name_begin] == '-' || s_[site->name_begin] == '.'))
      ++site->name_begin;
    return site->name_begin < site->name_end;
  }

  void Judge(const Site& site) {
    const string_view name = s_.substr(site.name_begin, site.name_end - site.name_begin);
    const char before = site.name_begin > 0 ? s_[site.name_begin - 1] : '\0';
    if (s_[site.separator] == ':' && IsSecretHeader(name)) {
      if (Header(site)) return;
    }
    NameKind kind = ClassifyName(name);
    if (kind == NameKind::kNone && name == "value") kind = attribute_;  // key="DbPassword" value="X"
    if (name == "key" || name == "name") Attribute(site);
    if (name == "PWD" && site.value < s_.size() && s_[site.value] == '/') return;  // the shell's directory
    if (s_[site.separator] == '=' && (in_query_ || before == '&') &&
        (before == '?' || before == '&' || before == ';') && kind == NameKind::kNone && IsSecretParameter(name))
      kind = NameKind::kToken;
    if (kind == NameKind::kNone) return;
    if (s_[site.separator] == ':' && before == '{' && site.value < s_.size() &&
        (s_[site.value] == '-' || s_[site.value] == '=' || s_[site.value] == '+')) {
      return Default(site, kind);
    }
    if (s_[site.separator] == ':' && before == '$') return;
    Value(site, kind, before);
  }

  // name="password" before a value="…".
  void Attribute(const Site& site) {
    attribute_ = NameKind::kNone;
    if (site.value >= s_.size() || !IsQuote(s_[site.value])) return;
    const size_t end = std::min(s_.find(s_[site.value], site.value + 1), s_.size());
    if (end - site.value <= kMaxName) attribute_ = ClassifyName(s_.substr(site.value + 1, end - site.value - 1));
  }

  // ${NAME:-value}
  void Default(const Site& site, NameKind kind) {
    const size_t begin = site.value + 1;
    const size_t end = std::min(s_.find('}', begin), s_.size());
    // The whole of ${…} is an expansion, its default is not.
    Text plain = text_;
    plain.map = nullptr;
    done_ = end;
    if (IsSecretValue(plain, begin, end, kind)) findings_->Add(text_, begin, end, kAssignment);
  }

  bool Header(const Site& site) {
    size_t begin = site.value;
    while (begin < s_.size() && (s_[begin] == ' ' || s_[begin] == '\t')) ++begin;
    size_t quote = begin;
    while (quote < s_.size() && s_[quote] == '\\') ++quote;
    const bool quoted = quote < s_.size() && IsQuote(s_[quote]) && (site.name_quote != 0 || quote == site.value);
    if (quoted) begin = quote + 1;
    if (begin >= s_.size()) return true;
    // "token: expected …" in prose is no header: a single name needs its own line or its quote.
    const char opener = site.name_begin > 0 ? s_[site.name_begin - 1] : '\0';
    if (opener != '\0' && !quoted && !IsQuote(opener) && opener != '\n' && opener != ' ' && opener != '=' &&
        opener != ',' && opener != '{' && opener != '\\')
      return false;
    size_t end = begin;
    const char closer = quoted ? s_[quote] : (IsQuote(opener) ? opener : '\0');
    while (end < s_.size() && s_[end] != '\n' && s_[end] != '\r' &&
           (closer != '\0' ? s_[end] != closer : s_[end] != '"')) {
      if (s_[end] == '\\' && end + 1 < s_.size() && closer != '\0') {
        if (s_[end + 1] == closer && quoted && quote > 0 && s_[quote - 1] == '\\') break;
        ++end;
      }
      ++end;
    }
    end = std::min(end, s_.size());
    static constexpr std::array<string_view, 14> kSchemes = {
        "bearer",           "basic",       "token", "digest", "negotiate", "apikey", "key", "ntlm",
        "aws4-hmac-sha256", "googlelogin", "hawk",  "ssws",   "mac",       "splunk"};
    const size_t space = s_.find(' ', begin);
    if (space != string_view::npos && space < end) {
      const string_view scheme = s_.substr(begin, space - begin);
      if (std::any_of(kSchemes.begin(), kSchemes.end(),
                      [scheme](string_view known) { return EqualsIgnoreCase(scheme, known); })) {
        begin = space;
        while (begin < end && s_[begin] == ' ') ++begin;
      }
    }
    Add(begin, end, NameKind::kPassword, kHeader);
    return true;
  }

  void Value(const Site& site, NameKind kind, char before) {
    const bool colon = s_[site.separator] == ':';
    size_t begin = site.value;
    const bool may_space = colon || site.spaced || site.name_quote != 0 || site.compared || s_[site.value - 1] == '>';
    if (may_space) {
      while (begin < s_.size() && (s_[begin] == ' ' || s_[begin] == '\t')) ++begin;
    }
    if (begin >= s_.size()) return;
    size_t quote = begin;
    while (quote < s_.size() && s_[quote] == '\\' && quote - begin < 8) ++quote;
    if (quote < s_.size() && IsQuote(s_[quote])) {
      const size_t slashes = quote - begin;
      const size_t end = Closing(quote, slashes);
      return Add(quote + 1, end, kind, site.name_quote != 0 ? uint16_t{kStructured} : RuleFor(site, before));
    }
    if (site.compared) return;
    if (colon) return Colon(site, kind, begin, before);
    if (s_[begin] == '&' || s_[begin] == ';') return;
    if (site.spaced && IsExpression(begin)) return;
    const size_t end = AtStart(site.name_begin) ? RestEnd(site, begin) : WordEnd(begin, before == '?' || before == '&');
    Add(begin, end, kind, RuleFor(site, before));
  }

  // A call or an element in code: getpass(), os.environ[…].
  [[nodiscard]] bool IsExpression(size_t begin) const {
    size_t end = begin;
    while (end < s_.size() && (IsAlnum(s_[end]) || s_[end] == '_' || s_[end] == '.')) ++end;
    return end > begin && end < s_.size() && (s_[end] == '(' || s_[end] == '[');
  }

  // The quote that closes the one at `quote`, written with as many backslashes.
  [[nodiscard]] size_t Closing(size_t quote, size_t slashes) const {
    const char q = s_[quote];
    for (size_t i = quote + 1; i < s_.size(); ++i) {
      if (s_[i] != q) continue;
      size_t n = 0;
      while (n < i - quote - 1 && s_[i - 1 - n] == '\\') ++n;
      if (n <= slashes) return i - n;
    }
    return s_.size();
  }

  // name: value without quotes: YAML, or a form of its own like name:value.
  void Colon(const Site& site, NameKind kind, size_t begin, char before) {
    const char first = s_[begin];
    if (first == '{' || first == '[' || first == '|' || first == '>' || first == '\n' || first == ',' || first == '}')
      return;
    const bool tight = begin == site.value;
    if (site.name_quote == 0) {
      if (before == '/' || before == ':' || before == '@') return;  // part of a path or an image name
      if (!LineStart(site.name_begin) && before != '{' && before != ',' && !(before == ' ' && tight)) return;
    }
    size_t end = begin;
    while (end < s_.size() && s_[end] != '\n' && s_[end] != ',' && s_[end] != '}' && !IsQuote(s_[end]) &&
           !(tight && IsSpace(s_[end]))) {
      ++end;
    }
    while (end > begin && IsSpace(s_[end - 1])) --end;
    const string_view value = s_.substr(begin, end - begin);
    if (site.name_quote == 0) {
      if (value.find(' ') != string_view::npos) return;  // prose goes on, a value does not
      if (tight && !value.empty() &&
          (value == "latest" ||
           ((IsDigit(value[0]) || value[0] == 'v') && value.find('.') != string_view::npos && value.size() <= 12)))
        return;  // the version of an image
    }
    Add(begin, end, kind, kStructured);
  }

  // Nothing but white space and a list dash between the line's start and `i`.
  [[nodiscard]] bool LineStart(size_t i) const {
    while (i > 0 && (s_[i - 1] == ' ' || s_[i - 1] == '\t' || s_[i - 1] == '-')) --i;
    return i == 0 || s_[i - 1] == '\n';
  }

  // The name begins the text but for dashes and an option letter: -Dname=, --name=.
  [[nodiscard]] bool AtStart(size_t name_begin) const { return name_begin <= dashes_; }

  // ",name=" or ";name=" or "&name=" at `i`: another pair follows.
  [[nodiscard]] bool NextPair(size_t i) const {
    size_t j = i + 1;
    while (j < s_.size() && s_[j] == ' ') ++j;
    const size_t begin = j;
    while (j < s_.size() && j - begin < 48 && (IsNameChar(s_[j]) || s_[j] == ' ' || s_[j] == '[' || s_[j] == ']')) ++j;
    return j > begin && j < s_.size() && s_[j] == '=' && IsAlpha(s_[begin]);
  }

  [[nodiscard]] size_t RestEnd(const Site& site, size_t begin) const {
    const string_view name = s_.substr(site.name_begin, site.name_end - site.name_begin);
    const bool variable = std::none_of(name.begin(), name.end(), IsLower) && site.name_begin == 0;
    size_t end = begin;
    while (end < s_.size() && s_[end] != '\n') {
      const char c = s_[end];
      if (!variable && (c == ',' || c == ';' || c == '&' || c == ' ') && NextPair(end)) break;
      ++end;
    }
    if (end == s_.size() && end > begin && s_[end - 1] == ';') --end;
    return end;
  }

  [[nodiscard]] size_t WordEnd(size_t begin, bool query) const {
    size_t end = begin;
    bool opened = false;
    while (end < s_.size()) {
      const char c = s_[end];
      if (IsSpace(c) || c == '"' || c == '\'' || c == '<' || c == '`') break;
      if (query && (c == '&' || c == '#')) break;
      if (c == '\\' && end + 1 < s_.size() && (IsQuote(s_[end + 1]) || s_[end + 1] == 'n')) break;
      if (c == ';' && (end + 1 == s_.size() || IsSpace(s_[end + 1]))) break;
      if ((c == ',' || c == ';' || c == '&') && NextPair(end)) break;
      if (c == '(' || c == '{' || c == '[') opened = true;
      if ((c == ')' || c == '}' || c == ']') && !opened) break;
      ++end;
    }
    return end;
  }

  [[nodiscard]] uint16_t RuleFor(const Site& site, char before) const {
    if (in_query_ && (before == '?' || before == '&')) return kUrlQuery;
    if (site.name_begin > 0 && (s_[site.name_begin - 1] == '-') && AtStart(site.name_begin)) return kOption;
    return kAssignment;
  }

  // <password>value</password>
  void Element(size_t i) {
    size_t j = i;
    if (j > 0 && IsQuote(s_[j - 1])) --j;  // <x name="password">value</x>
    const size_t name_end = j;
    while (j > 0 && name_end - j < kMaxName && IsNameChar(s_[j - 1])) --j;
    if (name_end != i && j > 0 && IsQuote(s_[j - 1])) {
      const NameKind attribute = ClassifyName(s_.substr(j, name_end - j));
      if (attribute != NameKind::kNone) Add(i + 1, std::min(s_.find('<', i + 1), s_.size()), attribute, kStructured);
      return;
    }
    if (j == name_end || j == 0 || (s_[j - 1] != '<' && s_[j - 1] != ':')) return;
    const NameKind kind = ClassifyName(s_.substr(j, i - j));
    if (kind == NameKind::kNone) return;
    const size_t end = std::min(s_.find('<', i + 1), s_.size());
    Add(i + 1, end, kind, kStructured);
  }

  // IDENTIFIED BY 'value', PASSWORD 'value', PASSWORD('value')
  void Sql(size_t i) {
    size_t j = i;
    while (j > 0 && i - j < 4 && (s_[j - 1] == ' ' || s_[j - 1] == '(' || s_[j - 1] == '\\')) --j;
    if (j == i || s_.substr(j, i - j).find_first_of(" (") == string_view::npos) return;
    const size_t end = j;
    while (j > 0 && end - j < 16 && IsAlpha(s_[j - 1])) --j;
    const string_view word = s_.substr(j, end - j);
    const bool by = EqualsIgnoreCase(word, "by") && j >= 11 && EqualsIgnoreCase(s_.substr(j - 11, 10), "identified");
    if (!by && !EqualsIgnoreCase(word, "password")) return;
    size_t slashes = 0;
    while (slashes < i && s_[i - 1 - slashes] == '\\') ++slashes;
    Add(i + 1, Closing(i, slashes), NameKind::kPassword, kSql);
  }

  void Add(size_t begin, size_t end, NameKind kind, uint16_t rule) {
    if (begin >= end) return;
    done_ = end;
    if (IsSecretValue(text_, begin, end, kind)) findings_->Add(text_, begin, end, rule);
  }

  const Text& text_;
  string_view s_;
  Findings* findings_;
  size_t done_ = 0;
  NameKind attribute_ = NameKind::kNone;
  size_t dashes_ = 0;  // the text begins with so many
  bool in_query_ = false;
};

bool EndsUrl(char c) { return IsSpace(c) || c == '"' || c == '\'' || c == '<' || c == '>' || c == '`' || c == '\\'; }

}  // namespace

void FindAssignments(const Text& text, Findings* findings) { AssignmentFinder(text, findings).Run(); }

void FindUrls(const Text& text, Findings* findings) {
  const string_view s = text.s;
  for (size_t i = s.find("://"); i != string_view::npos; i = s.find("://", i + 3)) {
    const size_t begin = i + 3;
    size_t end = begin;
    // Another URL behind this one is looked at on its own, which keeps the search linear.
    const size_t limit = std::min({s.size(), begin + kMaxUrl, s.find("://", begin)});
    while (end < limit && !EndsUrl(s[end])) ++end;
    const string_view authority = s.substr(begin, end - begin);
    const size_t slash = std::min(authority.find_first_of("/?#"), authority.size());
    size_t at = authority.substr(0, slash).rfind('@');
    const size_t colon = authority.substr(0, slash).find(':');
    if (at == string_view::npos && colon != string_view::npos && slash < authority.size()) {
      // A password may hold a slash in a URL written by hand, a port may not.
      const string_view port = authority.substr(colon + 1, slash - colon - 1);
      const bool is_port = port.size() <= 5 && std::all_of(port.begin(), port.end(), IsDigit);
      if (!is_port && authority[0] != '[') {
        const size_t far = authority.find('@', slash);
        if (far != string_view::npos && far < authority.find('?')) at = far;
      }
    }
    if (at != string_view::npos) {
      const size_t user_end = authority.find(':');
      if (user_end != string_view::npos && user_end < at) {
        if (IsSecretValue(text, begin + user_end + 1, begin + at, NameKind::kPassword)) {
          findings->Add(text, begin + user_end + 1, begin + at, kUrlPassword);
        } else if (user_end + 1 == at && LooksRandom(authority.substr(0, user_end))) {
          findings->Add(text, begin, begin + user_end, kUrlPassword);
        }
      } else if (at >= 20 && LooksRandom(authority.substr(0, at))) {
        findings->Add(text, begin, begin + at, kUrlPassword);
      }
    } else if (text.cut && end == s.size() && colon != string_view::npos && authority[0] != '[') {
      const string_view port = authority.substr(colon + 1, slash - colon - 1);
      const bool is_port = port.size() <= 5 && std::all_of(port.begin(), port.end(), IsDigit);
      if (!is_port) findings->Add(text, begin + colon + 1, end, kUrlPassword);
    } else if (text.cut && end == s.size() && slash == authority.size() && authority.size() >= 8 &&
               authority.find('.') == string_view::npos) {
      findings->Add(text, begin, end, kUrlPassword);  // maybe a token before its '@'
    }
  }
}

}  // namespace nodetrail::agent::redact

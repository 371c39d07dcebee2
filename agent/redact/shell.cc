// SPDX-License-Identifier: Apache-2.0
#include "agent/redact/shell.h"

#include <algorithm>

namespace nodetrail::agent::redact {
namespace {

using std::string_view;

class Splitter {
 public:
  Splitter(const Text& script, ShellScript* out) : script_(script), s_(script.s), out_(out) {}

  void Run() {
    out_->commands.emplace_back();
    while (i_ < s_.size()) {
      const char c = s_[i_];
      if (c == '\n') {
        EndWord();
        EndCommand(false);
        ++i_;
        Bodies();
      } else if (IsSpace(c)) {
        EndWord();
        ++i_;
      } else if (c == '#' && word_ == nullptr) {
        const size_t end = std::min(s_.find('\n', i_), s_.size());
        while (i_ < end && (s_[i_] == '#' || s_[i_] == ' ')) ++i_;
        out_->loose.push_back(Part(i_, end));
        i_ = end;
      } else if (c == '|' || c == ';' || c == '&' || c == '(' || c == ')') {
        Operator(c);
      } else if (c == '<' || c == '>') {
        Redirection(c);
      } else {
        WordPart();
      }
    }
    EndWord();
    Bodies();
  }

 private:
  struct HereDocument {
    std::string delimiter;
    size_t command;
  };
  enum class Role : unsigned char { kWord, kTarget, kHereString, kDelimiter };

  // A part of the script as a text of its own.
  Text Part(size_t begin, size_t end) {
    Text part;
    part.s = s_.substr(begin, end - begin);
    part.arg = script_.arg;
    part.cut = script_.cut && end == s_.size();
    if (script_.map == nullptr) {
      part.base = script_.base + static_cast<uint32_t>(begin);
      return part;
    }
    out_->words.emplace_back();
    TextMap& map = out_->words.back().map;
    const auto from = static_cast<ptrdiff_t>(begin);
    const auto to = static_cast<ptrdiff_t>(end);
    map.begin.assign(script_.map->begin.begin() + from, script_.map->begin.begin() + to);
    map.end.assign(script_.map->end.begin() + from, script_.map->end.begin() + to);
    part.map = &map;
    return part;
  }

  ShellWord* Word() {
    if (word_ == nullptr) {
      out_->words.emplace_back();
      word_ = &out_->words.back();
    }
    return word_;
  }

  // The byte at `to` - 1, written as [from, to), is part of the word.
  void Put(size_t from, size_t to) {
    ShellWord* word = Word();
    word->decoded.push_back(s_[to - 1]);
    word->map.begin.push_back(script_.SourceBegin(from));
    word->map.end.push_back(script_.SourceEnd(to - 1));
  }

  void EndWord() {
    if (word_ == nullptr) return;
    Text text;
    text.s = word_->decoded;
    text.arg = script_.arg;
    text.map = &word_->map;
    text.cut = script_.cut && i_ == s_.size();
    ShellCommand& command = out_->commands.back();
    switch (role_) {
      case Role::kWord: command.words.push_back(text); break;
      case Role::kTarget: out_->loose.push_back(text); break;
      case Role::kHereString: command.inputs.push_back(text); break;
      case Role::kDelimiter: pending_.push_back({word_->decoded, out_->commands.size() - 1}); break;
    }
    role_ = Role::kWord;
    word_ = nullptr;
  }

  void EndCommand(bool pipe) {
    ShellCommand& command = out_->commands.back();
    if (command.words.empty() && command.inputs.empty()) return;
    command.pipes_on = pipe;
    out_->commands.emplace_back();
  }

  void Operator(char c) {
    EndWord();
    const char next = i_ + 1 < s_.size() ? s_[i_ + 1] : '\0';
    if (c == '&' && next == '>') {  // &>file
      ++i_;
      return;
    }
    const bool twice = next == c && c != '(' && c != ')';
    EndCommand(c == '|' && !twice);
    i_ += twice || (c == '|' && next == '&') ? 2 : 1;
  }

  void Redirection(char c) {
    // A number before it is the descriptor's.
    if (word_ != nullptr && std::all_of(word_->decoded.begin(), word_->decoded.end(), IsDigit)) {
      word_ = nullptr;
    }
    EndWord();
    if (s_.substr(i_, 3) == "<<<") {
      role_ = Role::kHereString;
      i_ += 3;
      return;
    }
    if (s_.substr(i_, 2) == "<<") {
      role_ = Role::kDelimiter;
      i_ += 2;
      if (i_ < s_.size() && s_[i_] == '-') ++i_;
      return;
    }
    if (s_.substr(i_, 2) == "<(" || s_.substr(i_, 2) == ">(") {
      const size_t end = Bracket(i_ + 2);
      out_->scripts.push_back(Part(i_ + 2, end));
      i_ = std::min(end + 1, s_.size());
      return;
    }
    role_ = Role::kTarget;
    const bool standard_output =
        c == '>' && (i_ + 1 >= s_.size() || s_[i_ + 1] != '&') && (i_ == 0 || s_[i_ - 1] != '2');
    if (standard_output) out_->commands.back().redirected = true;
    ++i_;
    while (i_ < s_.size() && (s_[i_] == '>' || s_[i_] == '&' || s_[i_] == '|')) ++i_;
  }

  void WordPart() {
    const char c = s_[i_];
    if (c == '\\') {
      if (i_ + 1 < s_.size() && s_[i_ + 1] == '\n') {
        i_ += 2;
        return;
      }
      const size_t to = std::min(i_ + 2, s_.size());
      Put(i_, to);
      i_ = to;
    } else if (c == '\'') {
      Word();
      size_t at = i_ + 1;
      for (; at < s_.size() && s_[at] != '\''; ++at) Put(at, at + 1);
      i_ = std::min(at + 1, s_.size());
    } else if (c == '"') {
      DoubleQuoted();
    } else if (c == '$' || c == '`') {
      Dollar();
    } else {
      Put(i_, i_ + 1);
      ++i_;
    }
  }

  void DoubleQuoted() {
    Word();
    ++i_;
    while (i_ < s_.size() && s_[i_] != '"') {
      if (s_[i_] == '\\' && i_ + 1 < s_.size() && string_view("\"\\$`\n").find(s_[i_ + 1]) != string_view::npos) {
        if (s_[i_ + 1] != '\n') Put(i_, i_ + 2);
        i_ += 2;
      } else if (s_[i_] == '$' || s_[i_] == '`') {
        Dollar();
      } else {
        Put(i_, i_ + 1);
        ++i_;
      }
    }
    if (i_ < s_.size()) ++i_;
  }

  void Dollar() {
    const size_t begin = i_;
    if (s_[i_] == '`') {
      size_t end = i_ + 1;
      while (end < s_.size() && s_[end] != '`') end += s_[end] == '\\' ? size_t{2} : size_t{1};
      end = std::min(end, s_.size());
      out_->scripts.push_back(Part(i_ + 1, end));
      return Expansion(begin, std::min(end + 1, s_.size()));
    }
    const char next = i_ + 1 < s_.size() ? s_[i_ + 1] : '\0';
    if (next == '\'') {  // $'…'
      Word();
      size_t at = i_ + 2;
      while (at < s_.size() && s_[at] != '\'') {
        const size_t to = s_[at] == '\\' ? std::min(at + 2, s_.size()) : at + 1;
        Put(at, to);
        at = to;
      }
      i_ = std::min(at + 1, s_.size());
      return;
    }
    if (next == '(') {
      const size_t end = Bracket(i_ + 2);
      out_->scripts.push_back(Part(i_ + 2, end));
      return Expansion(begin, std::min(end + 1, s_.size()));
    }
    if (next == '{') {
      const size_t end = s_.find('}', i_);
      return Expansion(begin, end == string_view::npos ? s_.size() : end + 1);
    }
    size_t end = i_ + 1;
    if (IsAlpha(next) || next == '_') {
      while (end < s_.size() && (IsAlnum(s_[end]) || s_[end] == '_')) ++end;
    } else if (IsDigit(next) || next == '@' || next == '*' || next == '#' || next == '?' || next == '!' ||
               next == '-') {
      ++end;
    } else {
      Put(i_, i_ + 1);
      ++i_;
      return;
    }
    Expansion(begin, end);
  }

  // Kept as it is written, and marked.
  void Expansion(size_t begin, size_t end) {
    ShellWord* word = Word();
    const auto first = static_cast<uint32_t>(word->decoded.size());
    for (size_t at = begin; at < end; ++at) Put(at, at + 1);
    word->map.expansions.emplace_back(first, static_cast<uint32_t>(word->decoded.size()));
    i_ = end;
  }

  // The ')' for the bracket before `at`; the script's end if there is none.
  [[nodiscard]] size_t Bracket(size_t at) const {
    int open = 1;
    for (; at < s_.size(); ++at) {
      const char c = s_[at];
      if (c == '\\') {
        ++at;
      } else if (c == '\'') {
        at = std::min(s_.find('\'', at + 1), s_.size());
      } else if (c == '(') {
        ++open;
      } else if (c == ')' && --open == 0) {
        return at;
      }
    }
    return s_.size();
  }

  // Bodies of the here-documents announced on the line before.
  void Bodies() {
    for (const HereDocument& document : pending_) {
      const size_t begin = i_;
      size_t end = i_;
      while (i_ < s_.size()) {
        const size_t line_end = std::min(s_.find('\n', i_), s_.size());
        string_view line = s_.substr(i_, line_end - i_);
        while (!line.empty() && line.front() == '\t') line.remove_prefix(1);
        i_ = std::min(line_end + 1, s_.size());
        if (line == document.delimiter) break;
        end = i_;
      }
      if (end == begin) continue;
      const Text body = Part(begin, end);
      out_->loose.push_back(body);
      out_->commands[document.command].inputs.push_back(body);
    }
    pending_.clear();
  }

  const Text& script_;
  string_view s_;
  ShellScript* out_;
  size_t i_ = 0;
  ShellWord* word_ = nullptr;
  Role role_ = Role::kWord;
  std::vector<HereDocument> pending_;
};

}  // namespace

void SplitShell(const Text& script, ShellScript* out) { Splitter(script, out).Run(); }

}  // namespace nodetrail::agent::redact

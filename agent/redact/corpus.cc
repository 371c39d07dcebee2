// SPDX-License-Identifier: Apache-2.0
#include "agent/redact/corpus.h"

#include <algorithm>
#include <fstream>

namespace nodetrail::agent {
namespace {

constexpr std::string_view kOpen = "«";
constexpr std::string_view kClose = "»";

char Like(char c, std::mt19937_64* random) {
  const auto pick = [random](char first, uint64_t n) {
    return static_cast<char>(first + static_cast<char>((*random)() % n));
  };
  if (c >= 'a' && c <= 'f') return pick('a', 6);  // stays a hexadecimal digit
  if (c >= 'g' && c <= 'z') return pick('g', 20);
  if (c >= 'A' && c <= 'Z') return pick('A', 26);
  if (c >= '0' && c <= '9') return pick('1', 9);
  return c;
}

CorpusArg ReadArg(std::string_view field, std::mt19937_64* random, std::vector<std::string>* made_up) {
  CorpusArg arg;
  bool secret = false, kept = false;
  std::string run;
  const auto end_run = [&] {
    if (run.size() >= 8) made_up->push_back(run);
    run.clear();
  };
  for (size_t i = 0; i < field.size();) {
    const std::string_view rest = field.substr(i);
    if (rest.substr(0, kOpen.size()) == kOpen) {
      arg.secrets.emplace_back(arg.text.size(), 0);
      secret = true;
      i += kOpen.size();
    } else if (rest.substr(0, kClose.size()) == kClose) {
      arg.secrets.back().second = arg.text.size();
      secret = kept = false;
      end_run();
      i += kClose.size();
    } else if (secret && rest[0] == '|') {
      kept = !kept;
      end_run();
      ++i;
    } else if (rest[0] == '\\' && rest.size() > 1 &&
               (rest[1] == 'n' || rest[1] == 't' || rest[1] == 's' || rest[1] == '\\')) {
      if (secret) end_run();
      const char plain = rest[1] == 'n' ? '\n' : rest[1] == 't' ? '\t' : rest[1] == 's' ? ' ' : '\\';
      arg.text.push_back(plain);
      i += 2;
    } else {
      arg.text.push_back(secret && !kept ? Like(rest[0], random) : rest[0]);
      if (secret && !kept) run.push_back(arg.text.back());
      ++i;
    }
  }
  return arg;
}

}  // namespace

std::string CorpusLine::Argv() const {
  std::string argv;
  for (const CorpusArg& arg : args) argv.append(arg.text).push_back('\0');
  return argv;
}

std::vector<CorpusLine> ReadCorpus(const std::string& path, std::mt19937_64* random) {
  std::vector<CorpusLine> lines;
  std::ifstream file(path);
  std::string text;
  for (int number = 1; std::getline(file, text); ++number) {
    if (text.empty() || text[0] == '#') continue;
    CorpusLine line;
    line.number = number;
    size_t begin = 0;
    for (int column = 0; begin <= text.size(); ++column) {
      const size_t end = std::min(text.find('\t', begin), text.size());
      const std::string_view field = std::string_view(text).substr(begin, end - begin);
      if (column == 0) {
        line.family = field;
      } else if (column == 1) {
        line.exe = field;
      } else {
        line.args.push_back(ReadArg(field, random, &line.random));
      }
      begin = end + 1;
    }
    lines.push_back(std::move(line));
  }
  return lines;
}

}  // namespace nodetrail::agent

// SPDX-License-Identifier: Apache-2.0
//
// Reads testdata/corpus.tsv: command lines whose secrets are marked. For tests.
#ifndef NODETRAIL_AGENT_REDACT_CORPUS_H_
#define NODETRAIL_AGENT_REDACT_CORPUS_H_

#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace nodetrail::agent {

// One argument, the marks replaced by fresh values.
struct CorpusArg {
  std::string text;
  std::vector<std::pair<size_t, size_t>> secrets;  // [begin, end) in text
};

struct CorpusLine {
  int number = 0;      // in the file
  std::string family;  // "clean": no secret in it
  std::string exe;
  std::vector<CorpusArg> args;
  std::vector<std::string> random;  // the parts of the secrets that were made up, of 8 bytes and more

  // NUL-separated, as the kernel has it.
  [[nodiscard]] std::string Argv() const;
};

// Each run has other secrets: letters and digits of «a mark» are replaced by
// others of their kind, but for what stands between bars (|ghp_|). Empty on a
// file that can't be read.
std::vector<CorpusLine> ReadCorpus(const std::string& path, std::mt19937_64* random);

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_REDACT_CORPUS_H_

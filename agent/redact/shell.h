// SPDX-License-Identifier: Apache-2.0
//
// Splits a shell script into commands and their words, keeping for each byte
// where it came from. Lexical and forgiving: any input gives an answer, and a
// quote or bracket that never closes reaches to the end.
#ifndef NODETRAIL_AGENT_REDACT_SHELL_H_
#define NODETRAIL_AGENT_REDACT_SHELL_H_

#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "agent/redact/rules.h"

namespace nodetrail::agent::redact {

struct ShellWord {
  std::string decoded;
  TextMap map;
  bool at_end = false;  // reaches the script's end
};

struct ShellCommand {
  std::vector<Text> words;   // without redirections
  std::vector<Text> inputs;  // here-strings and here-documents
  bool pipes_on = false;     // its output goes into the next command
  bool redirected = false;   // its output goes into a file
};

struct ShellScript {
  std::deque<ShellWord> words;  // what the Texts below view
  std::vector<ShellCommand> commands;
  std::vector<Text> loose;    // comments, targets of redirections, bodies of here-documents
  std::vector<Text> scripts;  // within $(…) and `…`
};

// The Texts view `script.s` and the result.
void SplitShell(const Text& script, ShellScript* out);

}  // namespace nodetrail::agent::redact

#endif  // NODETRAIL_AGENT_REDACT_SHELL_H_

// SPDX-License-Identifier: Apache-2.0
//
// Secrets that a command line announces by what stands before them: the word
// behind --password, mysql's -pVALUE, curl's -u user:VALUE, and scripts within
// an argument, which are command lines again.
#ifndef NODETRAIL_AGENT_REDACT_COMMANDS_H_
#define NODETRAIL_AGENT_REDACT_COMMANDS_H_

#include <span>
#include <string_view>

#include "agent/redact/rules.h"

namespace nodetrail::agent::redact {

// The name behind the last '/', and behind a login shell's '-'.
std::string_view BaseName(std::string_view path);

// `name` has options of its own, or runs other programs.
bool IsKnownProgram(std::string_view name);

// Adds what is announced in the words of one command. `program`: the image's
// name where it may differ from words[0], or empty. `depth`: of scripts within
// scripts; behind kMaxDepth an argument fails. `sure`: the words are a
// command's, not those of a text that may be prose.
void FindInCommand(std::string_view program, std::span<const Text> words, bool sure, int depth, Findings* findings);

// Adds what is in a shell script, with quoting, pipes and here-documents
// understood. `sure`: it is a script, not only a text with spaces.
void FindInScript(const Text& script, bool sure, int depth, Findings* findings);

// Every rule for one text on its own.
void FindInText(const Text& text, Findings* findings);

inline constexpr int kMaxDepth = 8;

}  // namespace nodetrail::agent::redact

#endif  // NODETRAIL_AGENT_REDACT_COMMANDS_H_

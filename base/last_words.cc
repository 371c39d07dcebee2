// SPDX-License-Identifier: Apache-2.0
#include "nodetrail/base/last_words.h"

#include <sys/uio.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <new>

namespace nodetrail {
namespace {

const char* g_program = "";

// Async-signal-safe; nothing can be done about a line that can't be written.
void Say(const char* text) {
  iovec parts[3];
  const char* texts[] = {g_program, ": ", text};
  for (int i = 0; i < 3; ++i) parts[i] = {const_cast<char*>(texts[i]), std::strlen(texts[i])};
  if (::writev(STDERR_FILENO, parts, 3) < 0) return;
}

// Both return: what was interrupted then ends the process by the signal's default.
void Aborted(int /*signal*/) { Say("aborted: an invariant is broken, or a library found no memory\n"); }
void Crashed(int /*signal*/) { Say("crashed: a bad memory access, of ours or of a library that found no memory\n"); }

void Handle(int number, void (*handler)(int)) {
  struct sigaction action {};
  if (::sigaction(number, nullptr, &action) != 0 || action.sa_handler != SIG_DFL) return;
  action.sa_handler = handler;
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  sigemptyset(&action.sa_mask);
  ::sigaction(number, &action, nullptr);
}

}  // namespace

void EndWithoutMemory() {
  Say("no memory is left; ends at once, what is durable stays\n");
  ::_exit(kNoMemoryExitCode);
}

void InstallLastWords(const char* program) {
  g_program = program;
  std::set_new_handler(EndWithoutMemory);
  Handle(SIGABRT, Aborted);
  Handle(SIGSEGV, Crashed);
  Handle(SIGBUS, Crashed);
}

}  // namespace nodetrail

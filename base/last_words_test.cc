// SPDX-License-Identifier: Apache-2.0
#include "nodetrail/base/last_words.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <new>

namespace nodetrail {
namespace {

// That operator new comes here is row 15 of the fault table: sanitizers have an operator new of their own.
TEST(LastWordsDeathTest, NoMemoryIsOneLineAndItsExitStatus) {
  EXPECT_EXIT(
      {
        InstallLastWords("a-program");
        std::get_new_handler()();
      },
      testing::ExitedWithCode(kNoMemoryExitCode), "^a-program: no memory is left; [^\n]*\n$");
}

TEST(LastWordsDeathTest, AnAbortIsOneLineAndStillAnAbort) {
  EXPECT_EXIT(
      {
        InstallLastWords("a-program");
        std::abort();
      },
      testing::KilledBySignal(SIGABRT), "^a-program: aborted: [^\n]*\n$");
}

TEST(LastWordsDeathTest, ACrashIsOneLineAndStillACrash) {
  EXPECT_EXIT(
      {
        ::signal(SIGSEGV, SIG_DFL);
        InstallLastWords("a-program");
        ::raise(SIGSEGV);
        ::raise(SIGSEGV);  // a bad access would come again by itself
      },
      testing::KilledBySignal(SIGSEGV), "^a-program: crashed: [^\n]*\n$");
}

TEST(LastWordsDeathTest, AHandlerOfSomebodyElseStays) {
  EXPECT_EXIT(
      {
        ::signal(SIGSEGV, [](int) { ::_exit(7); });
        InstallLastWords("a-program");
        ::raise(SIGSEGV);
      },
      testing::ExitedWithCode(7), "^$");
}

}  // namespace
}  // namespace nodetrail

// SPDX-License-Identifier: Apache-2.0
//
// What a daemon says when it can't go on for want of memory, or because
// something in it is broken.
#ifndef NODETRAIL_BASE_LAST_WORDS_H_
#define NODETRAIL_BASE_LAST_WORDS_H_

namespace nodetrail {

// Exit status of a daemon that found no memory; the others are ExitCode's.
inline constexpr int kNoMemoryExitCode = 71;

// Once, at the beginning of main. `program` is a literal. From then on
// - operator new that finds no memory ends the process with
//   kNoMemoryExitCode, at once. No std::bad_alloc is thrown: a library that
//   catches everything (gRPC does, around each call) would go on with half of
//   a change, and destructors on the way would write the other half.
// - an abort (a CHECK, gRPC whose own allocation failed) and a crash say that
//   they are one; then the signal ends the process as ever. Where somebody else
//   has a handler already, a sanitizer, it stays.
// Either is one line on standard error, written without allocating, whatever
// the format of the log. The service manager starts the program again; what it
// made durable before is the truth.
void InstallLastWords(const char* program);

// The same end for OpenSSL's allocations, before its first. It would go on
// without an algorithm that it could not set up, for good: no connection would
// ever come about again. False: it has allocated already. In nt_tls.
bool InstallOpenSslLastWords();

// Ends the process for want of memory. Allocates nothing.
[[noreturn]] void EndWithoutMemory();

}  // namespace nodetrail

#endif  // NODETRAIL_BASE_LAST_WORDS_H_

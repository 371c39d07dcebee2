// SPDX-License-Identifier: Apache-2.0
//
// A record's parts against the truth, field by field.
#ifndef NODETRAIL_TESTS_ROOT_EXPECT_H_
#define NODETRAIL_TESTS_ROOT_EXPECT_H_

#include <string>
#include <vector>

#include "tests/root/fixture.h"

namespace nodetrail::root_test {

// A number of /proc/PID/status: the `index`th after "Key:".
uint64_t StatusNumber(const json& task, const std::string& key, size_t index = 0, int base = 10);
// Field `number` of /proc/PID/stat, counted as in proc(5); from 3 on.
int64_t StatNumber(const std::string& stat, size_t number);

uint32_t TgidOf(const json& truth);
uint32_t TidOf(const json& truth);

// The credentials a truth's task tells.
nt_cred CredOf(const json& task);
void ExpectCred(const nt_cred& got, const nt_cred& want, const std::string& what);

// Every field of the task block. `flags`: NT_T_EXITING, NT_T_SNAPSHOT as
// expected; NT_T_NO_NEW_PRIVS comes from the truth.
void ExpectTask(const nt_task& got, const json& truth, uint32_t flags = 0);

// nt_file and the flags expected of it, against truth_file_fd.
void ExpectFile(const nt_file& got, const json& file, uint32_t flags = NT_FILE_VALID);
// Nothing was opened: all zero.
void ExpectNoFile(const nt_file& got);
// The path /proc/self/fd told, without its " (deleted)".
std::string PathOf(const json& file);

// Exactly these tails, NT_TAIL_*.
void ExpectTails(const Record& record, const std::vector<nt_tail>& kinds);

void ExpectTime(const Record& record, const json& truth);

// The NUL-separated form of argv.
std::string JoinArgv(const std::vector<std::string>& argv);

}  // namespace nodetrail::root_test

#endif  // NODETRAIL_TESTS_ROOT_EXPECT_H_

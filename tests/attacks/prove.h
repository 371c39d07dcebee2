// SPDX-License-Identifier: Apache-2.0
//
// The mutation proof and the table.
#ifndef NODETRAIL_TESTS_ATTACKS_PROVE_H_
#define NODETRAIL_TESTS_ATTACKS_PROVE_H_

#include <string>
#include <vector>

namespace nodetrail::attacks {

// Runs each row intact, which must pass, and without its guards, which must
// let an attack through; prints a line of the table for each. All rows if
// `tests` is empty. 0 if everything is as it must be, else 1.
int Prove(const std::vector<std::string>& tests);

// docs/attacks.md, from the rows.
std::string Markdown();

// Rows against tests, guards in the source against those of the rows,
// docs/attacks.md against Markdown(). 0, or 1 and what differs.
int CheckTable();

}  // namespace nodetrail::attacks

#endif  // NODETRAIL_TESTS_ATTACKS_PROVE_H_

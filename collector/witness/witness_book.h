// SPDX-License-Identifier: Apache-2.0
//
// What each witness cosigned last, kept in the trail (log/witnesses) beside the
// checkpoint: a witness that later knows less was rolled back.
#ifndef NODETRAIL_COLLECTOR_WITNESS_WITNESS_BOOK_H_
#define NODETRAIL_COLLECTOR_WITNESS_WITNESS_BOOK_H_

#include <cstdint>
#include <map>
#include <string>

#include "nodetrail/base/status.h"

namespace nodetrail::collector {

struct WitnessEntry {
  uint64_t size = 0;       // of the largest checkpoint it cosigned
  uint64_t unix_time = 0;  // s, of its last cosignature
  uint64_t rollbacks = 0;  // how often it was seen to know less than it cosigned
};
// By verifier key.
using WitnessBook = std::map<std::string, WitnessEntry>;

// "nodetrail-witnesses 1\n", then "<vkey> <size> <time> <rollbacks>\n" each,
// then "sha256 <64 hex>\n" of all before.
std::string FormatWitnessBook(const WitnessBook& book);
Result<WitnessBook> ParseWitnessBook(std::string_view text);

// Empty if there is no file; DataLoss if it is damaged.
Result<WitnessBook> LoadWitnessBook(const std::string& path);

}  // namespace nodetrail::collector

#endif  // NODETRAIL_COLLECTOR_WITNESS_WITNESS_BOOK_H_

// SPDX-License-Identifier: Apache-2.0
//
// Daemon log on standard error: text or JSON lines. Logs never print event
// fields (paths, arguments, addresses of the observed): those are evidence,
// and unredacted ones must not leave the pipeline.
#ifndef NODETRAIL_BASE_LOG_H_
#define NODETRAIL_BASE_LOG_H_

#include <string_view>

namespace nodetrail::log {

enum class Level { kTrace, kDebug, kInfo, kWarn, kError };

// Once, from main, before the first thread. `program` begins each line.
void Init(std::string_view program, Level level, bool json);
// "info" -> kInfo; false if unknown.
bool ParseLevel(std::string_view text, Level* level);

// Thread-safe. A message is one line; control characters are escaped.
void Write(Level level, std::string_view message);

inline void Debug(std::string_view message) { Write(Level::kDebug, message); }
inline void Info(std::string_view message) { Write(Level::kInfo, message); }
inline void Warn(std::string_view message) { Write(Level::kWarn, message); }
inline void Error(std::string_view message) { Write(Level::kError, message); }

}  // namespace nodetrail::log

#endif  // NODETRAIL_BASE_LOG_H_

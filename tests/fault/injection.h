// SPDX-License-Identifier: Apache-2.0
//
// What the sweeps do to a program under test, by a library that is preloaded
// into it and a page that it shares with us, so that it can be read afterwards.
#ifndef NODETRAIL_TESTS_FAULT_INJECTION_H_
#define NODETRAIL_TESTS_FAULT_INJECTION_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "tests/fault/shim/kill_page.h"

namespace nodetrail::fault {

enum class Fault {
  kKill,    // SIGKILL before (point 2n-1) or after (2n) its n-th call that changes its files
  kMemory,  // its n-th allocation is refused, once
};

class Injection {
 public:
  virtual ~Injection() = default;

  // For the program's environment. `dirs`: whose files are meant; absolute, with colons between.
  [[nodiscard]] virtual std::map<std::string, std::string> Environment(const std::string& dirs) const = 0;
  // What the program does from now on, if it can't say so itself.
  virtual void Mark(fault_mark mark) = 0;
  // After its end: the library was in it.
  [[nodiscard]] virtual bool loaded() const = 0;
  // How many points there were.
  [[nodiscard]] virtual uint64_t points() const = 0;
  // A point's place, for people.
  [[nodiscard]] virtual std::string Where(uint64_t point) const = 0;
  // `status`: the program's, 128 + signal if it was killed. The point was come to.
  [[nodiscard]] virtual bool Reached(int status) const = 0;
  // The kind of this end: what is counted.
  [[nodiscard]] virtual std::string Ended(int status) const = 0;
  // Empty if the program may end so after that; else what is wrong. `log`: what it said.
  [[nodiscard]] virtual std::string Judge(int status, const std::string& log) const = 0;
};

// `path` is made. Point 0: only counts.
std::unique_ptr<Injection> MakeInjection(Fault fault, const std::string& path, uint64_t point);

}  // namespace nodetrail::fault

#endif  // NODETRAIL_TESTS_FAULT_INJECTION_H_

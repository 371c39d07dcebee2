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
#include <vector>

#include "tests/fault/shim/kill_page.h"

namespace nodetrail::fault {

enum class Fault {
  kKill,    // SIGKILL before (point 2n-1) or after (2n) its n-th call that changes its files
  kMemory,  // its n-th allocation is refused, once
};

// A part of the workload that a sweep is to have been in: the calls that have
// `match` in their entry ("pwrite spool/00….seg"), made at this mark (fault_mark)
// if it is not 0; the first ones only if `first` is not 0.
struct Phase {
  std::string name;
  std::string match;
  int mark = 0;
  uint64_t first = 0;

  [[nodiscard]] bool Has(const std::string& entry, int at) const {
    return (mark == 0 || mark == at) && entry.find(match) != std::string::npos;
  }
};

// One place of a run. Of a phase, if it is not 0, else of the whole. `n` 0: only
// counts.
struct Point {
  size_t phase = 0;  // from 1
  uint64_t n = 0;

  // As --point has it.
  [[nodiscard]] uint64_t Number() const { return phase * kOfPhase + n; }
  static Point Of(uint64_t number) { return {static_cast<size_t>(number / kOfPhase), number % kOfPhase}; }
  static constexpr uint64_t kOfPhase = 10'000'000;
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
  // The point's place, for people.
  [[nodiscard]] virtual std::string Where() const = 0;
  // How many points each phase had; empty if phases are not what counts.
  [[nodiscard]] virtual std::map<std::string, uint64_t> InPhases() const { return {}; }
  // `status`: the program's, 128 + signal if it was killed. The point was come to.
  [[nodiscard]] virtual bool Reached(int status) const = 0;
  // The kind of this end: what is counted.
  [[nodiscard]] virtual std::string Ended(int status) const = 0;
  // Empty if the program may end so after that; else what is wrong. `log`: what it said.
  [[nodiscard]] virtual std::string Judge(int status, const std::string& log) const = 0;
};

// `path` is made. `phases` outlive it.
std::unique_ptr<Injection> MakeInjection(Fault fault, const std::string& path, const std::vector<Phase>& phases,
                                         Point point);

}  // namespace nodetrail::fault

#endif  // NODETRAIL_TESTS_FAULT_INJECTION_H_

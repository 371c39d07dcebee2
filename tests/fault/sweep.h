// SPDX-License-Identifier: Apache-2.0
//
// Does something to a program at each of many points, one run per point, lets
// it start again, and asks an oracle whether anything was lost.
#ifndef NODETRAIL_TESTS_FAULT_SWEEP_H_
#define NODETRAIL_TESTS_FAULT_SWEEP_H_

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "nodetrail/base/fd.h"
#include "nodetrail/base/status.h"
#include "tests/fakes/temp_dir.h"
#include "tests/fakes/test_pki.h"
#include "tests/fault/injection.h"

namespace nodetrail::fault {

struct PointResult {
  Point point;                             // n 0: nothing was done
  bool reached = false;                    // false: the run had fewer points than the counting run
  std::string where;                       // "before pwrite spool/00….seg"
  std::string ended;                       // how the program did: "killed before pwrite", "exit 71"
  std::string wrong;                       // empty: everything holds
  std::map<std::string, uint64_t> phases;  // of a counting run: how many points each has
  std::chrono::milliseconds took{0};
};

// A child. Killed and reaped when it goes.
class Child {
 public:
  // stdout and stderr go to `log` (appended); `passed` become descriptors 3, 4, …
  Child(const std::vector<std::string>& argv, const std::string& log,
        const std::map<std::string, std::string>& env = {}, const std::vector<int>& passed = {});
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  [[nodiscard]] pid_t pid() const { return pid_; }
  // Exit status, or 128 + signal; nothing: still runs at the deadline.
  std::optional<int> Wait(std::chrono::milliseconds limit);
  void Signal(int sig) const;

 private:
  pid_t pid_ = -1;
  std::optional<int> status_;
};

std::string Binary(const std::string& name);
// The end of a file, for messages.
std::string Tail(const std::string& path, size_t bytes = 1500);

// What all points of a run share: certificates, a work directory in memory.
class Bench {
 public:
  explicit Bench(bool keep);
  ~Bench();
  [[nodiscard]] const testing::TestPki& pki() const { return *pki_; }
  // PEM: revokes nobody, or web-4.
  [[nodiscard]] std::string RevocationList(bool one) const { return dir_ + (one ? "/one.crl" : "/none.crl"); }
  // A fresh directory; removed by Done unless something was wrong and it is kept.
  [[nodiscard]] std::string Begin(const std::string& name) const;
  void Done(const std::string& dir, bool good) const;
  [[nodiscard]] std::string dir() const { return dir_; }

 private:
  bool keep_;
  std::string dir_;
  std::unique_ptr<testing::TestPki> pki_;
};

// collector.yaml for the trail in `dir`/trail, on any free port. `more` is appended.
void WriteCollectorConfig(const testing::TestPki& pki, const std::string& dir, const std::string& more = "");

// The real collector over `dir`/collector.yaml; logs to `dir`/collector.log.
class CollectorProcess {
 public:
  // `through`: a command that runs what follows it.
  explicit CollectorProcess(const std::string& dir, const std::map<std::string, std::string>& env = {},
                            std::vector<std::string> through = {});
  // Waits until it serves. 0: it ended before that.
  int Port();
  Child& child() { return child_; }

 private:
  [[nodiscard]] int ServedPort() const;

  std::string log_;
  uint64_t begins_at_;
  Child child_;
};

// One side of a sweep. RunPoint is called by several threads at once.
class Side {
 public:
  explicit Side(Fault fault) : fault_(fault) {}
  virtual ~Side() = default;
  [[nodiscard]] virtual std::string_view name() const = 0;
  [[nodiscard]] Fault fault() const { return fault_; }
  // What the workload must cross; for kills.
  [[nodiscard]] virtual const std::vector<Phase>& phases() const = 0;
  // `points`: how many there are (of a counting run).
  virtual PointResult RunPoint(Point point, uint64_t* points) = 0;

 private:
  const Fault fault_;
};
std::unique_ptr<Side> MakeAgentSide(const Bench* bench, Fault fault);
std::unique_ptr<Side> MakeCollectorSide(const Bench* bench, Fault fault);

// `nodetrail verify`: empty if its exit status is 0 or 1, else what it says.
// `prior`: a checkpoint that the log must extend; may be empty.
std::string VerifyTrailDir(const Bench& bench, const std::string& trail_dir, const std::string& work,
                           const std::string& prior, int* exit_code);

}  // namespace nodetrail::fault

#endif  // NODETRAIL_TESTS_FAULT_SWEEP_H_

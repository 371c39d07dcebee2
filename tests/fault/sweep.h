// SPDX-License-Identifier: Apache-2.0
//
// Kills a program before and after each of its file operations, one run per
// point, lets it start again, and asks an oracle whether anything was lost.
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
#include "tests/fault/shim/kill_page.h"

namespace nodetrail::fault {

struct PointResult {
  uint64_t point = 0;    // 0: not killed
  bool reached = false;  // false: the run had fewer points than the counting run
  std::string where;     // "before pwrite spool/00….seg"
  std::string wrong;     // empty: everything holds
  std::chrono::milliseconds took{0};
};

// The page that the program under test shares with us.
class KillPage {
 public:
  // `kill_at` 0 counts only. `path` is made.
  KillPage(std::string path, uint64_t kill_at);
  ~KillPage();
  KillPage(const KillPage&) = delete;
  KillPage& operator=(const KillPage&) = delete;

  // For the environment of the program; folders are absolute.
  [[nodiscard]] std::map<std::string, std::string> Environment(const std::string& dirs) const;
  // Two points a call.
  [[nodiscard]] uint64_t points() const { return 2 * page_->calls; }
  [[nodiscard]] bool loaded() const { return page_->loaded == 1; }
  [[nodiscard]] std::string Where(uint64_t point) const;

 private:
  std::string path_;
  kill_page* page_ = nullptr;
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

// One side of the sweep. RunPoint is called by several threads at once.
class Side {
 public:
  virtual ~Side() = default;
  [[nodiscard]] virtual std::string_view name() const = 0;
  [[nodiscard]] virtual int row() const = 0;
  // `points`: how many there are (of a counting run, point 0).
  virtual PointResult RunPoint(uint64_t point, uint64_t* points) = 0;
};
std::unique_ptr<Side> MakeAgentSide(const Bench* bench);
std::unique_ptr<Side> MakeCollectorSide(const Bench* bench);

// `nodetrail verify`: empty if its exit status is 0 or 1, else what it says.
// `prior`: a checkpoint that the log must extend; may be empty.
std::string VerifyTrailDir(const Bench& bench, const std::string& trail_dir, const std::string& work,
                           const std::string& prior, int* exit_code);

}  // namespace nodetrail::fault

#endif  // NODETRAIL_TESTS_FAULT_SWEEP_H_

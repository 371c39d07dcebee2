// SPDX-License-Identifier: Apache-2.0
//
// A witness of the simulated world: its judgement and its records are the
// program's own, on a disk that can fail; requests come without HTTP. And the
// collector's way to the witnesses, on which answers are lost.
#ifndef NODETRAIL_TESTS_SIM_WITNESS_HOST_H_
#define NODETRAIL_TESTS_SIM_WITNESS_HOST_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "collector/witness/http_poster.h"
#include "nodetrail/base/clock.h"
#include "tests/sim/disk.h"
#include "tests/sim/rng.h"
#include "witness/core.h"
#include "witness/dir_store.h"

namespace nodetrail::sim {

class WitnessHost {
 public:
  struct Options {
    std::string name;  // in the policy
    std::string dir;
    std::string bug;
    std::string log_key;  // of the one log that it knows
  };
  WitnessHost(Options options, Rng* rng, std::map<std::string, uint64_t>* counts);
  ~WitnessHost();

  // "" or what is violated.
  std::string Start();
  void Kill();
  void PowerCut();
  // What an operator keeps of its records.
  void Backup();
  // Its records are those of the backup; only while it is down. False: there
  // is no backup, or it is not older.
  bool RollBack();

  // add-checkpoint. Nothing: it is down, or died of it.
  std::optional<witness::Answer> Ask(const std::string& body);

  [[nodiscard]] bool up() const { return core_ != nullptr; }
  [[nodiscard]] const std::string& name() const { return options_.name; }
  [[nodiscard]] const std::string& vkey() const { return vkey_; }
  // What it cosigned last, and all of it: size, root.
  [[nodiscard]] const std::map<uint64_t, trail::Hash>& cosigned() const { return cosigned_; }
  [[nodiscard]] bool rolled_back() const { return rolled_back_; }
  // What is violated by an answer that it gave.
  [[nodiscard]] const std::string& violation() const { return violation_; }

  Disk disk;
  FakeClock clock;

 private:
  class LateStore;
  void Drop();
  [[nodiscard]] trail::Ed25519Key Key() const { return *trail::Ed25519Key::FromSeed(seed_); }
  void Cosigned(const std::string& body);

  const Options options_;
  Rng* const rng_;
  std::map<std::string, uint64_t>& counts_;
  std::string seed_;
  std::string vkey_;
  std::unique_ptr<witness::DirStore> store_;
  std::unique_ptr<witness::Store> late_;  // of the planted bug
  std::unique_ptr<witness::Witness> core_;
  std::map<uint64_t, trail::Hash> cosigned_;
  std::string backup_;
  uint64_t backup_size_ = 0;
  bool rolled_back_ = false;
  std::string violation_;
};

// The collector's HTTP client. Answers come at once or not at all.
class WitnessWire final : public collector::HttpPoster {
 public:
  WitnessWire(const std::vector<WitnessHost*>* witnesses, const Disk* collector_disk, const std::string& bug, Rng* rng,
              std::map<std::string, uint64_t>* counts)
      : witnesses_(*witnesses), collector_disk_(*collector_disk), bug_(bug), rng_(*rng), counts_(*counts) {}

  void Start(size_t id, const std::string& url, std::string body) override;
  std::optional<collector::HttpReply> Next(TimePoint deadline) override;
  void Cancel() override { replies_.clear(); }

  bool faults = true;                          // requests and answers are lost, witnesses die of them
  std::function<uint64_t()> leaves = nullptr;  // that the log has
  // Those who contradicted the log, in an answer that arrived, since the last call.
  std::vector<size_t> TakeHeard() { return std::exchange(heard_, {}); }

 private:
  const std::vector<WitnessHost*>& witnesses_;
  const Disk& collector_disk_;
  const std::string bug_;
  Rng& rng_;
  std::map<std::string, uint64_t>& counts_;
  std::deque<collector::HttpReply> replies_;
  std::vector<size_t> heard_;
};

}  // namespace nodetrail::sim

#endif  // NODETRAIL_TESTS_SIM_WITNESS_HOST_H_

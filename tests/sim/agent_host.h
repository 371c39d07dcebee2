// SPDX-License-Identifier: Apache-2.0
//
// An agent of the simulated world: sealer and spool are the real ones, on a
// disk that can fail; the service manager that keeps the key, the reboots and
// the courier are the world's.
#ifndef NODETRAIL_TESTS_SIM_AGENT_HOST_H_
#define NODETRAIL_TESTS_SIM_AGENT_HOST_H_

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "agent/seal/eviction_signer.h"
#include "agent/seal/sealer.h"
#include "agent/sealing_sink.h"
#include "agent/ship/log_watch.h"
#include "agent/ship/spool_source.h"
#include "agent/spool/spool.h"
#include "nodetrail/base/clock.h"
#include "nodetrail/base/fd.h"
#include "nodetrail/ingest/v1/ingest.pb.h"
#include "tests/sim/disk.h"
#include "tests/sim/rng.h"
#include "trail/testing/test_pki.h"

namespace nodetrail::sim {

using Position = std::pair<uint64_t, uint64_t>;  // epoch, seq

// One stream between an agent and the collector; what is in it is lost with it.
struct Wire {
  bool open = true;
  std::deque<ingest::v1::ClientMessage> up;
  std::deque<ingest::v1::ServerMessage> down;
  std::set<Position> forged;  // whose receipt is a lie
};

// What lets a batch go from the spool.
enum class Release { kDurable, kLogged, kWitnessed };

// Why a batch is not in the spool any more.
struct Trimmed {
  trail::Hash hash{};
  uint64_t log_index = 0;
  bool by_old_copy = false;  // of the log said so
  bool quorum = false;       // the receipt had it
};

// What the world knows of the collector's log, for judging what is given up.
struct LogTruth {
  bool old_copy = false;            // an old copy reigns
  bool ever_rolled_back = false;    // one did
  uint64_t published = 0;           // leaves under its checkpoint
  std::vector<uint64_t> witnessed;  // leaves that each witness cosigned, at least
  size_t quorum = 0;
};

class AgentHost {
 public:
  struct Options {
    std::string id;
    std::string dir;
    std::string bug;
    const trail::TestCa* ca = nullptr;
    Release release = Release::kDurable;
    std::string policy;  // of log and witnesses
    bool tight = false;  // a small spool, large bodies
  };
  AgentHost(Options options, Rng* rng, std::map<std::string, uint64_t>* counts);
  ~AgentHost();

  // "" or what is violated.
  std::string Start();
  // Seals and spools a batch of `events`; false, "": there was no room, or the
  // disk failed: it waits.
  std::string Seal(uint64_t events);
  std::string CleanStop();
  // The process is gone (with what it had in memory); the page cache stays.
  void Kill();
  // The machine is gone; it boots anew at Start.
  void PowerCut();
  // A byte of the spool turns. Only while it is down.
  bool Rot();

  // A message from the collector.
  std::string Deliver(const ingest::v1::ServerMessage& message, const LogTruth& log);
  // Connects, or sends what the window allows: one message per call.
  std::string Ship();
  void Disconnect();

  [[nodiscard]] bool up() const { return spool_ != nullptr; }
  [[nodiscard]] bool drained() const { return up() && !spool_->oldest_pending(); }
  [[nodiscard]] const std::string& id() const { return options_.id; }
  // Invariants that hold between any two steps.
  std::string Check();

  Disk disk;
  FakeClock clock;
  std::shared_ptr<Wire> wire;
  // What its spool took: it must arrive, or be declared lost.
  std::map<Position, trail::Hash> durable;
  // Acknowledged by the collector, in the log that reigns: hash, log index.
  std::map<Position, std::pair<trail::Hash, uint64_t>> acked;
  // Given up here for good.
  std::map<Position, Trimmed> trimmed;
  std::map<Position, trail::Hash> sent;
  bool rotted = false;  // its spool was damaged since the last start: losses are legal
  bool forgot = false;  // rot took the whole spool: the trail may only say that something is unexplained
  std::map<Position, bool> declared_lost;
  uint64_t unclean_ends = 0;
  bool alarmed = false;  // its collector's log contradicts itself
  // Whose body the spool gave up, as the courier saw it.
  std::set<Position> evicted;
  bool lost_changes = false;  // a power cut took something

 private:
  struct InFlight {
    Position position;
    trail::Hash hash{};
    trail::Hash leaf_hash{};
    uint64_t log_index = 0;
    bool released = false;
    bool quorum = false;
    bool kept = false;  // beside the log
  };
  struct Held {
    Position position;
    trail::Hash hash{};
  };
  // The courier, agent_courier.cc.
  [[nodiscard]] bool Lacks(const Position& at) const;
  std::string Welcomed(const ingest::v1::Welcome& welcome, const LogTruth& log);
  std::string Acked(const ingest::v1::Ack& ack, const LogTruth& log);
  std::string Logged(const ingest::v1::Ack& ack, const LogTruth& log);
  std::string Nacked(const ingest::v1::Nack& nack);
  std::string LetGo(const InFlight& batch, const LogTruth& log);

  agent::IdentityOptions Identity() const;
  std::string OpenSpool();
  std::string OpenSealer();
  std::vector<std::string> Declarations() const;
  std::string Report(const std::vector<std::string>& events, agent::EvidenceClass cls, bool clean_shutdown = false);
  [[nodiscard]] uint64_t MaxSpoolBytes() const { return options_.tight ? 80U << 10 : 512U << 10; }
  std::string CheckKeys();
  void Drop();
  void SaveKeys();
  void GoBackToClone();

  const Options options_;
  Rng* const rng_;
  std::map<std::string, uint64_t>& counts_;
  std::string boot_id_;
  uint64_t boots_ = 0;
  std::string cert_file_, key_file_;
  UniqueFd kept_key_;         // by the service manager
  std::string key_at_death_;  // its content when the process died

  std::unique_ptr<agent::EvictionSigner> signer_;
  std::unique_ptr<agent::Spool> spool_;
  std::unique_ptr<agent::Sealer> sealer_;
  std::unique_ptr<agent::SealingSink> sink_;
  std::unique_ptr<agent::SpoolSource> source_;
  // A batch the spool had no room for: offered again, as the pipeline does.
  std::optional<agent::BatchContent> waiting_;
  bool sealed_ = false;              // since the last Check
  std::string next_seed_;            // private half of the key that will sign the next batch; empty: not known
  std::string used_seed_;            // that signed the last durable batch; empty: not known
  std::array<size_t, 2> seed_at_{};  // in the key page, by parity of the number
  std::string clone_key_;            // of the planted bug

  bool welcomed_ = false;
  std::optional<Position> declared_hole_;
  std::optional<agent::ShipBatch> next_;
  std::deque<InFlight> in_flight_;
  std::unique_ptr<agent::LogWatch> log_watch_;
  std::deque<InFlight> awaited_;
  std::optional<Held> held_;
  std::vector<ingest::v1::Gap> gaps_;  // what the Welcome says that the collector lacks
  std::optional<Position> released_;
  bool lost_receipted_ = false;
  bool short_ = false;  // a receipt without its quorum is here
};

}  // namespace nodetrail::sim

#endif  // NODETRAIL_TESTS_SIM_AGENT_HOST_H_

// SPDX-License-Identifier: Apache-2.0
//
// What the entries of the log say, kept by the ingest thread beside the chains,
// and shown to everybody else as snapshots: who may report, which bodies are held,
// which deletions are announced.
#ifndef NODETRAIL_COLLECTOR_INGEST_ROSTER_H_
#define NODETRAIL_COLLECTOR_INGEST_ROSTER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "nodetrail/base/status.h"
#include "nodetrail/trail/crypto.h"
#include "nodetrail/trail/enrolment.h"
#include "nodetrail/trail/log_entry.h"
#include "nodetrail/trail/retention.h"

namespace nodetrail::collector {

class Roster {
 public:
  // Signs and frames an entry with the log key.
  using Sign = std::function<Result<std::string>(const trail::v1::LogEntry& entry)>;

  Roster(std::string tenant, Sign sign) : tenant_(std::move(tenant)), sign_(std::move(sign)) {}
  Roster(const Roster&) = delete;
  Roster& operator=(const Roster&) = delete;

  // --- Ingest thread, or the opener before it starts. ---

  // An entry of the log at start. DataLoss: malformed, of another tenant, or not
  // signed by `log_key`.
  Status Replay(std::string_view leaf, uint64_t log_index, const trail::PublicKey& log_key);
  // After the last one: from now on agents must have been enrolled.
  void set_required(bool required);

  // The leaf of an entry that becomes `log_index`, if the group does. InvalidArgument
  // if it would count for nothing.
  Result<std::string> Enter(const trail::v1::LogEntry& entry, uint64_t log_index);
  // A batch that was allowed, and becomes a leaf if the group does.
  void Accept(const trail::v1::BatchHeader& header);
  // The group is durable, or it is not.
  void Commit();
  void Rollback();

  [[nodiscard]] const trail::Enrolments& now() const { return now_; }
  [[nodiscard]] const trail::Retention& retention() const { return retention_; }

  // --- Any thread. ---

  // As of the last group that is durable.
  [[nodiscard]] std::shared_ptr<const trail::Enrolments> Snapshot() const;
  [[nodiscard]] std::shared_ptr<const trail::Retention> Retained() const;

 private:
  void Save();

  const std::string tenant_;
  const Sign sign_;
  trail::Enrolments now_;
  std::optional<trail::Enrolments> saved_;  // before the group; nothing: it changed nothing
  trail::Retention retention_;
  std::optional<trail::Retention> saved_retention_;  // the same

  mutable std::mutex mutex_;
  std::shared_ptr<const trail::Enrolments> snapshot_ = std::make_shared<trail::Enrolments>();
  std::shared_ptr<const trail::Retention> retained_ = std::make_shared<trail::Retention>();
};

}  // namespace nodetrail::collector

#endif  // NODETRAIL_COLLECTOR_INGEST_ROSTER_H_

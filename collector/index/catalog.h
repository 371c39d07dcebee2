// SPDX-License-Identifier: Apache-2.0
//
// Role: index/catalog.db, what the index knows of the log as a whole: how far
// it is, one row per leaf, agents and their totals, host records, the hashes
// of the Merkle tree (for proofs without reading the log), the partitions.
// The indexer writes through one; each reader opens its own, read-only.
#ifndef NODETRAIL_COLLECTOR_INDEX_CATALOG_H_
#define NODETRAIL_COLLECTOR_INDEX_CATALOG_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "collector/index/batch_store.h"
#include "collector/index/sqlite.h"
#include "nodetrail/query/v1/query.pb.h"
#include "nodetrail/trail/merkle.h"

namespace nodetrail::collector {

inline constexpr int64_t kIndexFormat = 3;

struct PartitionInfo {
  std::string name;  // "p20260131T00" or "odd"
  uint64_t min_wall_ns = 0;
  uint64_t max_wall_ns = 0;
  uint64_t rows = 0;
  uint64_t removed = 0;  // AddToPartition: rows that are gone
};

class Catalog {
 public:
  // DataLoss if the file is damaged or of another format: the index must be
  // rebuilt. NotFound in kReadOnly if there is none.
  static Result<Catalog> Open(const std::string& index_dir, Db::Mode mode);

  // --- writing; between Begin and Commit ---
  Status Begin();
  Status Commit();
  Status Rollback();
  // The leaf and its hash in the tree. `leaf` is complete but for the host name.
  Status AddLeaf(const LeafInfo& leaf, const trail::Hash& leaf_hash, const trail::v1::LossCounters& losses,
                 uint64_t last_event_wall_ns, int64_t host_id);
  // The hash alone, of a leaf that is no batch.
  Status AddTreeLeaf(uint64_t log_index, const trail::Hash& leaf_hash);
  // The id of a host record (0: none); a batch that carries the record brings
  // its bytes, others only its hash.
  Result<int64_t> HostId(std::string_view sha256, std::string_view host_bytes);
  Status AddToPartition(const PartitionInfo& added);
  Status SetPosition(uint64_t position, const trail::Hash& last_leaf_hash, uint32_t partition_hours);

  // --- reading ---
  struct Position {
    uint64_t leaves = 0;
    trail::Hash last_leaf_hash{};  // of leaf leaves-1
    uint32_t partition_hours = 0;
  };
  Result<Position> GetPosition();
  Result<std::optional<LeafInfo>> GetLeaf(uint64_t log_index);
  // The leaf that holds event `seq`.
  Result<std::optional<LeafInfo>> FindEvent(const std::string& agent_id, uint64_t epoch, uint64_t seq);
  // Those with an event in [since, until), newest first.
  Result<std::vector<PartitionInfo>> Partitions(uint64_t since_wall_ns, uint64_t until_wall_ns);
  // Serialised event.v1.Host; empty if it is not known.
  Result<std::string> HostBytes(uint64_t log_index);
  Result<std::string> HostById(int64_t id);
  Result<std::string> HostBySha(std::string_view sha256);
  // RFC 6962 audit path of leaf `index` in the tree of the first `size` leaves.
  Result<std::vector<trail::Hash>> InclusionProof(uint64_t index, uint64_t size);
  // Agents and the totals over them; the rest of the response is the collector's.
  Status FillStatus(query::v1::StatusResponse* out);

 private:
  Result<Stmt*> Cached(const std::string& sql);
  Result<int64_t> AgentId(const std::string& tenant, const std::string& agent);
  Result<trail::Hash> RangeRoot(uint64_t low, uint64_t high);
  Status Path(uint64_t index, uint64_t low, uint64_t high, std::vector<trail::Hash>* out);
  Result<std::optional<LeafInfo>> ReadLeaf(Stmt* stmt);

  Db db_;
  std::map<std::string, Stmt> statements_;
};

}  // namespace nodetrail::collector

#endif  // NODETRAIL_COLLECTOR_INDEX_CATALOG_H_

// SPDX-License-Identifier: Apache-2.0
//
// From cgroup ids, as records carry them, to paths and containers. Ids are
// inode numbers of one hierarchy each, so the key is (hierarchy, id).
#ifndef NODETRAIL_AGENT_ATTRIBUTE_CGROUP_MAP_H_
#define NODETRAIL_AGENT_ATTRIBUTE_CGROUP_MAP_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "agent/attribute/container.h"
#include "agent/attribute/proc_reader.h"

namespace nodetrail::agent {

// Thread: pipeline. Bounded: beyond `max` the oldest entry goes.
class CgroupMap {
 public:
  explicit CgroupMap(size_t max = 16384) : max_(max) {}

  // A record's word.
  void Put(uint32_t hierarchy, uint64_t id, std::string path);

  // Where a task with these ids is. Two hierarchies may place it differently:
  // the one that names a container wins, then the deeper path, then v2. Null if
  // neither id has a path yet. An id of 0 is none.
  [[nodiscard]] std::shared_ptr<const CgroupPlace> Find(uint64_t v2_id, uint32_t v1_hierarchy, uint64_t v1_id) const;

  // The same choice among the lines of /proc/PID/cgroup; null if there are none.
  [[nodiscard]] static std::shared_ptr<const CgroupPlace> FromProc(const std::vector<CgroupLine>& lines);

  [[nodiscard]] size_t size() const { return places_.size(); }

 private:
  struct Key {
    uint64_t id;
    uint32_t hierarchy;
    friend bool operator==(const Key&, const Key&) = default;
  };
  struct KeyHash {
    size_t operator()(const Key& k) const {
      return static_cast<size_t>((k.id ^ (uint64_t{k.hierarchy} << 40U)) * 0x9e3779b97f4a7c15U);
    }
  };
  size_t max_;
  std::unordered_map<Key, std::shared_ptr<const CgroupPlace>, KeyHash> places_;
  std::deque<Key> order_;
};

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_ATTRIBUTE_CGROUP_MAP_H_

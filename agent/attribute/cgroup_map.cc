// SPDX-License-Identifier: Apache-2.0
#include "agent/attribute/cgroup_map.h"

#include <algorithm>
#include <utility>

namespace nodetrail::agent {
namespace {

std::shared_ptr<const CgroupPlace> MakePlace(std::string path) {
  auto place = std::make_shared<CgroupPlace>();
  place->container = ParseContainer(path);
  place->path = std::move(path);
  return place;
}

// More is better; equal ones keep their order.
std::pair<bool, std::ptrdiff_t> Rank(const CgroupPlace& place) {
  const auto depth = place.path == "/" ? 0 : std::count(place.path.begin(), place.path.end(), '/');
  return {!place.container.id.empty(), depth};
}

}  // namespace

void CgroupMap::Put(uint32_t hierarchy, uint64_t id, std::string path) {
  const Key key{id, hierarchy};
  const bool is_new = places_.insert_or_assign(key, MakePlace(std::move(path))).second;
  if (!is_new) return;
  order_.push_back(key);
  if (order_.size() > max_) {
    places_.erase(order_.front());
    order_.pop_front();
  }
}

std::shared_ptr<const CgroupPlace> CgroupMap::Find(uint64_t v2_id, uint32_t v1_hierarchy, uint64_t v1_id) const {
  const auto v2 = v2_id == 0 ? places_.end() : places_.find({v2_id, 0});
  const auto v1 = v1_id == 0 ? places_.end() : places_.find({v1_id, v1_hierarchy});
  if (v1 == places_.end()) return v2 == places_.end() ? nullptr : v2->second;
  if (v2 == places_.end() || Rank(*v1->second) > Rank(*v2->second)) return v1->second;
  return v2->second;
}

std::shared_ptr<const CgroupPlace> CgroupMap::FromProc(const std::vector<CgroupLine>& lines) {
  std::shared_ptr<const CgroupPlace> best;
  for (const CgroupLine& line : lines) {
    // The unified hierarchy wins a tie wherever its line stands.
    std::shared_ptr<const CgroupPlace> place = MakePlace(line.path);
    if (best == nullptr || Rank(*place) > Rank(*best) || (line.hierarchy == 0 && Rank(*place) == Rank(*best))) {
      best = std::move(place);
    }
  }
  return best;
}

}  // namespace nodetrail::agent

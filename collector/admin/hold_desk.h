// SPDX-License-Identifier: Apache-2.0
//
// Holds on bodies: one person places one, two take it away.
#ifndef NODETRAIL_COLLECTOR_ADMIN_HOLD_DESK_H_
#define NODETRAIL_COLLECTOR_ADMIN_HOLD_DESK_H_

#include <cstdint>
#include <map>
#include <string>

#include "collector/ingest/committer.h"
#include "nodetrail/base/clock.h"
#include "nodetrail/base/status.h"
#include "nodetrail/enrol/v1/enrol.pb.h"

namespace nodetrail::collector {

// Owner: the admin handler, on its thread. Holds are entries of the log; what
// was asked for and not confirmed yet is kept in holds/asked of the trail, for a
// day. A file that can't be read is said in the log: it is asked for again.
class HoldDesk {
 public:
  HoldDesk(Committer* committer, std::string trail_dir, const Clock* clock);

  // `person` is who asks, as the log is to name him: printable ASCII.
  Result<enrol::v1::AddHoldResponse> Add(const enrol::v1::AddHoldRequest& request, const std::string& person);
  [[nodiscard]] enrol::v1::ListHoldsResponse List();
  // FailedPrecondition: the same person again. NotFound: no such hold is open.
  Result<enrol::v1::ReleaseHoldResponse> Release(const enrol::v1::ReleaseHoldRequest& request,
                                                 const std::string& person);

 private:
  struct Asked {
    std::string person;
    uint64_t at_wall_ns = 0;
  };
  void DropOld();
  void Load();
  Status Save() const;
  // What the hold came too late for. Reads leaves that were retired, for at
  // most kCountFor.
  void CountGone(const trail::v1::Hold& hold, enrol::v1::AddHoldResponse* response) const;

  Committer* const committer_;
  const std::string trail_dir_;
  const Clock* const clock_;
  std::map<std::string, Asked> asked_;  // by hold
};

}  // namespace nodetrail::collector

#endif  // NODETRAIL_COLLECTOR_ADMIN_HOLD_DESK_H_

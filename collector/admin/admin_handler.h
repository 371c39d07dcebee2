// SPDX-License-Identifier: Apache-2.0
//
// What the operator may ask of a running collector.
#ifndef NODETRAIL_COLLECTOR_ADMIN_ADMIN_HANDLER_H_
#define NODETRAIL_COLLECTOR_ADMIN_ADMIN_HANDLER_H_

#include <sys/types.h>

#include <string>

#include "collector/admin/hold_desk.h"
#include "collector/enrol/token_store.h"
#include "collector/ingest/committer.h"
#include "nodetrail/base/status.h"
#include "nodetrail/enrol/v1/enrol.pb.h"

namespace nodetrail::collector {

// What it borrows outlives it. `tokens` null: this collector does not enrol.
class AdminHandler {
 public:
  AdminHandler(TokenStore* tokens, Committer* committer, const std::string& trail_dir, const Clock* clock)
      : tokens_(tokens), committer_(committer), holds_(committer, trail_dir, clock) {}
  // Waits for the log where an entry is asked for. One thread at a time, not the
  // ingest's. `uid`: who asks.
  Result<enrol::v1::AdminResponse> Handle(const enrol::v1::AdminRequest& request, uid_t uid);

 private:
  Result<enrol::v1::RevokeAgentResponse> RevokeAgent(const enrol::v1::RevokeAgentRequest& request);
  TokenStore* const tokens_;
  Committer* const committer_;
  HoldDesk holds_;
};

}  // namespace nodetrail::collector

#endif  // NODETRAIL_COLLECTOR_ADMIN_ADMIN_HANDLER_H_

// SPDX-License-Identifier: Apache-2.0
//
// A rule that keeps bodies for a shorter time than the one before takes two
// persons: one writes it into the configuration, and until two have agreed
// nothing is deleted at all.
#ifndef NODETRAIL_COLLECTOR_RETENTION_RULE_GATE_H_
#define NODETRAIL_COLLECTOR_RETENTION_RULE_GATE_H_

#include <cstdint>
#include <string>

#include "collector/ingest/committer.h"
#include "nodetrail/base/status.h"

namespace nodetrail::collector {

// At the start, before a rule acts. `max_age_d`: days; 0: no rule, bodies are
// kept for ever. Which rule is in force is kept in retention/rule.json of the
// trail; where that is missing or damaged, and the log is not empty, that is
// "for ever". If the new one is shorter, a hold on everything is placed in the
// log by the collector; it is released as any hold is, by two persons, and with
// that the rule is in force. A longer rule is in force at once. On error the
// rule must not act.
Status AdmitRule(const std::string& trail_dir, uint32_t max_age_d, Committer* committer);

}  // namespace nodetrail::collector

#endif  // NODETRAIL_COLLECTOR_RETENTION_RULE_GATE_H_

// SPDX-License-Identifier: Apache-2.0
//
// Secrets that a name within the same text announces: NAME=value, name: value,
// "name": "value", <name>value</name>, headers, SQL, and URLs with a password.
#ifndef NODETRAIL_AGENT_REDACT_TEXT_RULES_H_
#define NODETRAIL_AGENT_REDACT_TEXT_RULES_H_

#include "agent/redact/rules.h"

namespace nodetrail::agent::redact {

void FindAssignments(const Text& text, Findings* findings);
void FindUrls(const Text& text, Findings* findings);

}  // namespace nodetrail::agent::redact

#endif  // NODETRAIL_AGENT_REDACT_TEXT_RULES_H_

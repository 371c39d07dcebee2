// SPDX-License-Identifier: Apache-2.0
//
// What is printed and queried for the enum values of event.v1: the `label`
// option of the proto, so that the proto stays the only list.
#ifndef NODETRAIL_SCHEMA_LABELS_H_
#define NODETRAIL_SCHEMA_LABELS_H_

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "nodetrail/event/v1/event.pb.h"

namespace nodetrail::schema {

// "process.exec"; "kind.4711" for a value this build does not know.
[[nodiscard]] std::string_view KindLabel(event::v1::Kind kind);
[[nodiscard]] std::optional<event::v1::Kind> ParseKind(std::string_view label);
[[nodiscard]] std::string_view KindSummary(event::v1::Kind kind);
[[nodiscard]] uint32_t KindOcsfClass(event::v1::Kind kind);
// Closes its batch early.
[[nodiscard]] bool KindIsCritical(event::v1::Kind kind);
// Has two ends: net.connect, net.accept, net.close.
[[nodiscard]] bool KindIsConnection(event::v1::Kind kind);
// Every kind but the unspecified one, by number.
[[nodiscard]] const std::vector<event::v1::Kind>& AllKinds();

[[nodiscard]] std::string_view CredCauseLabel(event::v1::CredCause cause);
[[nodiscard]] std::string_view PathSourceLabel(event::v1::PathSource source);

// "CAP_SYS_ADMIN" for 21; "CAP_63" for one this build does not know.
[[nodiscard]] std::string CapabilityName(unsigned bit);
// "O_WRONLY|O_CREAT|O_TRUNC".
[[nodiscard]] std::string OpenFlagsText(uint32_t flags);

}  // namespace nodetrail::schema

#endif  // NODETRAIL_SCHEMA_LABELS_H_

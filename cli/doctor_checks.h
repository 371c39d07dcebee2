// SPDX-License-Identifier: Apache-2.0
//
// What `nodetrail doctor` looks at. Each check says ok, warn or fail, and for
// the last two what to do.
#ifndef NODETRAIL_CLI_DOCTOR_CHECKS_H_
#define NODETRAIL_CLI_DOCTOR_CHECKS_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "agent/capture/kernel_report.h"
#include "nodetrail/base/status.h"

namespace nodetrail::cli {

struct Check {
  enum class State { kOk, kWarn, kFail };
  std::string area;  // kernel, hooks, agent, clock, disk, config, certificates, collector
  State state = State::kOk;
  std::string what;  // one line
  std::string fix;   // one line; empty when ok
};

using Checks = std::vector<Check>;

void CheckKernelReport(const agent::KernelReport& report, bool root, Checks* out);
// `document`: the agent's status; null where `error` says why there is none.
void CheckAgentStatus(const nlohmann::json& document, const Status& error, Checks* out);
void CheckClock(Checks* out);
// Free space where `dir` lies (or will lie).
void CheckDisk(const std::string& what, const std::string& dir, uint64_t needed_bytes, Checks* out);
// Expiry of the first certificate of a PEM file, and who may read its key.
void CheckCertificate(const std::string& what, const std::string& cert_file, const std::string& key_file,
                      uint64_t now_ns, Checks* out);

}  // namespace nodetrail::cli

#endif  // NODETRAIL_CLI_DOCTOR_CHECKS_H_

// SPDX-License-Identifier: Apache-2.0
//
// What the status socket says: one JSON object. Field names are a contract
// with `nodetrail status`; docs/operations.md lists them.
#ifndef NODETRAIL_AGENT_HEALTH_STATUS_DOCUMENT_H_
#define NODETRAIL_AGENT_HEALTH_STATUS_DOCUMENT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "agent/capture/record_source.h"
#include "agent/pipeline/pipeline.h"
#include "agent/sealing_sink.h"
#include "agent/selftest/selftest.h"
#include "agent/ship/shipper.h"
#include "agent/spool/spool.h"
#include "nodetrail/config/v1/config.pb.h"

namespace nodetrail::agent {

struct StatusFacts {
  const config::v1::AgentConfig* config = nullptr;      // borrowed
  const std::vector<HookCoverage>* coverage = nullptr;  // borrowed
  PipelineStats pipeline;
  std::vector<DomainHearing> selftest;  // empty: off, or no verdict yet
  SpoolStats spool;
  ShipStats ship;
  DurablePosition durable;
  bool refusing = false;  // the spool has no room
  uint64_t drained_to_boot_ns = 0;
  uint64_t now_wall_ns = 0;
  uint64_t uptime_ns = 0;
};

// Ends in a newline. "health" is "ok", "degraded", or "failed" where the
// self-test found a domain of probes deaf; the reasons are in "problems". "blind_spots" are ways to act that this
// kernel or this configuration can't see although their kinds are observed otherwise.
std::string RenderStatus(const StatusFacts& facts);

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_HEALTH_STATUS_DOCUMENT_H_

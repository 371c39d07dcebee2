// SPDX-License-Identifier: Apache-2.0
//
// `nodetrail-agent enrol` and `renew`: how a node gets its certificates, and
// keeps them fresh.
#ifndef NODETRAIL_AGENT_ENROL_ENROL_H_
#define NODETRAIL_AGENT_ENROL_ENROL_H_

#include <chrono>
#include <string>

#include "nodetrail/base/clock.h"
#include "nodetrail/base/status.h"
#include "nodetrail/config/v1/config.pb.h"

namespace nodetrail::agent {

struct EnrolOptions {
  std::string collector;   // host:port of its enrolment port
  std::string token_file;  // its first line is the token
  std::string ca_file;     // PEM: the authorities of the collector's certificate
  std::string out_dir;     // made with mode 0700
  std::string agent_id;
  std::string endpoint;     // of the agents' port, for agent.yaml; empty: the collector's host, port 7443
  std::string server_name;  // expected in the certificate; empty: the host of `collector`
  // Who the collector must be, as ship.collector_id. Empty: any collector whose
  // tenant and trust domain are those of the certificates that it gives us.
  std::string collector_id;
  std::string crl_file;  // revocation lists of the authorities in `ca_file`; empty: none is asked
  std::chrono::milliseconds timeout{30'000};
};

struct Enrolled {
  std::string tenant;
  uint64_t log_index = 0;
  std::string config_file;  // a beginning of agent.yaml
};

// Makes identity.key and tls.key (0600; those that an attempt before left are
// used again, so that a lost answer is no lost token), asks the collector, and
// writes identity.pem, tls.pem, ca.pem, log.vkey, log.policy (that log, no
// witness) and agent.yaml.
// AlreadyExists: there are certificates in `out_dir` already.
Result<Enrolled> Enrol(const EnrolOptions& options);

// A new TLS key and certificate through the agents' port, with the current
// ones, signed by the identity key besides; the agent takes them at its next
// connection. False: half of the certificate's life is not over, and `force` is
// not set. `clock`: the wall clock.
Result<bool> Renew(const config::v1::AgentConfig& config, const Clock& clock, bool force,
                   std::chrono::milliseconds timeout = std::chrono::milliseconds(30'000));

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_ENROL_ENROL_H_

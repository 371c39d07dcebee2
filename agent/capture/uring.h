// SPDX-License-Identifier: Apache-2.0
//
// What of io_uring the probes can see on this kernel. Its tracepoints have other
// arguments from version to version, so its BTF is asked before they are loaded.
#ifndef NODETRAIL_AGENT_CAPTURE_URING_H_
#define NODETRAIL_AGENT_CAPTURE_URING_H_

#include <string>
#include <string_view>
#include <vector>

#include "agent/capture/record_source.h"

struct btf;

namespace nodetrail::agent {

struct UringFacts {
  bool present = false;          // the kernel has io_uring
  bool submit_req = false;       // io_uring_submit_req(req)
  bool submit_sqe = false;       // io_uring_submit_sqe(req, …), its older name
  bool complete = false;         // io_uring_complete(ctx, req, …)
  bool has_cqe = false;          // … whose third argument is the completion entry
  bool req_failed = false;       // io_uring_req_failed(sqe, req, error)
  unsigned creds_bit = 64;       // REQ_F_CREDS_BIT; 64: not found
  std::vector<std::string> ops;  // "OPENAT": the operations that the probes know and the kernel has
};

// `kernel` may be nullptr: nothing is known then.
[[nodiscard]] UringFacts ReadUringFacts(const btf* kernel);

// Whether a program on that tracepoint ("io_uring_complete") can work here, and
// why not. kAttached: yes, or it is no tracepoint of io_uring.
struct UringVerdict {
  HookState state = HookState::kAttached;
  std::string why;
};
[[nodiscard]] UringVerdict JudgeUringHook(const UringFacts& facts, std::string_view tracepoint);

// One entry per operation: "io_uring/openat". `hooks`: what is attached.
[[nodiscard]] std::vector<HookCoverage> CoverUring(const UringFacts& facts, const std::vector<HookCoverage>& hooks);

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_CAPTURE_URING_H_

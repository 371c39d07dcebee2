// SPDX-License-Identifier: Apache-2.0
//
// What a record acted on: paths put together, what is missing of them said.
#ifndef NODETRAIL_AGENT_PIPELINE_RESOURCE_H_
#define NODETRAIL_AGENT_PIPELINE_RESOURCE_H_

#include <string>
#include <string_view>

#include "agent/attribute/scrubber.h"
#include "agent/batch/event_encoder.h"
#include "agent/decode/decode.h"

namespace nodetrail::agent {

// EventFacts::syscall of what a request of io_uring did.
inline constexpr std::string_view kUringCall = "io_uring";

// Thread: pipeline. Owns the buffers that EventFacts' views point into, until
// the next Read().
class ResourceReader {
 public:
  explicit ResourceReader(Scrubber* scrubber) : scrubber_(scrubber) {}

  // Fills paths, system call and operation, text, target_pid, prev_exe, gaps and redactions. `replaced`: the
  // image before an exec, may be null.
  void Read(const RawEvent& raw, const Image* replaced, EventFacts* facts);

 private:
  struct Buffers {
    std::string path, base, user;
  };
  void FromUser(const RawEvent& raw, nt_tail user, nt_tail base, int64_t ret, std::string_view field, Buffers* buffers,
                PathFacts* out, EventFacts* facts);
  void User(const RawEvent& raw, nt_tail user, std::string_view field, Buffers* buffers, PathFacts* out,
            EventFacts* facts);

  void FromKernel(const RawEvent& raw, EventFacts* facts);
  void ReadAct(const RawEvent& raw, EventFacts* facts);
  void ReadSocket(const RawEvent& raw, EventFacts* facts);
  void Text(const RawEvent& raw, nt_tail tail, std::string_view field, EventFacts* facts);

  Scrubber* scrubber_;
  Buffers first_, second_;
  std::string prev_exe_, text_;
};

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_PIPELINE_RESOURCE_H_

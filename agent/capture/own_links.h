// SPDX-License-Identifier: Apache-2.0
//
// The links that hold the probes to their hooks, and whether they still do: a
// debugger may close a descriptor of ours, or put another in its place.
#ifndef NODETRAIL_AGENT_CAPTURE_OWN_LINKS_H_
#define NODETRAIL_AGENT_CAPTURE_OWN_LINKS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "nodetrail/base/status.h"

struct bpf_link;

namespace nodetrail::agent {

struct LinkDeleter {
  void operator()(bpf_link* link) const;
};
using LinkPtr = std::unique_ptr<bpf_link, LinkDeleter>;

// Owner: the capture. Thread: pipeline. Destruction detaches all.
class OwnLinks {
 public:
  OwnLinks() = default;
  ~OwnLinks();
  OwnLinks(const OwnLinks&) = delete;
  OwnLinks& operator=(const OwnLinks&) = delete;

  // `plan`: the caller's number of the hook.
  void Add(size_t plan, LinkPtr link);

  // Of those that are gone. Their descriptors are not closed: the numbers may be
  // another file's by now.
  std::vector<size_t> TakeLost();

  // Detaches these. Each waits for grace periods of the kernel: side by side
  // they share some.
  void Detach(const std::set<size_t>& plans);

 private:
  struct Entry {
    size_t plan;
    LinkPtr link;
    uint64_t id;  // the kernel's, of the link or, before 5.15, of the event
  };
  std::vector<Entry> entries_;
};

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_CAPTURE_OWN_LINKS_H_

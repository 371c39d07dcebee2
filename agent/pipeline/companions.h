// SPDX-License-Identifier: Apache-2.0
//
// The product's own programs on this node (the collector, say), whose file and
// network acts are counted instead of recorded: otherwise a recorded write
// makes the next one.
//
// That is a hole if others can climb through it, so being named is not enough:
// the running file must be the one at the configured path, owned by root and
// writable by root alone, and it must run as root or as a user whose name
// begins with "nodetrail". Whoever starts it with a preloaded library under an
// account of their own is recorded like everybody.
#ifndef NODETRAIL_AGENT_PIPELINE_COMPANIONS_H_
#define NODETRAIL_AGENT_PIPELINE_COMPANIONS_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "agent/attribute/proc_reader.h"
#include "agent/attribute/process.h"
#include "agent/enrich/name_resolver.h"
#include "nodetrail/config/v1/config.pb.h"

namespace nodetrail::agent {

// stat(2) of a path, as far as it matters here; nothing if there is no such file.
using FileProbe = std::function<std::optional<nt_file>(const std::string& path)>;
[[nodiscard]] std::optional<nt_file> ProbeFile(const std::string& path);

// Thread: pipeline.
class Companions {
 public:
  Companions(const config::v1::AgentConfig::Capture& config, ProcReader* proc, NameResolver* names, FileProbe probe);

  // Whether the process, as it runs now, is one of them. Asks the file system
  // only where the path is one of the configured.
  [[nodiscard]] bool Is(const Process& process) const;

 private:
  std::vector<std::string> paths_;
  ProcReader* proc_;
  NameResolver* names_;
  FileProbe probe_;
};

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_PIPELINE_COMPANIONS_H_

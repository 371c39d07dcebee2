// SPDX-License-Identifier: Apache-2.0
//
// Who touches the agent itself: from the events, which acts are on its own
// process, BPF objects and files. What the probes withhold (the agent's own
// acts) never comes by here.
#ifndef NODETRAIL_AGENT_PIPELINE_TAMPER_H_
#define NODETRAIL_AGENT_PIPELINE_TAMPER_H_

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "agent/batch/event_encoder.h"
#include "agent/capture/record_source.h"
#include "agent/pipeline/companions.h"
#include "nodetrail/event/v1/event.pb.h"

namespace nodetrail::agent {

struct OwnPath {
  std::string object;  // Tamper.object: "spool", "key"…
  std::string path;    // absolute
  bool tree = false;   // a folder with all that is in it
};

// What is ours. Without a tgid nothing is watched.
struct OwnThings {
  uint32_t tgid = 0;  // initial pid namespace
  std::vector<OwnPath> paths;
  std::vector<OwnObject> objects;
  // Whether a thread of that id is one of ours. Empty: only `tgid` is.
  std::function<bool(uint32_t tid)> thread;
};

// Thread: pipeline.
class TamperWatch {
 public:
  TamperWatch(OwnThings own, FileProbe probe);

  // Whether the event is an act on the agent, and on what. Names are compared
  // first; then the file's inode, and, of what is only named, that of its folder:
  // another name for the same file does not help.
  [[nodiscard]] std::optional<event::v1::Tamper> Judge(const EventFacts& facts);

  // Of a signal that the run before received; the target is known to be it.
  [[nodiscard]] static std::optional<event::v1::Tamper> JudgePast(const RawEvent& raw);

  // Whether the same process has done the same within 10 s before.
  bool Repeated(const EventFacts& facts, const event::v1::Tamper& tamper);

  // Reads the folders anew where that is due.
  void Poll(uint64_t now_boot_ns);

  // Who may have taken away what is found gone, the last that could.
  struct Suspect {
    RawEvent raw{};  // without tails
    std::string_view is;
  };
  [[nodiscard]] const Suspect* SuspectOf(std::string_view object, uint64_t now_boot_ns) const;

 private:
  using FileId = std::pair<uint64_t, uint64_t>;  // device, inode
  [[nodiscard]] bool OurTask(const EventFacts& facts) const;
  [[nodiscard]] const OwnPath* FindByName(std::string_view path) const;
  [[nodiscard]] const OwnPath* FindFile(const PathFacts& path, const nt_file* file, bool followed) const;
  [[nodiscard]] std::optional<event::v1::Tamper> JudgeFile(const EventFacts& facts) const;
  [[nodiscard]] std::optional<event::v1::Tamper> JudgeOwnObject(const EventFacts& facts);
  void Remember(std::optional<Suspect>* slot, const RawEvent& raw, std::string_view is);
  void Learn(const OwnPath& own, const std::string& path);

  OwnThings own_;
  FileProbe probe_;
  uint64_t next_scan_ns_ = 0;
  std::map<FileId, const OwnPath*> files_;
  std::set<std::string, std::less<>> names_;  // last components of what is ours
  std::map<std::tuple<std::string, uint32_t, std::string, std::string, std::string>, uint64_t> told_;
  std::optional<Suspect> tracer_, mapper_;
};

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_PIPELINE_TAMPER_H_

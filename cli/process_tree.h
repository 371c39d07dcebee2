// SPDX-License-Identifier: Apache-2.0
//
// Events put together into a tree of processes. Pure; one thread.
#ifndef NODETRAIL_CLI_PROCESS_TREE_H_
#define NODETRAIL_CLI_PROCESS_TREE_H_

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "cli/context.h"
#include "nodetrail/schema/event_view.h"

namespace nodetrail::cli {

class ProcessTree {
 public:
  // `root`: the proc_uid of the process asked for, 32 hex digits.
  explicit ProcessTree(std::string root);

  // Oldest first. Events of other processes than the root and what descends
  // from it are kept, but not shown.
  void Add(const schema::EventView& view);
  // Processes whose list of ancestors was full, at most `most`, each told once:
  // what descends from them may not name the root.
  std::vector<std::string> TakeFrontier(size_t most);

  [[nodiscard]] bool empty() const { return processes_.empty(); }
  // `events`: shown of each process, 0: all.
  [[nodiscard]] std::string Draw(const Context& context, size_t events) const;
  [[nodiscard]] nlohmann::ordered_json ToJson() const;

 private:
  struct Act {
    uint64_t wall_ns = 0;
    std::string kind;
    std::string outcome;
    std::string text;  // safe for a terminal
    std::string json;  // the event, one object
  };
  struct Process {
    std::string uid;
    std::string parent;
    uint32_t pid = 0;
    std::string who;
    std::string person;   // see Person()
    std::string command;  // safe for a terminal
    std::string exe;
    bool known = false;  // seen in a process record, not only as somebody's child
    std::vector<Act> acts;
    std::vector<std::string> children;  // in order of appearance
  };
  struct Forebear {
    std::string uid;
    uint32_t pid = 0;
    std::string exe;
    std::string user;
  };

  Process& Get(const std::string& uid);
  void SetParent(Process* process, const std::string& parent);
  void DrawProcess(const Context& context, const Process& process, const std::string& indent, size_t events,
                   std::set<std::string>* seen, std::string* out) const;
  [[nodiscard]] nlohmann::ordered_json ProcessJson(const Process& process, std::set<std::string>* seen) const;

  const std::string root_;
  std::map<std::string, Process> processes_;
  std::vector<Forebear> forebears_;  // nearest first
  std::set<std::string> frontier_, told_;
};

}  // namespace nodetrail::cli

#endif  // NODETRAIL_CLI_PROCESS_TREE_H_

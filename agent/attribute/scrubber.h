// SPDX-License-Identifier: Apache-2.0
//
// Takes the secrets out of what a process was started with, before the process
// table keeps it: the table never holds an unredacted argument. Implemented by
// agent/redact.
#ifndef NODETRAIL_AGENT_ATTRIBUTE_SCRUBBER_H_
#define NODETRAIL_AGENT_ATTRIBUTE_SCRUBBER_H_

#include <string>
#include <string_view>
#include <vector>

#include "agent/attribute/process.h"

namespace nodetrail::agent {

// Thread: pipeline.
class Scrubber {
 public:
  virtual ~Scrubber() = default;

  // Splits NUL-separated `argv` and appends the clean arguments to `out`, and a
  // note per argument and rule ("actor.argv[N]") to `notes`. `cut`: the bytes
  // end before argv does, maybe within an argument. `exe` is the image's path.
  virtual void ScrubArgv(std::string_view exe, std::string_view argv, bool cut, std::vector<std::string>* out,
                         std::vector<RedactionNote>* notes) = 0;

  // False: ScrubPath would leave this as it is. Cheap; for what every event has.
  [[nodiscard]] virtual bool Suspect(std::string_view /*path*/) const { return true; }

  // A path, in place. True if it changed; a note for `field` is then appended.
  virtual bool ScrubPath(std::string_view field, std::string* path, std::vector<RedactionNote>* notes) = 0;
};

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_ATTRIBUTE_SCRUBBER_H_

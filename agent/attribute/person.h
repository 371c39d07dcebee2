// SPDX-License-Identifier: Apache-2.0
//
// Keeps with each process who is behind it: elevations passed (elevation.h), the
// entry and where its login came from (entry.h). Called by the process table at
// fork, exec and wherever it reads /proc.
#ifndef NODETRAIL_AGENT_ATTRIBUTE_PERSON_H_
#define NODETRAIL_AGENT_ATTRIBUTE_PERSON_H_

#include <memory>

#include "agent/attribute/elevation.h"
#include "agent/attribute/entry.h"
#include "agent/attribute/process.h"
#include "agent/decode/decode.h"

namespace nodetrail::agent {

// NT_FORK: `child` of `parent`, which did it with the credentials of `task`.
void InheritPerson(const nt_task& task, Process* parent, Process* child);

// NT_EXEC: made before the image is replaced, settled after.
class PersonAtExec {
 public:
  PersonAtExec(const RawEvent& event, const Process* process);
  void Settle(const RawEvent& event, Process* process) const;

 private:
  ElevationChain chain_;
  EntryKind broker_;
  nt_cred before_;
};

// An entry made without its fork and exec: what its image and its parent (null:
// unknown) tell, marked as concluded; what they don't is a gap "actor.elevation".
void ConcludePerson(Process* process, const Process* parent);

// The image was read from /proc because its exec may be lost; the real user was
// `from` when it was last known.
void PersonAfterLoss(uint32_t from, Process* process);

// NT_NET_ACCEPT: sshd forks once for each connection that it accepts.
void NoteAccepted(const RawEvent& event, Process* process);

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_ATTRIBUTE_PERSON_H_

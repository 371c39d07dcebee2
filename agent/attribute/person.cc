// SPDX-License-Identifier: Apache-2.0
#include "agent/attribute/person.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace nodetrail::agent {
namespace {

constexpr uint32_t kNobodyLoggedIn = 0xffffffffU;
constexpr unsigned kCapSetuid = 7;  // linux/capability.h
constexpr std::string_view kNotSeen = "the login user is another one, and no probe saw the change";

ElevationActor ActorOf(const Process& process, bool from_proc) {
  return {.process = process.uid,
          .image = process.image.get(),
          .loginuid = process.loginuid,
          .from_proc = from_proc,
          .may_setuid = ((process.cred.cap_permitted >> kCapSetuid) & 1U) != 0};
}

// What the entry says is as of its exec; the record knows better.
ElevationActor ActorOf(const Process& process, const nt_task& task) {
  ElevationActor actor = ActorOf(process, false);
  actor.loginuid = task.loginuid;
  return actor;
}

EntryRef NewEntry(EntryKind kind, const Process& process, bool from_proc) {
  auto entry = std::make_shared<Entry>();
  entry->kind = kind;
  entry->leader = process.uid;
  entry->pid = process.tgid;
  entry->exe = process.image->exe;
  entry->from_proc = from_proc;
  return entry;
}

// `process` runs the first image that is not the broker's.
bool LetIn(EntryKind broker, const Process& process) {
  return broker != EntryKind::kNone && process.image != nullptr &&
         BrokerOf(process.image.get(), process.tgid) != broker;
}

// What passed `from` on to `process`: its own image, if that is a set-user-ID
// file, or `parent`, which started it.
ElevationChain Concluded(const ElevationChain& chain, const Process* parent, uint32_t from, const Process& process) {
  if (IsSetuidFile(process.image.get())) {
    // A tool that still runs with both users, or has taken the other one wholly.
    const uint32_t to = process.user_id != from ? process.user_id : process.cred.euid;
    return AfterSwitch(chain, ActorOf(process, true), from, to);
  }
  ElevationActor actor;
  if (parent != nullptr) actor = ActorOf(*parent, true);
  actor.from_proc = true;
  actor.loginuid = process.loginuid;
  return AfterSwitch(chain, actor, from, process.user_id);
}

}  // namespace

void InheritPerson(const nt_task& task, Process* parent, Process* child) {
  child->elevation = AfterSwitch(parent->elevation, ActorOf(*parent, task), parent->switch_uid, task.cred.uid);
  child->switch_uid = task.cred.uid;
  child->entry = parent->entry;
  child->login = parent->accepted != nullptr ? std::exchange(parent->accepted, nullptr) : parent->login;
}

PersonAtExec::PersonAtExec(const RawEvent& event, const Process* process)
    : chain_(process->elevation), broker_(BrokerOf(process->image.get(), process->tgid)) {
  const nt_exec& exec = event.body.exec;
  if (exec.has_old_cred == 0) {
    before_ = event.task.cred;
    before_.uid = before_.euid = process->switch_uid;
    return;
  }
  before_ = exec.old_cred;
  chain_ = AfterSwitch(chain_, ActorOf(*process, event.task), process->switch_uid, before_.uid);
}

void PersonAtExec::Settle(const RawEvent& event, Process* process) const {
  process->elevation = AfterExec(chain_, ActorOf(*process, event.task), before_, event.task.cred);
  process->switch_uid = event.task.cred.uid;
  if (LetIn(broker_, *process)) process->entry = NewEntry(broker_, *process, false);
}

void ConcludePerson(Process* process, const Process* parent) {
  if (parent != nullptr) {
    process->elevation = Concluded(parent->elevation, parent, parent->switch_uid, *process);
    const EntryKind broker = BrokerOf(parent->image.get(), parent->tgid);
    process->login = parent->login;
    // init is the parent of orphans, too, which came in elsewhere. A service leads a session.
    const bool orphan = broker == EntryKind::kInit && process->sid != process->tgid;
    process->entry = orphan ? nullptr : LetIn(broker, *process) ? NewEntry(broker, *process, true) : parent->entry;
  }
  process->switch_uid = process->user_id;
  const bool another = process->loginuid != kNobodyLoggedIn && process->loginuid != process->user_id;
  if (another && process->elevation == nullptr && BrokerOf(process->image.get(), process->tgid) == EntryKind::kNone) {
    process->gaps.push_back({"actor.elevation", kNotSeen});
  }
}

void PersonAfterLoss(uint32_t from, Process* process) {
  process->elevation = Concluded(process->elevation, nullptr, from, *process);
  process->switch_uid = process->user_id;
}

void NoteAccepted(const RawEvent& event, Process* process) {
  if (BrokerOf(process->image.get(), process->tgid) != EntryKind::kSsh) return;
  const nt_net& net = event.body.net;
  auto login = std::make_shared<Login>();
  login->family = net.family;
  std::copy(std::begin(net.remote_addr), std::end(net.remote_addr), std::begin(login->address));
  login->port = net.remote_port;
  login->boot_ns = event.header.ktime_boot_ns;
  process->accepted = std::move(login);
}

}  // namespace nodetrail::agent

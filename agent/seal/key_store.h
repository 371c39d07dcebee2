// SPDX-License-Identifier: Apache-2.0
//
// The ratchet's live key in a memfd: it never touches a disk, is locked in
// memory, stays out of core dumps, and the service manager can hold it over a
// restart of the agent.
#ifndef NODETRAIL_AGENT_SEAL_KEY_STORE_H_
#define NODETRAIL_AGENT_SEAL_KEY_STORE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include "nodetrail/base/fd.h"
#include "nodetrail/base/status.h"
#include "nodetrail/trail/ratchet_key.h"

namespace nodetrail::agent {

// Two slots: the key of the batch that is being sealed and of the one after.
// While both are there, a crash on either side of the spool's fdatasync finds
// the key that the spool's head promises. Owner: Sealer. One thread.
class KeyStore {
 public:
  struct Position {
    uint64_t epoch = 0;
    uint64_t seq = 0;
  };

  // A new, empty memfd.
  static Result<std::unique_ptr<KeyStore>> Create();
  // One that a former process of ours filled. InvalidArgument if it is not.
  static Result<std::unique_ptr<KeyStore>> Adopt(UniqueFd fd);
  // Unmaps; the content stays, for the fd store.
  ~KeyStore();
  KeyStore(const KeyStore&) = delete;
  KeyStore& operator=(const KeyStore&) = delete;

  // The key for `position` whose public half is `key`, if a slot holds it.
  [[nodiscard]] std::optional<trail::RatchetKey> Find(Position position, std::string_view key) const;

  // Puts the key in the slot of its parity, erasing what was there.
  void Put(Position position, const trail::RatchetKey& key);
  // Erases the slot of that position.
  void Erase(Position position);
  void EraseAll();

  [[nodiscard]] int fd() const { return fd_.get(); }

 private:
  struct Page;
  KeyStore() = default;
  Status Map();

  UniqueFd fd_;
  Page* page_ = nullptr;
};

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_SEAL_KEY_STORE_H_

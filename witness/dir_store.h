// SPDX-License-Identifier: Apache-2.0
//
// A witness's records as files of one directory:
//   LOCK                      held while a witness runs
//   <sha256 of origin>.state  "nodetrail-witness-state 1\n", "sha256 <64 hex>\n"
//                             of what follows, then the checkpoint as signed
//   <sha256 of origin>-<size>-<root>.fork   two signed checkpoints that contradict
// <root> are the first 16 hex digits of the other root.
#ifndef NODETRAIL_WITNESS_DIR_STORE_H_
#define NODETRAIL_WITNESS_DIR_STORE_H_

#include <memory>
#include <string>

#include "nodetrail/base/fd.h"
#include "nodetrail/base/status.h"
#include "witness/core.h"

namespace nodetrail::witness {

class DirStore final : public Store {
 public:
  // Makes the directory if need be (mode 0700). FailedPrecondition if another
  // witness holds it: two on one directory could cosign a fork between them.
  static Result<std::unique_ptr<DirStore>> Open(std::string dir);

  Result<Record> Load(const std::string& origin) override;
  Status Save(const std::string& origin, const Record& record) override;
  // At most 16 files an origin.
  void KeepFork(const std::string& origin, const Record& known, const Record& other) override;

  [[nodiscard]] std::string StatePath(const std::string& origin) const;

 private:
  DirStore(std::string dir, UniqueFd lock) : dir_(std::move(dir)), lock_(std::move(lock)) {}

  const std::string dir_;
  const UniqueFd lock_;
};

}  // namespace nodetrail::witness

#endif  // NODETRAIL_WITNESS_DIR_STORE_H_

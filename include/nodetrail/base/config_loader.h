// SPDX-License-Identifier: Apache-2.0
//
// YAML text -> one of the messages of nodetrail/config/v1/config.proto, checked
// against the options of its fields. The text is untrusted input.
//
// All errors are found and told at once, one a line:
//
//   agent.yaml:4:3: batch.max_byte: unknown key; did you mean max_bytes?
//
// What is checked: YAML syntax, unknown and duplicate keys, types, min and max,
// one_of, required keys, files that must exist. A key that is absent or null
// gets its default_value. A relative path counts from the folder that holds the
// configuration file, so that a folder with everything in it can be moved.
//
// Not supported in a configuration: anchors, aliases, tags, more than one
// document. Bounds: 256 KiB, 16 levels deep, 10,000 values, 50 errors told.
#ifndef NODETRAIL_BASE_CONFIG_LOADER_H_
#define NODETRAIL_BASE_CONFIG_LOADER_H_

#include <google/protobuf/message.h>

#include <cstddef>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "nodetrail/base/status.h"

namespace nodetrail {

inline constexpr size_t kMaxConfigBytes = 256 * 1024;

// The errors of one configuration. A program's own checks (that a number is a
// power of two, that a pattern compiles) add theirs here, so that they are told
// together with the loader's.
class ConfigReport {
 public:
  explicit ConfigReport(std::string file) : file_(std::move(file)) {}

  // `key` is a path such as "ship.endpoint" or "redact.rules[2].pattern"; the
  // position printed is that of the key, or of the nearest block around it.
  // `what` says what is wrong and how to mend it, without a full stop.
  void Add(std::string_view key, std::string_view what);

  [[nodiscard]] bool empty() const { return errors_.empty(); }
  // OK, or InvalidArgument with one error a line in the order of the file.
  [[nodiscard]] Status ToStatus() const;

 private:
  friend class ConfigReader;
  struct Position {
    int line = 1;  // from 1
    int column = 1;
  };
  struct Error {
    Position position;
    std::string text;      // "key: what", or "what" for the file as a whole
    bool absence = false;  // a required key is not there
  };
  void AddAt(Position position, std::string text, bool absence = false);

  std::string file_;
  std::map<std::string, Position, std::less<>> positions_;
  std::vector<Error> errors_;
};

using ConfigCheck = std::function<void(const google::protobuf::Message&, ConfigReport&)>;

// Fills `message` (its content before is dropped). `file` names the text in
// errors; relative paths count from `base_dir`. `check`, if given, runs on the
// filled message when the text was YAML, also when other errors were found.
// Fails with InvalidArgument, or ResourceExhausted when the text is too long.
Status LoadConfigTextInto(std::string_view text, const std::string& file, const std::string& base_dir,
                          google::protobuf::Message* message, const ConfigCheck& check = {});
// Also fails with what opening and reading `path` gives; ResourceExhausted when
// it is longer than kMaxConfigBytes.
Status LoadConfigInto(const std::string& path, google::protobuf::Message* message, const ConfigCheck& check = {});

namespace config_internal {
template <typename M>
ConfigCheck Erase(const std::function<void(const M&, ConfigReport&)>& check) {
  if (!check) return {};
  return [&check](const google::protobuf::Message& message, ConfigReport& report) {
    check(static_cast<const M&>(message), report);
  };
}
}  // namespace config_internal

template <typename M>
Result<M> LoadConfig(const std::string& path, const std::function<void(const M&, ConfigReport&)>& check = {}) {
  M message;
  NT_RETURN_IF_ERROR(LoadConfigInto(path, &message, config_internal::Erase<M>(check)));
  return message;
}

template <typename M>
Result<M> LoadConfigText(std::string_view text, const std::string& file = "config", const std::string& base_dir = "/",
                         const std::function<void(const M&, ConfigReport&)>& check = {}) {
  M message;
  NT_RETURN_IF_ERROR(LoadConfigTextInto(text, file, base_dir, &message, config_internal::Erase<M>(check)));
  return message;
}

// SHA-256, in hex, of the configuration in force: the filled message,
// serialised deterministically. Two files that mean the same, comments and
// defaults aside, have the same hash.
std::string EffectiveConfigSha256(const google::protobuf::Message& message);

}  // namespace nodetrail

#endif  // NODETRAIL_BASE_CONFIG_LOADER_H_

// SPDX-License-Identifier: Apache-2.0
//
// What every command of `nodetrail` shares: global options, configuration, how
// it talks to the user, exit codes.
#ifndef NODETRAIL_CLI_CONTEXT_H_
#define NODETRAIL_CLI_CONTEXT_H_

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "nodetrail/base/status.h"
#include "nodetrail/config/v1/config.pb.h"

namespace CLI {
class App;
}

namespace nodetrail::cli {

// sysexits.h. `verify` uses 0 to 3 for its verdict, so errors begin at 64.
enum Exit : int {
  kExitOk = 0,
  kExitUsage = 64,
  kExitData = 65,  // what was read is damaged, or proofs do not hold
  kExitNotFound = 66,
  kExitUnavailable = 69,  // collector or agent does not answer
  kExitInternal = 70,
  kExitNoPermission = 77,
  kExitConfig = 78,
};
int ExitFor(const Status& status);

struct Globals {
  std::string config_path;  // --config
  std::string collector, ca, cert, key, server_name;
  std::string color = "auto";
  bool json = false;
};

// Owner: main. Colour and width are those of standard output.
class Context {
 public:
  explicit Context(Globals globals);

  // Reads the configuration ($NODETRAIL_CONFIG, /etc/nodetrail/cli.yaml unless
  // --config) and applies the overrides. A default file that is not there is
  // no error: defaults and flags may be enough.
  Status Load();

  [[nodiscard]] const config::v1::CliConfig& config() const { return config_; }
  [[nodiscard]] const Globals& globals() const { return globals_; }
  [[nodiscard]] bool json() const { return globals_.json; }
  // The file that was read; empty if none.
  [[nodiscard]] const std::string& config_path() const { return config_path_; }
  [[nodiscard]] bool color() const { return color_; }
  [[nodiscard]] bool unicode() const { return unicode_; }
  [[nodiscard]] bool terminal() const { return terminal_; }
  // Columns of the terminal; 0 if standard output is none: nothing is cut then.
  [[nodiscard]] size_t width() const { return width_; }
  [[nodiscard]] size_t height() const { return height_; }

  // `text` in the colour of an SGR code ("31"), or as it is.
  [[nodiscard]] std::string Paint(std::string_view code, std::string_view text) const;

 private:
  Globals globals_;
  config::v1::CliConfig config_;
  std::string config_path_;
  bool color_ = false;
  bool unicode_ = false;
  bool terminal_ = false;
  size_t width_ = 0;
  size_t height_ = 0;
};

// "nodetrail: MESSAGE" on standard error; the exit code for it.
int Fail(const Status& status);
int Fail(int exit_code, std::string_view message);
void Note(std::string_view message);  // a hint on standard error

// False once standard output is gone (a pager that was closed): stop quietly.
bool Print(std::string_view text);

// Each command adds itself to the program; the action runs after parsing and
// returns the exit code.
using Action = std::function<int(Context&)>;
using SetAction = std::function<void(Action)>;
// An action that needs the configuration.
Action Configured(Action action);
void AddQuery(CLI::App& app, const SetAction& set);
void AddTail(CLI::App& app, const SetAction& set);
void AddTree(CLI::App& app, const SetAction& set);
void AddShow(CLI::App& app, const SetAction& set);
void AddAgents(CLI::App& app, const SetAction& set);
void AddAccess(CLI::App& app, const SetAction& set);
void AddStatus(CLI::App& app, const SetAction& set);
void AddVerify(CLI::App& app, const SetAction& set);
void AddExport(CLI::App& app, const SetAction& set);
void AddDoctor(CLI::App& app, const SetAction& set);
void AddCompletion(CLI::App& app, const SetAction& set);

}  // namespace nodetrail::cli

#endif  // NODETRAIL_CLI_CONTEXT_H_

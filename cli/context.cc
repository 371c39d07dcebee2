// SPDX-License-Identifier: Apache-2.0
#include "cli/context.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "nodetrail/base/config_loader.h"

namespace nodetrail::cli {
namespace {

constexpr const char* kDefaultConfig = "/etc/nodetrail/cli.yaml";

std::string Env(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : value;
}

// What setlocale would take for LC_CTYPE.
bool Utf8Locale() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const std::string value = Env(name);
    if (value.empty()) continue;
    return value.find("UTF-8") != std::string::npos || value.find("utf8") != std::string::npos ||
           value.find("UTF8") != std::string::npos || value.find("utf-8") != std::string::npos;
  }
  return false;
}

}  // namespace

int ExitFor(const Status& status) {
  switch (status.code()) {
    case Code::kOk: return kExitOk;
    case Code::kInvalidArgument:
    case Code::kOutOfRange: return kExitUsage;
    case Code::kNotFound: return kExitNotFound;
    case Code::kPermissionDenied:
    case Code::kUnauthenticated: return kExitNoPermission;
    case Code::kUnavailable:
    case Code::kDeadlineExceeded:
    case Code::kResourceExhausted:
    case Code::kCancelled:
    case Code::kAborted: return kExitUnavailable;
    case Code::kDataLoss: return kExitData;
    case Code::kFailedPrecondition: return kExitConfig;
    default: return kExitInternal;
  }
}

Context::Context(Globals globals) : globals_(std::move(globals)) {
  terminal_ = ::isatty(STDOUT_FILENO) == 1;
  // https://no-color.org: set and not empty.
  color_ = globals_.color == "always" ||
           (globals_.color == "auto" && terminal_ && Env("NO_COLOR").empty() && Env("TERM") != "dumb");
  unicode_ = Utf8Locale() || !terminal_;
  struct winsize size {};
  if (terminal_ && ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
    width_ = size.ws_col;
    height_ = size.ws_row;
  } else if (terminal_) {
    width_ = 80;
    height_ = 24;
  }
}

Status Context::Load() {
  std::string path = globals_.config_path;
  bool required = !path.empty();
  if (path.empty()) path = Env("NODETRAIL_CONFIG"), required = !path.empty();
  if (path.empty()) path = kDefaultConfig;
  if (required || ::access(path.c_str(), F_OK) == 0) {
    auto loaded = LoadConfig<config::v1::CliConfig>(path);
    if (!loaded.ok()) return FailedPrecondition(std::string(loaded.status().message()));
    config_ = *std::move(loaded);
    config_path_ = path;
  } else {
    NT_ASSIGN_OR_RETURN(config_, LoadConfigText<config::v1::CliConfig>("{}"));
  }
  if (!globals_.collector.empty()) config_.set_collector(globals_.collector);
  if (!globals_.server_name.empty()) config_.set_server_name(globals_.server_name);
  if (!globals_.ca.empty()) config_.mutable_tls()->set_ca_file(globals_.ca);
  if (!globals_.cert.empty()) config_.mutable_tls()->set_cert_file(globals_.cert);
  if (!globals_.key.empty()) config_.mutable_tls()->set_key_file(globals_.key);
  return OkStatus();
}

std::string Context::Paint(std::string_view code, std::string_view text) const {
  return color_ && !text.empty() ? fmt::format("\x1b[{}m{}\x1b[0m", code, text) : std::string(text);
}

int Fail(int exit_code, std::string_view message) {
  fmt::print(stderr, "nodetrail: {}\n", message);
  return exit_code;
}

int Fail(const Status& status) { return Fail(ExitFor(status), status.message()); }

void Note(std::string_view message) { fmt::print(stderr, "{}\n", message); }

Action Configured(Action action) {
  return [action = std::move(action)](Context& context) {
    if (const Status status = context.Load(); !status.ok()) return Fail(status);
    return action(context);
  };
}

bool Print(std::string_view text) {
  return std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::ferror(stdout) == 0;
}

}  // namespace nodetrail::cli

// SPDX-License-Identifier: Apache-2.0
//
// The first verifier over a corpus, in one process.
#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "nodetrail/trail/policy.h"
#include "nodetrail/trail/verify.h"
#include "trail/testing/corpus.h"

namespace nodetrail::trail {
namespace {

nlohmann::ordered_json Failed(const Status& status) { return {{"exit_code", 64}, {"error", status.message()}}; }

nlohmann::ordered_json VerifyCase(const std::string& dir, const nlohmann::json& c) {
  const auto file = [&](const std::string& key) { return dir + "/" + c.at(key).get<std::string>(); };
  VerifyPolicy policy;
  policy.identity_ca_pem = Slurp(file("ca"));
  if (!c.at("log_key").get<std::string>().empty()) policy.log_key = *NoteVerifier::Parse(Slurp(file("log_key")));
  if (!c.at("policy").get<std::string>().empty()) {
    auto log_policy = LogPolicy::Parse(Slurp(file("policy")));
    if (!log_policy.ok()) return Failed(log_policy.status());
    // What the command line refuses too.
    if (log_policy->logs().empty() && !policy.log_key) return Failed(InvalidArgument("the policy names no log"));
    policy.log_policy = *std::move(log_policy);
  }
  for (const auto& prior : c.at("prior")) {
    const auto name = prior.get<std::string>();
    policy.kept.push_back({name, Slurp(fmt::format("{}/{}", dir, name))});
  }
  policy.require_enrolment = c.at("require_enrolment").get<bool>();
  const auto report = VerifyTrail(file("dir"), policy);
  if (!report.ok()) return Failed(report.status());
  nlohmann::ordered_json out = {{"exit_code", static_cast<int>(report->verdict)}, {"first_bad", nullptr}};
  if (report->first_bad) {
    const Finding& bad = *report->first_bad;
    out["first_bad"] = {{"reason", bad.reason}, {"text", bad.text}};
    if (!bad.batch.empty()) out["first_bad"]["batch"] = bad.batch;
    if (bad.log_index) out["first_bad"]["log_index"] = *bad.log_index;
  }
  // As `nodetrail verify --json` tells it.
  nlohmann::ordered_json told = nlohmann::ordered_json::parse(VerifyReportJson(*report));
  out["coverage"] = std::move(told["coverage"]);
  out["agents"] = std::move(told["agents"]);
  return out;
}

}  // namespace

int VerifyCorpus(const std::string& dir) {
  std::istringstream lines(Slurp(dir + "/cases.jsonl"));
  for (std::string line; std::getline(lines, line);) {
    const nlohmann::json c = nlohmann::json::parse(line, nullptr, false);
    if (c.is_discarded()) Fail("cases.jsonl: not JSON");
    fmt::print("{}\n", VerifyCase(dir, c).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  }
  return 0;
}

}  // namespace nodetrail::trail

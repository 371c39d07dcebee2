// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <ctime>
#include <nlohmann/json.hpp>

#include "nodetrail/trail/verify.h"

namespace nodetrail::trail {
namespace {

using Json = nlohmann::ordered_json;

constexpr uint64_t kNsPerSecond = 1'000'000'000;

std::string Rfc3339(uint64_t wall_ns) {
  const auto seconds = static_cast<std::time_t>(wall_ns / kNsPerSecond);
  std::tm tm{};
  if (::gmtime_r(&seconds, &tm) == nullptr) return std::to_string(wall_ns);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:09}Z", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
                     tm.tm_hour, tm.tm_min, tm.tm_sec, wall_ns % kNsPerSecond);
}

Json TimeJson(uint64_t wall_ns) { return wall_ns == 0 ? Json(nullptr) : Json(Rfc3339(wall_ns)); }

std::string_view KindName(FindingKind kind) {
  switch (kind) {
    case FindingKind::kNote: return "note";
    case FindingKind::kDeclaredLoss: return "declared_loss";
    case FindingKind::kGap: return "unexplained_gap";
    case FindingKind::kTamper: return "tamper";
  }
  return "unknown";
}

Json FindingJson(const Finding& finding) {
  Json out;
  out["kind"] = KindName(finding.kind);
  out["text"] = finding.text;
  out["batch"] = finding.batch.empty() ? Json(nullptr) : Json(finding.batch);
  out["log_index"] = finding.log_index ? Json(*finding.log_index) : Json(nullptr);
  out["file"] = finding.file.empty() ? Json(nullptr) : Json(finding.file);
  return out;
}

Json AgentJson(const AgentCoverage& agent) {
  Json out;
  out["tenant"] = agent.tenant;
  out["agent"] = agent.agent_id;
  out["batches"] = agent.batches;
  out["events"] = agent.events;
  out["body_bytes"] = agent.body_bytes;
  out["epochs"] = Json::array();
  for (const EpochCoverage& epoch : agent.epochs) {
    out["epochs"].push_back({{"epoch", epoch.epoch},
                             {"first_seq", epoch.first_seq},
                             {"last_seq", epoch.last_seq},
                             {"batches", epoch.batches},
                             {"events", epoch.events},
                             {"from", TimeJson(epoch.from_wall_ns)},
                             {"to", TimeJson(epoch.to_wall_ns)},
                             {"clean_shutdown", epoch.clean_shutdown}});
  }
  out["losses"] = Json::array();
  for (const EventLoss& loss : agent.losses) {
    out["losses"].push_back({{"batch", loss.batch},
                             {"stage", loss.stage},
                             {"kind", loss.kind},
                             {"count", loss.count},
                             {"from", TimeJson(loss.from_wall_ns)},
                             {"to", TimeJson(loss.to_wall_ns)}});
  }
  out["holes"] = Json::array();
  for (const ChainHole& hole : agent.holes) {
    out["holes"].push_back({{"epoch", hole.epoch}, {"from_seq", hole.from_seq}, {"to_seq", hole.to_seq}});
  }
  return out;
}

}  // namespace

std::string VerifyReportJson(const VerifyReport& report) {
  Json out;
  out["verdict"] = TrailVerdictName(report.verdict);
  out["exit_code"] = static_cast<int>(report.verdict);
  out["summary"] = report.summary;
  out["first_bad"] = report.first_bad ? FindingJson(*report.first_bad) : Json(nullptr);
  out["leaves"] = report.leaves;
  out["bodies"] = report.bodies;
  out["events"] = report.events;
  out["checkpoint"] = {{"present", report.checkpoint_present},
                       {"trusted", report.checkpoint_trusted},
                       {"size", report.checkpoint_size},
                       {"root", report.checkpoint_root}};
  out["not_under_checkpoint"] = report.not_under_checkpoint;
  out["tiles"] = {{"checked", report.tiles}, {"missing", report.tiles_missing}};
  out["agents"] = Json::array();
  for (const AgentCoverage& agent : report.agents) out["agents"].push_back(AgentJson(agent));
  out["findings"] = Json::array();
  for (const Finding& finding : report.findings) out["findings"].push_back(FindingJson(finding));
  out["findings_dropped"] = report.findings_dropped;
  return out.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string VerifyReportText(const VerifyReport& report) {
  std::string out = report.summary + "\n";
  if (!report.checkpoint_present) {
    out += "checkpoint: none\n";
  } else {
    out += fmt::format("checkpoint: {} leaves, root {}, {}\n", report.checkpoint_size, report.checkpoint_root,
                       report.checkpoint_trusted ? "signed by the log key, agrees" : "NOT TRUSTED");
  }
  if (report.not_under_checkpoint > 0)
    out += fmt::format("not yet under a checkpoint: {} leaves\n", report.not_under_checkpoint);
  out += fmt::format("tiles checked: {}{}\n", report.tiles,
                     report.tiles_missing > 0 ? fmt::format(", {} missing", report.tiles_missing) : "");
  out += fmt::format("bodies checked: {}\n", report.bodies);
  for (const AgentCoverage& agent : report.agents) {
    out += fmt::format("\nagent {} (tenant {}): {} batches, {} events\n", agent.agent_id, agent.tenant, agent.batches,
                       agent.events);
    for (const EpochCoverage& epoch : agent.epochs) {
      out += fmt::format("  epoch {}: batches {}-{}, {} events, {} to {}{}\n", epoch.epoch, epoch.first_seq,
                         epoch.last_seq, epoch.events, Rfc3339(epoch.from_wall_ns), Rfc3339(epoch.to_wall_ns),
                         epoch.clean_shutdown ? ", stopped in order" : "");
    }
    for (const EventLoss& loss : agent.losses) {
      out += fmt::format("  declared loss: {}{}{}, in batch {}\n", loss.stage, loss.kind.empty() ? "" : " " + loss.kind,
                         loss.count != 0 ? fmt::format(", {} events", loss.count) : "", loss.batch);
    }
    for (const ChainHole& hole : agent.holes) {
      out += fmt::format("  missing: batches {}:{} to {}\n", hole.epoch, hole.from_seq, hole.to_seq);
    }
  }
  if (!report.findings.empty()) out += "\nfindings:\n";
  for (const Finding& finding : report.findings) {
    out += fmt::format("  {}: {}{}", KindName(finding.kind), finding.batch.empty() ? "" : finding.batch + ": ",
                       finding.text);
    if (finding.log_index) out += fmt::format(" (leaf {})", *finding.log_index);
    if (!finding.file.empty()) out += fmt::format(" [{}]", finding.file);
    out += '\n';
  }
  if (report.findings_dropped > 0) out += fmt::format("  and {} more\n", report.findings_dropped);
  return out;
}

}  // namespace nodetrail::trail

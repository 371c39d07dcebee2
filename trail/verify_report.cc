// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "nodetrail/trail/verify.h"
#include "trail/rfc3339.h"

namespace nodetrail::trail {
namespace {

using Json = nlohmann::ordered_json;

Json TimeJson(uint64_t wall_ns) { return wall_ns == 0 ? Json(nullptr) : Json(FormatRfc3339(wall_ns)); }

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
  out["reason"] = finding.reason;
  out["text"] = finding.text;
  out["batch"] = finding.batch.empty() ? Json(nullptr) : Json(finding.batch);
  out["log_index"] = finding.log_index ? Json(*finding.log_index) : Json(nullptr);
  out["file"] = finding.file.empty() ? Json(nullptr) : Json(finding.file);
  return out;
}

// Seconds to the millisecond: what a reader of the report can use.
double Seconds(uint64_t ns) {
  const uint64_t ms = ns / 1'000'000;
  return static_cast<double>(ms) / 1e3;
}

Json SecondsJson(const std::array<uint64_t, kCoverageKinds>& ns) {
  Json out;
  for (size_t i = 0; i < kCoverageKinds; ++i) out[CoverageKindName(static_cast<CoverageKind>(i))] = Seconds(ns[i]);
  return out;
}

std::array<uint64_t, kCoverageKinds> Totals(const VerifyReport& report) {
  std::array<uint64_t, kCoverageKinds> out{};
  for (const AgentCoverage& agent : report.agents) {
    for (size_t i = 0; i < kCoverageKinds; ++i) out[i] += agent.covered_ns[i];
  }
  return out;
}

// "covered 120.5 s, silent 93 s": what there is of it.
std::string SecondsText(const std::array<uint64_t, kCoverageKinds>& ns) {
  std::string out;
  for (size_t i = 0; i < kCoverageKinds; ++i) {
    if (ns[i] == 0 && i != 0) continue;
    out += fmt::format("{}{} {} s", out.empty() ? "" : ", ", CoverageKindName(static_cast<CoverageKind>(i)),
                       Seconds(ns[i]));
  }
  return out;
}

uint64_t PerSecond(uint64_t count, uint64_t ns) {
  return ns == 0 ? 0 : static_cast<uint64_t>(static_cast<double>(count) * 1e9 / static_cast<double>(ns));
}

Json BundleJson(const VerifyReport& report) {
  if (!report.bundle) return nullptr;
  const BundleManifest& manifest = *report.bundle;
  Json out;
  out["since"] = manifest.scope.since_ns ? Json(FormatRfc3339(*manifest.scope.since_ns)) : Json(nullptr);
  out["until"] = manifest.scope.until_ns ? Json(FormatRfc3339(*manifest.scope.until_ns)) : Json(nullptr);
  out["agents"] = manifest.scope.agents ? Json(*manifest.scope.agents) : Json(nullptr);
  out["bodies"] = manifest.bodies;
  out["receipts"] = manifest.receipts;
  return out;
}

Json CheckpointJson(const VerifyReport& report) {
  Json out = {{"present", report.checkpoint_present}, {"trusted", report.checkpoint_trusted},
              {"size", report.checkpoint_size},       {"root", report.checkpoint_root},
              {"origin", report.checkpoint_origin},   {"quorum", report.quorum}};
  out["witnesses"] = Json::array();
  for (const auto& witness : report.witnesses) {
    out["witnesses"].push_back({{"name", witness.witness}, {"time", witness.unix_time}});
  }
  out["witnesses_missing"] = report.witnesses_missing;
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
  out["seconds"] = SecondsJson(agent.covered_ns);
  out["intervals"] = Json::array();
  for (const CoverageInterval& interval : agent.intervals) {
    out["intervals"].push_back({{"kind", CoverageKindName(interval.kind)},
                                {"from", FormatRfc3339(interval.from_ns)},
                                {"to", FormatRfc3339(interval.to_ns)},
                                {"seconds", Seconds(interval.to_ns - interval.from_ns)}});
  }
  out["intervals_dropped"] = agent.intervals_dropped;
  return out;
}

// Who cosigned; nothing if the policy knows no witness.
std::string WitnessText(const VerifyReport& report) {
  std::string out;
  for (const auto& witness : report.witnesses) {
    const bool sane = witness.unix_time <= UINT64_MAX / 1'000'000'000;
    out += fmt::format("  witness {}: cosigned {}\n", witness.witness,
                       sane ? FormatRfc3339(witness.unix_time * 1'000'000'000) : std::to_string(witness.unix_time));
  }
  for (const std::string& witness : report.witnesses_missing) out += fmt::format("  witness {}: missing\n", witness);
  if (!out.empty()) out += fmt::format("  quorum: {}\n", report.quorum ? "reached" : "NOT REACHED");
  return out;
}

// What is not covered, line by line.
std::string IntervalsText(const AgentCoverage& agent) {
  constexpr size_t kShown = 20;
  std::string out;
  size_t count = 0;
  for (const CoverageInterval& interval : agent.intervals) {
    if (interval.kind == CoverageKind::kCovered || ++count > kShown) continue;
    out += fmt::format("    {}: {} to {}, {} s\n", CoverageKindName(interval.kind), FormatRfc3339(interval.from_ns),
                       FormatRfc3339(interval.to_ns), Seconds(interval.to_ns - interval.from_ns));
  }
  if (count > kShown) out += fmt::format("    and {} more\n", count - kShown + agent.intervals_dropped);
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
  out["entries"] = report.entries;
  out["bodies"] = report.bodies;
  out["bodies_evicted"] = report.bodies_evicted;
  out["bodies_retired"] = report.bodies_retired;
  out["bodies_outside"] = report.bodies_outside;
  out["events"] = report.events;
  out["bundle"] = BundleJson(report);
  out["checkpoint"] = CheckpointJson(report);
  out["not_under_checkpoint"] = report.not_under_checkpoint;
  out["tiles"] = {{"checked", report.tiles}, {"missing", report.tiles_missing}};
  out["coverage"] = {{"heartbeat_seconds", Seconds(report.heartbeat_ns)}, {"seconds", SecondsJson(Totals(report))}};
  out["speed"] = {{"seconds", Seconds(report.duration_ns)},
                  {"leaves_per_second", PerSecond(report.leaves, report.duration_ns)},
                  {"events_per_second", PerSecond(report.events, report.duration_ns)}};
  out["agents"] = Json::array();
  for (const AgentCoverage& agent : report.agents) out["agents"].push_back(AgentJson(agent));
  out["never_reported"] = report.never_reported;
  out["findings"] = Json::array();
  for (const Finding& finding : report.findings) out["findings"].push_back(FindingJson(finding));
  out["findings_dropped"] = report.findings_dropped;
  return out.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string VerifyReportText(const VerifyReport& report) {
  std::string out;
  if (report.bundle) out += fmt::format("scope: {}\n", report.bundle->scope.ToString());
  out += report.summary + "\n";
  if (!report.checkpoint_present) {
    out += "checkpoint: none\n";
  } else {
    out += fmt::format("checkpoint: {} leaves, root {}, {}\n", report.checkpoint_size, report.checkpoint_root,
                       report.checkpoint_trusted ? "signed by the log key, agrees" : "NOT TRUSTED");
    out += WitnessText(report);
  }
  if (report.not_under_checkpoint > 0)
    out += fmt::format("not yet under a checkpoint: {} leaves\n", report.not_under_checkpoint);
  if (!report.bundle) {
    out += fmt::format("tiles checked: {}{}\n", report.tiles,
                       report.tiles_missing > 0 ? fmt::format(", {} missing", report.tiles_missing) : "");
  }
  out +=
      fmt::format("bodies checked: {}{}{}{}\n", report.bodies,
                  report.bodies_retired > 0 ? fmt::format(", {} deleted by rule", report.bodies_retired) : "",
                  report.bodies_evicted > 0 ? fmt::format(", {} given up by their agents", report.bodies_evicted) : "",
                  report.bodies_outside > 0 ? fmt::format(", {} outside the scope", report.bodies_outside) : "");
  if (report.entries > 0) out += fmt::format("entries of the log's own: {}\n", report.entries);
  for (const std::string& agent : report.never_reported) out += fmt::format("enrolled and never reported: {}\n", agent);
  if (report.agents.size() > 1) out += fmt::format("coverage of all agents: {}\n", SecondsText(Totals(report)));
  for (const AgentCoverage& agent : report.agents) {
    out += fmt::format("\nagent {} (tenant {}): {} batches, {} events\n", agent.agent_id, agent.tenant, agent.batches,
                       agent.events);
    for (const EpochCoverage& epoch : agent.epochs) {
      out += fmt::format("  epoch {}: batches {}-{}, {} events, {} to {}{}\n", epoch.epoch, epoch.first_seq,
                         epoch.last_seq, epoch.events, FormatRfc3339(epoch.from_wall_ns),
                         FormatRfc3339(epoch.to_wall_ns), epoch.clean_shutdown ? ", stopped in order" : "");
    }
    if (!agent.intervals.empty()) out += fmt::format("  coverage: {}\n", SecondsText(agent.covered_ns));
    out += IntervalsText(agent);
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

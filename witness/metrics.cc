// SPDX-License-Identifier: Apache-2.0
#include "witness/metrics.h"

#include <fmt/format.h>

#include <functional>

namespace nodetrail::witness {
namespace {

// Of a label: quotes and backslashes escaped. A legal origin has no newline.
std::string Label(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out;
}

}  // namespace

std::string FormatMetrics(const Witness& witness) {
  const auto logs = witness.Logs();
  std::string out;
  const auto family = [&](std::string_view name, std::string_view type, std::string_view help,
                          const std::function<uint64_t(const Witness::LogStatus&)>& value) {
    out += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
    for (const auto& log : logs) out += fmt::format("{}{{log=\"{}\"}} {}\n", name, Label(log.origin), value(log));
  };
  family("nodetrail_witness_log_size", "gauge", "Size of the latest checkpoint that was cosigned.",
         [](const auto& log) { return log.size; });
  family("nodetrail_witness_cosigned_total", "counter", "Checkpoints cosigned since start.",
         [](const auto& log) { return log.cosigned; });
  family("nodetrail_witness_cosigned_timestamp_seconds", "gauge", "When the last one was; 0: none since start.",
         [](const auto& log) { return log.cosigned_wall_s; });
  family("nodetrail_witness_forks_total", "counter", "Requests that showed two roots of a log for one size.",
         [](const auto& log) { return log.forks; });
  out +=
      "# HELP nodetrail_witness_answers_total Answers to add-checkpoint, by status; without a log: of none known.\n"
      "# TYPE nodetrail_witness_answers_total counter\n";
  for (const auto& log : logs) {
    for (const auto& [status, count] : log.answers) {
      out += fmt::format("nodetrail_witness_answers_total{{log=\"{}\",status=\"{}\"}} {}\n", Label(log.origin), status,
                         count);
    }
  }
  for (const auto& [status, count] : witness.OtherAnswers()) {
    out += fmt::format("nodetrail_witness_answers_total{{log=\"\",status=\"{}\"}} {}\n", status, count);
  }
  return out;
}

}  // namespace nodetrail::witness

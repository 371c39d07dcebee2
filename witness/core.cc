// SPDX-License-Identifier: Apache-2.0
#include "witness/core.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "nodetrail/base/guard.h"
#include "nodetrail/base/log.h"

namespace nodetrail::witness {
namespace {

constexpr uint64_t kNsPerSecond = 1'000'000'000;

Answer Refuse(int status, std::string_view why) { return {status, fmt::format("{}\n", why), false}; }

// A line without its newline; nothing if none ends.
std::optional<std::string_view> TakeLine(std::string_view* text) {
  const size_t end = text->find('\n');
  if (end == std::string_view::npos) return std::nullopt;
  const std::string_view line = text->substr(0, end);
  text->remove_prefix(end + 1);
  return line;
}

std::optional<uint64_t> ParseSize(std::string_view text) {
  if (text.empty() || (text.size() > 1 && text.front() == '0')) return std::nullopt;
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

Result<Request> ParseRequest(std::string_view body) {
  if (body.size() > kMaxRequestBytes) {
    return InvalidArgument(fmt::format("longer than {} bytes", kMaxRequestBytes));
  }
  Request out;
  constexpr std::string_view kOld = "old ";
  const auto first = TakeLine(&body);
  if (!first || !first->starts_with(kOld)) return InvalidArgument("the first line is not 'old <size>'");
  const auto old_size = ParseSize(first->substr(kOld.size()));
  if (!old_size) return InvalidArgument("the old size is not a plain decimal number");
  out.old_size = *old_size;
  for (;;) {
    const auto line = TakeLine(&body);
    if (!line) return InvalidArgument("no empty line before the checkpoint");
    if (line->empty()) break;
    if (out.proof.size() == kMaxProofLines) return InvalidArgument("more than 63 proof lines");
    const auto bytes = trail::Base64Decode(*line);
    const auto hash = bytes.ok() ? trail::HashFromBytes(*bytes) : std::nullopt;
    if (!hash) return InvalidArgument(fmt::format("proof line {} is not a hash in base64", out.proof.size() + 1));
    out.proof.push_back(*hash);
  }
  out.note = std::string(body);
  return out;
}

Decision Decide(std::span<const trail::NoteVerifier> log_keys, const Record& known, const Request& request,
                const trail::Checkpoint& checkpoint) {
  Decision out;
  if (const auto signed_note = trail::VerifyNote(request.note, log_keys); !signed_note.ok()) {
    out.answer = Refuse(403, "the checkpoint is not signed by a key that this witness knows for its log");
    return out;
  }
  if (request.old_size > checkpoint.size) {
    out.answer = Refuse(400, "the old size is above the checkpoint's");
    return out;
  }
  const auto conflict = [&] { return Answer{409, fmt::format("{}\n", known.size), true}; };
  // Two roots for one size, both signed, are the proof of a fork, whatever the
  // old size says.
  out.fork = NT_GUARD(witness_fork, checkpoint.size == known.size && checkpoint.root != known.root);
  if (request.old_size != known.size || out.fork) {
    out.answer = conflict();
    return out;
  }
  if (known.size == 0 || checkpoint.size == known.size) {
    // From nothing, or to the same: there is nothing to prove.
    if (!request.proof.empty()) {
      out.answer = Refuse(422, "the proof must be empty");
      return out;
    }
  } else if (const Status extends =
                 trail::VerifyConsistency(known.size, known.root, checkpoint.size, checkpoint.root, request.proof);
             NT_GUARD(witness_consistency, !extends.ok())) {
    out.answer = Refuse(422, "the proof does not show that the checkpoint extends the one cosigned before");
    return out;
  }
  out.cosign = true;
  out.next = {checkpoint.size, checkpoint.root, request.note};
  return out;
}

Result<std::vector<WitnessedLog>> LogsOf(std::span<const trail::NoteVerifier> keys) {
  std::vector<WitnessedLog> out;
  for (const trail::NoteVerifier& key : keys) {
    auto log = std::find_if(out.begin(), out.end(), [&](const WitnessedLog& l) { return l.origin == key.name; });
    if (log == out.end()) log = out.insert(out.end(), {key.name, {}});
    for (const trail::NoteVerifier& other : log->keys) {
      if (other.key_id == key.key_id) return InvalidArgument(fmt::format("the key {} is given twice", key.ToString()));
    }
    log->keys.push_back(key);
  }
  if (out.empty()) return InvalidArgument("no log is given");
  return out;
}

Result<std::unique_ptr<Witness>> Witness::Create(std::string name, trail::Ed25519Key key,
                                                 std::vector<WitnessedLog> logs, Store* store, const Clock* clock) {
  NT_ASSIGN_OR_RETURN(trail::CosignerVerifier verifier, trail::CosignerVerifier::Make(name, key.public_key()));
  std::unique_ptr<Witness> out(new Witness(std::move(name), std::move(key), store, clock));
  out->vkey_ = verifier.ToString();
  for (WitnessedLog& log : logs) {
    auto entry = std::make_unique<Log>();
    entry->keys = std::move(log.keys);
    NT_ASSIGN_OR_RETURN(entry->record, store->Load(log.origin));
    entry->status.origin = log.origin;
    entry->status.size = entry->record.size;
    out->logs_.emplace(log.origin, std::move(entry));
  }
  return out;
}

Answer Witness::Count(Answer answer) {
  const std::lock_guard lock(mutex_);
  ++other_[answer.status];
  return answer;
}

Answer Witness::AddCheckpoint(std::string_view body) {
  const auto request = ParseRequest(body);
  if (!request.ok()) return Count(Refuse(400, request.status().message()));
  const auto note = trail::ParseNote(request->note);
  if (!note.ok()) return Count(Refuse(400, note.status().message()));
  const auto checkpoint = trail::ParseCheckpointBody(note->text);
  if (!checkpoint.ok()) return Count(Refuse(400, checkpoint.status().message()));
  const auto found = logs_.find(checkpoint->origin);
  if (found == logs_.end()) return Count(Refuse(404, "this witness does not know the log"));
  Log& log = *found->second;

  // Between the look at the record and its replacement no other request may
  // come: else the later of two could put the record back.
  const std::lock_guard lock(log.mutex);
  Decision decision = Decide(log.keys, log.record, *request, *checkpoint);
  Answer answer = std::move(decision.answer);
  if (decision.fork) {
    if (log.status.forks++ == 0) {
      log::Error(fmt::format("{} signed two roots for size {}: the log has forked; both checkpoints are kept",
                             checkpoint->origin, checkpoint->size));
    }
    store_->KeepFork(checkpoint->origin, log.record, {checkpoint->size, checkpoint->root, request->note});
  }
  if (decision.cosign) {
    const Status saved = store_->Save(checkpoint->origin, decision.next);
    const uint64_t now = clock_->WallNs() / kNsPerSecond;
    const auto line = trail::CosignCheckpoint(request->note, name_, key_, now);
    NT_CHECK(line.ok());  // name and checkpoint were checked
    if (saved.ok()) {
      log.record = std::move(decision.next);
      log.status.size = log.record.size;
      log.status.cosigned_wall_s = now;
      ++log.status.cosigned;
      answer = {200, *line, false};
    } else {
      log::Error(fmt::format("{}: {}; nothing is cosigned", checkpoint->origin, saved.message()));
      answer = Refuse(500, "the witness can't save its record");
    }
  }
  ++log.status.answers[answer.status];
  return answer;
}

std::vector<Witness::LogStatus> Witness::Logs() const {
  std::vector<LogStatus> out;
  for (const auto& [origin, log] : logs_) {
    const std::lock_guard lock(log->mutex);
    out.push_back(log->status);
  }
  return out;
}

std::map<int, uint64_t> Witness::OtherAnswers() const {
  const std::lock_guard lock(mutex_);
  return other_;
}

}  // namespace nodetrail::witness

// SPDX-License-Identifier: Apache-2.0
#include "cli/proof.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "nodetrail/base/fd.h"
#include "nodetrail/event/v1/event.pb.h"
#include "nodetrail/trail/body.h"

namespace nodetrail::cli {
namespace {

using State = ProofStep::State;

// Audit paths as they came; nothing if a hash has another length.
std::optional<std::vector<trail::Hash>> Hashes(const google::protobuf::RepeatedPtrField<std::string>& list) {
  std::vector<trail::Hash> out;
  for (const auto& bytes : list) {
    const auto hash = trail::HashFromBytes(bytes);
    if (!hash) return std::nullopt;
    out.push_back(*hash);
  }
  return out;
}

ProofStep CheckHeader(const trail::ParsedLeaf& leaf, const query::v1::EventRow& row, const event::v1::Event& event) {
  const auto& header = leaf.header;
  ProofStep out{"header", State::kBad, {}};
  if (!trail::VerifyLeafSignature(leaf)) {
    out.detail = "the batch header's signature is wrong";
  } else if (header.agent_id() != row.agent_id() || header.tenant() != row.tenant() || header.epoch() != row.epoch() ||
             header.seq() != row.batch_seq()) {
    out.detail = "the signed header names another agent, epoch or batch than the row";
  } else if (event.seq() < header.first_event_seq() || event.seq() > header.last_event_seq()) {
    out.detail = "the event's number is outside of what the header covers";
  } else {
    out.state = State::kOk;
    out.detail = fmt::format("batch {}:{}:{} is signed by ratchet key {}", header.agent_id(), header.epoch(),
                             header.seq(), trail::HexEncode(header.signer_key()).substr(0, 16));
  }
  return out;
}

ProofStep CheckRecord(const query::v1::GetResponse& response, const trail::ParsedLeaf& leaf) {
  ProofStep out{"record", State::kBad, {}};
  const auto path = Hashes(response.record_path());
  const auto root = trail::HashFromBytes(leaf.header.events_root());
  if (!path || !root) {
    out.detail = "the audit path is malformed";
    return out;
  }
  const trail::RecordProof proof{response.record_index(), response.record_count(), *path};
  const Status status = trail::VerifyRecord(response.row().event(), proof, *root);
  out.state = status.ok() ? State::kOk : State::kBad;
  out.detail = status.ok() ? fmt::format("record {} of {} is under the header's events_root", proof.index, proof.size)
                           : std::string(status.message());
  return out;
}

}  // namespace

std::string_view StateName(State state) {
  switch (state) {
    case State::kOk: return "ok";
    case State::kPending: return "pending";
    case State::kUnknown: return "unknown";
    case State::kBad: return "bad";
  }
  return "unknown";
}

std::string Proof::Status() const {
  const auto any = [this](State state) {
    return std::any_of(steps.begin(), steps.end(), [state](const ProofStep& step) { return step.state == state; });
  };
  if (steps.empty() || any(State::kBad)) return "broken";
  if (any(State::kUnknown)) return "unverified";
  return any(State::kPending) ? "pending" : "verified";
}

Proof CheckProof(const query::v1::GetResponse& response, const std::optional<trail::NoteVerifier>& log_key) {
  Proof out;
  event::v1::Event event;
  const auto leaf = trail::ParseLeaf(response.leaf());
  if (!leaf.ok() || !event.ParseFromString(response.row().event())) {
    out.steps.push_back(
        {"header", State::kBad, leaf.ok() ? "the event does not parse" : std::string(leaf.status().message())});
    return out;
  }
  out.steps.push_back(CheckRecord(response, *leaf));
  out.steps.push_back(CheckHeader(*leaf, response.row(), event));

  ProofStep log{"log", State::kPending, "not under a checkpoint yet; ask again in a second"};
  ProofStep note{"checkpoint", State::kPending, "none covers the batch yet"};
  if (!response.checkpoint().empty() && response.row().log_index() < response.tree_size()) {
    note.state = State::kUnknown;
    note.detail = "no verifier key of the log is known: set log_public_key";
    const auto parsed = trail::ParseNote(response.checkpoint());
    auto checkpoint =
        parsed.ok() ? trail::ParseCheckpointBody(parsed->text) : Result<trail::Checkpoint>(parsed.status());
    if (log_key) {
      checkpoint = trail::VerifyCheckpoint(response.checkpoint(), *log_key);
      note.state = checkpoint.ok() ? State::kOk : State::kBad;
      note.detail = checkpoint.ok() ? fmt::format("{} leaves, root {}, signed by {}", checkpoint->size,
                                                  trail::Hex(checkpoint->root).substr(0, 16), log_key->name)
                                    : std::string(checkpoint.status().message());
    }
    log.state = State::kBad;
    const auto path = Hashes(response.log_path());
    if (!checkpoint.ok()) {
      log.detail = fmt::format("no checkpoint to hold it against: {}", checkpoint.status().message());
    } else if (checkpoint->size != response.tree_size() || !path) {
      log.detail = "the audit path is malformed";
    } else {
      const Status status = trail::VerifyInclusion(trail::LeafHash(response.leaf()), response.row().log_index(),
                                                   checkpoint->size, *path, checkpoint->root);
      log.state = status.ok() ? State::kOk : State::kBad;
      log.detail = status.ok()
                       ? fmt::format("leaf {} is in the log of {} leaves", response.row().log_index(), checkpoint->size)
                       : std::string(status.message());
    }
  }
  out.steps.push_back(std::move(log));
  out.steps.push_back(std::move(note));
  return out;
}

Result<std::optional<trail::NoteVerifier>> LoadLogKey(const std::string& value, const std::string& config_path) {
  if (value.empty()) return std::optional<trail::NoteVerifier>();
  std::string text = value;
  auto key = trail::NoteVerifier::Parse(value);
  if (!key.ok()) {
    std::string path = value;
    if (path.front() != '/' && config_path.find('/') != std::string::npos) {
      path = config_path.substr(0, config_path.rfind('/') + 1) + path;
    }
    NT_ASSIGN_OR_RETURN(text, ReadFile(path, 4096));
    while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
    key = trail::NoteVerifier::Parse(text);
    if (!key.ok()) return InvalidArgument(fmt::format("log_public_key: {}: {}", path, key.status().message()));
  }
  return std::optional<trail::NoteVerifier>(*std::move(key));
}

}  // namespace nodetrail::cli

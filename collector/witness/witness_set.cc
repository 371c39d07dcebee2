// SPDX-License-Identifier: Apache-2.0
#include "collector/witness/witness_set.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "collector/witness/protocol.h"
#include "nodetrail/base/fd.h"
#include "nodetrail/base/guard.h"
#include "nodetrail/base/log.h"

namespace nodetrail::collector {
namespace {

constexpr uint64_t kSecondNs = 1'000'000'000;
constexpr uint64_t kMaxBackoffNs = 30 * kSecondNs;
// What a witness is asked in one round: at worst for its size, then with the
// proof from there, once more if somebody else was faster.
constexpr unsigned kMaxTries = 4;
constexpr size_t kShownBytes = 120;

// An answer's text in an error: one bounded, printable line.
std::string Shown(std::string_view body) {
  std::string out;
  for (const char c : body.substr(0, kShownBytes)) {
    if (c == '\n') break;
    out += c >= 0x20 && c < 0x7f ? c : '?';
  }
  return out;
}

std::string Join(std::string url, std::string_view path) {
  while (!url.empty() && url.back() == '/') url.pop_back();
  return url + std::string(path);
}

}  // namespace

Result<std::unique_ptr<WitnessSet>> WitnessSet::Open(Options options, std::vector<WitnessPeer> peers,
                                                     std::unique_ptr<HttpPoster> poster) {
  std::unique_ptr<WitnessSet> out(new WitnessSet(std::move(options), std::move(poster)));
  auto book = LoadWitnessBook(out->options_.book_path);
  if (!book.ok()) {
    return Status(book.status().code(),
                  fmt::format("{}; it says what each witness cosigned, so that one that was rolled back is found: "
                              "restore it, or delete it if you know why it changed",
                              book.status().message()));
  }
  out->book_ = *std::move(book);
  for (WitnessPeer& config : peers) {
    Peer peer;
    peer.vkey = config.key.ToString();
    WitnessStatus status;
    status.name = config.name;
    status.url = config.url;
    if (const auto known = out->book_.find(peer.vkey); known != out->book_.end()) {
      status.size = known->second.size;
      status.cosigned_wall_s = known->second.unix_time;
      status.rollbacks = known->second.rollbacks;
    }
    peer.config = std::move(config);
    out->peers_.push_back(std::move(peer));
    out->status_.push_back(std::move(status));
  }
  return out;
}

Cosigner::Outcome WitnessSet::Cosign(const Request& request) {
  const std::string text = request.note.substr(0, request.note.find("\n\n") + 1);
  if (text != text_) {
    text_ = text;
    for (Peer& peer : peers_) {
      const auto known = FindCosignature(request.lines, text, peer.config.key);
      peer.line = known.ok() ? known->line : std::string();
    }
  }
  const uint64_t now = options_.clock->BootNs();
  for (size_t i = 0; i < peers_.size(); ++i) {
    Peer& peer = peers_[i];
    peer.open = false;
    peer.tries = 0;
    if ((!peer.line.empty() && peer.heard) || now < peer.next_try_boot_ns) continue;
    const auto known = book_.find(peer.vkey);
    // Where it should be. If it is elsewhere it says so.
    Ask(i, known == book_.end() ? 0 : std::min(known->second.size, request.checkpoint.size), request);
  }

  Outcome out;
  const auto deadline = HttpPoster::TimePoint::clock::now() + options_.timeout;
  const auto open = [&] { return std::any_of(peers_.begin(), peers_.end(), [](const Peer& p) { return p.open; }); };
  while (open()) {
    const auto reply = poster_->Next(deadline);
    if (!reply) break;
    if (reply->id >= peers_.size() || !peers_[reply->id].open) continue;
    peers_[reply->id].open = false;
    Status conflict = Take(reply->id, *reply, request);
    // Goes on: what others say is worth knowing.
    if (!conflict.ok() && out.conflict.ok()) out.conflict = std::move(conflict);
  }
  for (size_t i = 0; i < peers_.size(); ++i) {
    if (!peers_[i].open) continue;
    peers_[i].open = false;
    Fail(i, fmt::format("no answer within {} ms", options_.timeout.count()));
  }
  poster_->Cancel();
  if (book_changed_) Save();

  out.complete = true;
  const std::lock_guard lock(mutex_);
  for (size_t i = 0; i < peers_.size(); ++i) {
    out.lines += peers_[i].line;
    status_[i].current = !peers_[i].line.empty();
    out.complete = out.complete && status_[i].current && peers_[i].heard;
  }
  return out;
}

void WitnessSet::Ask(size_t i, uint64_t old_size, const Request& request) {
  Peer& peer = peers_[i];
  if (++peer.tries > kMaxTries) {
    Fail(i, "it says another size each time");
    return;
  }
  std::vector<trail::Hash> proof;
  if (old_size != 0 && old_size != request.checkpoint.size) {
    auto made = request.proof(old_size);
    if (!made.ok()) {
      Fail(i, fmt::format("no proof from size {}: {}", old_size, made.status().message()));
      return;
    }
    proof = *std::move(made);
  }
  peer.old_size = old_size;
  peer.open = true;
  poster_->Start(i, Join(peer.config.url, "/add-checkpoint"), FormatAddCheckpoint(old_size, proof, request.note));
}

Status WitnessSet::Take(size_t i, const HttpReply& reply, const Request& request) {
  Peer& peer = peers_[i];
  if (!reply.transport.ok()) {
    Fail(i, std::string(reply.transport.message()));
    return OkStatus();
  }
  switch (reply.status) {
    case 200: {
      const auto cosignature = FindCosignature(reply.body, text_, peer.config.key);
      if (!cosignature.ok()) {
        Fail(i, std::string(cosignature.status().message()));
        return OkStatus();
      }
      peer.line = cosignature->line;
      peer.failures_in_row = 0;
      peer.heard = true;
      peer.behind = false;
      peer.next_try_boot_ns = 0;
      WitnessEntry& entry = book_[peer.vkey];
      entry.size = std::max(entry.size, request.checkpoint.size);
      entry.unix_time = cosignature->time;
      book_changed_ = true;
      const std::lock_guard lock(mutex_);
      status_[i].size = entry.size;
      status_[i].cosigned_wall_s = entry.unix_time;
      if (!peer.rolled_back_now) status_[i].problem.clear();
      return OkStatus();
    }
    case 409: {
      const auto size = ParseSizeBody(reply.body);
      if (size) return TakeSize(i, *size, request);
      Fail(i, "answers 409 without a size");
      return OkStatus();
    }
    case 422:
      // It accepted the old size, so it has another root there.
      return DataLoss(fmt::format(
          "witness {} ({}) has cosigned another history of this log: what it has at size {} is not in the trail. "
          "Somebody else signed with the log's key, or the trail was altered; run nodetrail verify and compare the "
          "checkpoints. If it is the witness that is wrong, take it out of witness.policy_file",
          peer.config.name, peer.config.url, peer.old_size));
    case 403:
    case 404:
      Fail(i, fmt::format("it does not know this log (HTTP {}): add the log's verifier key, log/log.vkey, to its "
                          "configuration",
                          reply.status));
      return OkStatus();
    default: Fail(i, fmt::format("HTTP {} {}", reply.status, Shown(reply.body))); return OkStatus();
  }
}

Status WitnessSet::TakeSize(size_t i, uint64_t size, const Request& request) {
  Peer& peer = peers_[i];
  if (NT_GUARD(witness_knows_more, size > request.leaves)) {
    return DataLoss(fmt::format(
        "witness {} ({}) has cosigned this log at size {}, but the trail has {} leaves: it is an old copy, or leaves "
        "were removed. Put the newest copy of the trail in place. If it is lost, keep this one for the auditors and "
        "begin a new log (trail_dir, log_key_file and log_origin); if it is the witness that is wrong, take it out of "
        "witness.policy_file",
        peer.config.name, peer.config.url, size, request.leaves));
  }
  if (size == request.checkpoint.size && peer.old_size == size) {
    return DataLoss(fmt::format(
        "witness {} ({}) has cosigned another root of this log at size {}: somebody else signed with the log's key, or "
        "the trail was altered; run nodetrail verify and compare the checkpoints. If it is the witness that is wrong, "
        "take it out of witness.policy_file",
        peer.config.name, peer.config.url, size));
  }
  const auto known = book_.find(peer.vkey);
  const bool less = known != book_.end() && size < known->second.size && !peer.behind;
  if (NT_GUARD(witness_rolled_back, less)) {
    peer.rolled_back_now = true;
    peer.behind = true;
    ++known->second.rollbacks;
    book_changed_ = true;
    const std::string what =
        fmt::format("rolled back: it knows size {}, and cosigned {} before; it may cosign a fork, ask who runs it",
                    size, known->second.size);
    log::Error(fmt::format("witness {} ({}): {}", peer.config.name, peer.config.url, what));
    const std::lock_guard lock(mutex_);
    status_[i].rollbacks = known->second.rollbacks;
    status_[i].problem = what;
  }
  if (size > request.checkpoint.size) {
    // Its cosignature of a checkpoint that we did not get to publish. The
    // leaves are here; the next checkpoint covers them.
    return OkStatus();
  }
  if (size == peer.old_size) {
    Fail(i, fmt::format("refuses size {} and says that it is there", size));
    return OkStatus();
  }
  Ask(i, size, request);
  return OkStatus();
}

void WitnessSet::Fail(size_t i, std::string why) {
  Peer& peer = peers_[i];
  ++peer.failures_in_row;
  // The next checkpoint after a first failure; then 1, 2, 4 … 30 s.
  const uint64_t doublings = std::min<uint64_t>(peer.failures_in_row - 1, 6);
  const uint64_t wait = doublings == 0 ? 0 : std::min(kMaxBackoffNs, kSecondNs << (doublings - 1));
  peer.next_try_boot_ns = options_.clock->BootNs() + wait;
  const std::lock_guard lock(mutex_);
  ++status_[i].failures;
  if (peer.rolled_back_now) return;
  if (status_[i].problem != why) log::Warn(fmt::format("witness {} ({}): {}", peer.config.name, peer.config.url, why));
  status_[i].problem = std::move(why);
}

void WitnessSet::Save() {
  const Status saved = WriteFileAtomically(options_.book_path, FormatWitnessBook(book_), 0644);
  if (saved.ok()) book_changed_ = false;
  else log::Error(fmt::format("what witnesses cosigned can't be kept: {}", saved.message()));
}

std::vector<WitnessStatus> WitnessSet::GetStatus() const {
  const std::lock_guard lock(mutex_);
  return status_;
}

}  // namespace nodetrail::collector

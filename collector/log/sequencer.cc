// SPDX-License-Identifier: Apache-2.0
#include "collector/log/sequencer.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>
#include <vector>

#include "nodetrail/base/fd.h"
#include "nodetrail/base/guard.h"
#include "nodetrail/base/log.h"
#include "nodetrail/trail/log_entry.h"

namespace nodetrail::collector {
namespace {

constexpr size_t kMaxKeyFileBytes = 64 * 1024;
constexpr std::string_view kSecretPayloadType = "application/vnd.nodetrail.log-secret.v1";
// At start tiles are published in portions of this size.
constexpr size_t kTilePortionBytes = 8U << 20;

// A published note: as the log signed it, and the signature lines of others.
void SplitNote(const std::string& note, const LogSigner& signer, std::string* base, std::string* others) {
  const size_t text = note.rfind("\n\n") + 2;
  *base = note.substr(0, text);
  others->clear();
  const auto signatures = trail::ParseNoteSignatures(std::string_view(note).substr(text));
  if (!signatures.ok()) return;
  size_t at = text;
  for (const trail::NoteSignature& signature : *signatures) {
    const size_t end = note.find('\n', at) + 1;
    (signer.Ours(signature) ? base : others)->append(note, at, end - at);
    at = end;
  }
}

}  // namespace

Result<LogSigner> LogSigner::Load(const std::string& key_file, const std::string& origin) {
  struct stat st {};
  if (stat(key_file.c_str(), &st) != 0) return ErrnoStatus(errno, fmt::format("log key: stat {}", key_file));
  if ((st.st_mode & 077) != 0) {
    return PermissionDenied(fmt::format("log key: {}: readable by others (mode {:04o}); chmod 0600 {}", key_file,
                                        st.st_mode & 07777, key_file));
  }
  auto pem = ReadFile(key_file, kMaxKeyFileBytes);
  if (!pem.ok()) return Annotate(pem.status(), "log key");
  auto key = trail::Ed25519Key::FromPem(*pem);
  trail::SecureErase(pem->data(), pem->size());
  if (!key.ok()) {
    return InvalidArgument(fmt::format("log key: {}: {}; make one with openssl genpkey -algorithm ed25519", key_file,
                                       key.status().message()));
  }
  auto verifier = trail::NoteVerifier::Make(origin, key->public_key());
  if (!verifier.ok()) return Annotate(verifier.status(), "log_origin");
  return LogSigner{origin, std::move(*key), std::move(*verifier), std::nullopt};
}

Status LogSigner::LoadNext(const std::string& key_file) {
  auto loaded = Load(key_file, origin);
  if (!loaded.ok()) return Annotate(loaded.status(), "log_key_next_file");
  if (loaded->verifier.key == verifier.key) {
    return InvalidArgument(
        fmt::format("log_key_next_file: {}: it is the key of log_key_file; make a new one", key_file));
  }
  next = Successor{std::move(loaded->key), std::move(loaded->verifier)};
  return OkStatus();
}

Result<std::string> LogSigner::Sign(const trail::Checkpoint& checkpoint) const {
  auto note = trail::SignCheckpoint(checkpoint, key);
  if (!note.ok() || !next) return note;
  return trail::CosignNote(*note, origin, next->key);
}

bool LogSigner::Ours(const trail::NoteSignature& signature) const {
  return signature.name == origin &&
         (signature.key_id == verifier.key_id || (next && signature.key_id == next->verifier.key_id));
}

Result<std::unique_ptr<Sequencer>> Sequencer::Open(Options options, LogSigner signer) {
  std::unique_ptr<Sequencer> out(new Sequencer(std::move(options), std::move(signer)));
  const std::string& dir = out->options_.trail_dir;
  NT_RETURN_IF_ERROR(out->CheckVkey());
  NT_ASSIGN_OR_RETURN(out->reader_, trail::TrailReader::Open(dir));
  auto note = out->reader_->Checkpoint();
  if (!note.ok()) {
    if (note.status().code() != Code::kNotFound) return note.status();
    NT_RETURN_IF_ERROR(out->AnnounceKeys());
    return out;
  }
  auto checkpoint = trail::VerifyCheckpoint(*note, out->signer_.verifier);
  if (!checkpoint.ok()) {
    return DataLoss(
        fmt::format("{}/log/checkpoint is not signed by this log's key: {}; it was altered, or the key "
                    "was; run nodetrail verify",
                    dir, checkpoint.status().message()));
  }
  out->published_ = *note;
  SplitNote(*note, out->signer_, &out->base_, &out->lines_);
  out->unsigned_ = out->signer_.next && !trail::VerifyNote(*note, {&out->signer_.next->verifier, 1}).ok();
  out->signed_size_ = checkpoint->size;
  out->signed_root_ = checkpoint->root;
  out->head_.size = checkpoint->size;
  out->head_.root = checkpoint->root;
  out->head_.note = *note;
  NT_RETURN_IF_ERROR(out->AnnounceKeys());
  return out;
}

// Who begins a trail leaves his key in it. Another one may go on only if it was
// announced as the successor, and has signed beside the old one since.
Status Sequencer::CheckVkey() {
  const std::string path = options_.trail_dir + "/log/log.vkey";
  const std::string vkey = signer_.verifier.ToString() + "\n";
  const auto known = ReadFile(path, kMaxKeyFileBytes);
  if (!known.ok()) return known.status().code() == Code::kNotFound ? OkStatus() : known.status();
  if (*known == vkey) return OkStatus();
  const auto successor = ReadFile(options_.trail_dir + "/log/log-next.vkey", kMaxKeyFileBytes);
  if (successor.ok() && *successor == vkey) return OkStatus();
  return FailedPrecondition(
      fmt::format("{}: this trail was begun with another log key or origin; configure "
                  "log_key_file and log_origin as before",
                  path));
}

// After the last checkpoint was found to be signed by our key.
Status Sequencer::AnnounceKeys() {
  const auto put = [](const std::string& path, const std::string& text) -> Status {
    const auto there = ReadFile(path, kMaxKeyFileBytes);
    return there.ok() && *there == text ? OkStatus() : WriteFileAtomically(path, text, 0644);
  };
  const std::string log = options_.trail_dir + "/log";
  NT_RETURN_IF_ERROR(put(log + "/log.vkey", signer_.verifier.ToString() + "\n"));
  if (signer_.next) return put(log + "/log-next.vkey", signer_.next->verifier.ToString() + "\n");
  if (::unlink((log + "/log-next.vkey").c_str()) == 0) return FsyncDirectory(log);
  return errno == ENOENT ? OkStatus() : ErrnoStatus(errno, fmt::format("unlink {}/log-next.vkey", log));
}

Sequencer::~Sequencer() { Stop(); }

Status Sequencer::Replay(std::string_view leaf) {
  range_.Append(trail::LeafHash(leaf));
  if (range_.size() == signed_size_ && range_.Root() != signed_root_) {
    return DataLoss(
        fmt::format("{}: the first {} leaves do not have the root that was signed: the log was altered; "
                    "run nodetrail verify",
                    options_.trail_dir, signed_size_));
  }
  return OkStatus();
}

Status Sequencer::ReplayDone() const {
  if (!NT_GUARD(sequencer_size, range_.size() < signed_size_)) return OkStatus();
  return DataLoss(
      fmt::format("{}: the log has {} leaves, a checkpoint for {} was signed: leaves were removed, or an old "
                  "backup restored; run nodetrail verify",
                  options_.trail_dir, range_.size(), signed_size_));
}

Status Sequencer::AskWitnesses() {
  if (options_.cosigner == nullptr) return OkStatus();
  trail::Checkpoint checkpoint{signer_.origin, signed_size_, signed_root_, {}};
  if (published_.empty()) {
    // Nothing is known here. The empty tree is the beginning of every log, so
    // that its signature says nothing; a witness answers it with where it is.
    checkpoint = {signer_.origin, 0, trail::EmptyRoot(), {}};
    NT_ASSIGN_OR_RETURN(base_, signer_.Sign(checkpoint));
  }
  return Cosign(checkpoint).conflict;
}

void Sequencer::StartStepping() { accepted_from_ = range_.size(); }

void Sequencer::Start() {
  StartStepping();
  thread_ = std::jthread([this] { Run(); });
}

void Sequencer::Stop() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
    cv_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

void Sequencer::Appended(uint64_t first, std::span<const trail::Hash> leaf_hashes) {
  const std::lock_guard lock(mutex_);
  if (refused_) return;
  NT_CHECK(first == accepted_from_ + accepted_.size());
  accepted_.insert(accepted_.end(), leaf_hashes.begin(), leaf_hashes.end());
}

Result<std::string> Sequencer::SignEntry(const trail::v1::LogEntry& entry) const {
  return trail::MakeLogEntry(entry, signer_.key);
}

// An Ed25519 signature is determined by key and message, and the log signs
// nothing of this type for anybody.
trail::Hash Sequencer::SecretFor(std::string_view purpose) const {
  return trail::Sha256Of(trail::View(signer_.key.Sign(trail::Pae(kSecretPayloadType, purpose))));
}

Sequencer::Head Sequencer::GetHead() const {
  const std::lock_guard lock(mutex_);
  return head_;
}

void Sequencer::Run() {
  for (bool last = false; !last;) {
    {
      const std::lock_guard lock(mutex_);
      last = stop_;
    }
    // The first round is at once: a log without a checkpoint gets one.
    if (!Step()) return;
    std::unique_lock lock(mutex_);
    if (!last) cv_.wait_for(lock, options_.interval, [this] { return stop_; });
  }
}

bool Sequencer::Step() {
  uint64_t size = 0;
  {
    const std::lock_guard lock(mutex_);
    if (refused_) return false;
    size = accepted_from_ + accepted_.size();
  }
  Status status = CatchUpTiles();
  if (status.ok()) status = Integrate(size);
  if (status.ok()) status = SignAndPublish();
  if (!status.ok()) SetProblem(status);
  const std::lock_guard lock(mutex_);
  // What could not be done is done by now, even if that needed no new checkpoint.
  if (status.ok()) head_.problem.clear();
  return !refused_;
}

// Once after start: the tiles of the leaves that were replayed. Those that are
// missing, because of a crash or because the trail was written without tiles,
// are published.
Status Sequencer::CatchUpTiles() {
  if (tiles_.size() >= range_.size()) return OkStatus();
  Status failed;
  NT_RETURN_IF_ERROR(reader_->ForEach(tiles_.size(), [&](const trail::LeafLocation&, std::string_view leaf) {
    const trail::Hash hash = trail::LeafHash(leaf);
    tiles_.Append(leaf, hash);
    tiles_range_.Append(hash);
    if (tiles_.waiting_bytes() >= kTilePortionBytes) failed = PublishTiles(&TilePublisher::PublishFull);
    return failed.ok() && tiles_.size() < range_.size();
  }));
  NT_RETURN_IF_ERROR(failed);
  if (tiles_.size() == range_.size() && tiles_range_.Root() == range_.Root()) return OkStatus();
  return Refuse(
      DataLoss("the log reads back otherwise than at start; no checkpoint is signed any more; run nodetrail verify"));
}

Status Sequencer::PublishTiles(Status (TilePublisher::*publish)()) {
  const Status status = (tiles_.*publish)();
  if (status.code() != Code::kDataLoss) return status;
  return Refuse(DataLoss(fmt::format("{}; no checkpoint is signed any more", status.message())));
}

// For good; returns `why`.
Status Sequencer::Refuse(Status why) {
  const std::lock_guard lock(mutex_);
  refused_ = true;
  accepted_.clear();
  return why;
}

// Reads leaves [range_.size(), size) back and adds them.
Status Sequencer::Integrate(uint64_t size) {
  if (range_.size() >= size) return OkStatus();
  Status wrong;
  const Status read = reader_->ForEach(range_.size(), [&](const trail::LeafLocation& where, std::string_view leaf) {
    const trail::Hash hash = trail::LeafHash(leaf);
    const std::lock_guard lock(mutex_);
    if (NT_GUARD(sequencer_read_back, where.index != accepted_from_ || hash != accepted_.front())) {
      refused_ = true;
      accepted_.clear();
      wrong =
          DataLoss(fmt::format("{}: leaf {} at offset {} is not what was accepted: the disk or memory changed it; no "
                               "checkpoint is signed any more; run nodetrail verify",
                               where.file, where.index, where.offset));
      return false;
    }
    range_.Append(hash);
    tiles_.Append(leaf, hash);
    accepted_.pop_front();
    ++accepted_from_;
    return accepted_from_ < size;
  });
  if (!wrong.ok()) return wrong;
  NT_RETURN_IF_ERROR(read);
  if (range_.size() < size) {
    return DataLoss(fmt::format("the log reads back {} leaves, {} were made durable", range_.size(), size));
  }
  return OkStatus();
}

Status Sequencer::SignAndPublish() {
  NT_CHECK(range_.size() >= signed_size_);
  NT_RETURN_IF_ERROR(PublishTiles(&TilePublisher::Publish));
  const bool grown = range_.size() != signed_size_ || published_.empty() || unsigned_;
  // A cosignature that came later, and whose publication failed, is written again.
  const bool written = published_ == base_ + lines_;
  if (!grown && written && (cosigned_ || options_.cosigner == nullptr)) {
    tiles_.Prune();
    Announce();
    return OkStatus();
  }
  const trail::Checkpoint checkpoint{signer_.origin, range_.size(), range_.Root(), {}};
  if (grown) {
    NT_ASSIGN_OR_RETURN(base_, signer_.Sign(checkpoint));
    if (!unsigned_ || range_.size() != signed_size_) lines_.clear();
  }
  if (options_.cosigner != nullptr) {
    const Cosigner::Outcome outcome = Cosign(checkpoint);
    if (!outcome.conflict.ok()) {
      return Refuse(DataLoss(fmt::format("{}. No checkpoint is signed any more", outcome.conflict.message())));
    }
    cosigned_ = outcome.complete;
  }
  std::string note = base_ + lines_;
  if (note == published_) {
    Announce();
    return OkStatus();
  }
  NT_RETURN_IF_ERROR(WriteFileAtomically(options_.trail_dir + "/log/checkpoint", note, 0644));
  tiles_.Prune();
  published_ = std::move(note);
  signed_size_ = checkpoint.size;
  signed_root_ = checkpoint.root;
  unsigned_ = false;
  {
    const std::lock_guard lock(mutex_);
    head_.size = checkpoint.size;
    head_.root = checkpoint.root;
    head_.problem.clear();
    head_.note = published_;
    if (grown && options_.cosigner != nullptr && !cosigned_) ++head_.uncosigned;
  }
  announced_ = false;
  Announce();
  return OkStatus();
}

void Sequencer::Announce() {
  if (std::exchange(announced_, true) || !options_.on_published) return;
  options_.on_published({signer_.origin, signed_size_, signed_root_, {}}, published_);
}

// Of the checkpoint in base_.
Cosigner::Outcome Sequencer::Cosign(const trail::Checkpoint& checkpoint) {
  Cosigner::Request request;
  request.checkpoint = checkpoint;
  request.note = base_;
  request.lines = lines_;
  request.leaves = range_.size();
  request.proof = [&](uint64_t old_size) { return ProofFrom(old_size, checkpoint); };
  Cosigner::Outcome outcome = options_.cosigner->Cosign(request);
  lines_ = outcome.lines;
  return outcome;
}

// From the tiles on the disk, which are published before. It is checked against
// the root that was computed from the leaves, so that a wrong tile gives no
// proof, not a wrong one.
Result<std::vector<trail::Hash>> Sequencer::ProofFrom(uint64_t old_size, const trail::Checkpoint& checkpoint) {
  const trail::TileReader read = [&](const trail::TileId& id) -> Result<std::string> {
    // A partial tile goes once a wider one is there; it is the beginning of that.
    for (const unsigned width : {id.width, trail::TileWidthAt(id.level, id.index, checkpoint.size),
                                 static_cast<unsigned>(trail::kTileWidth)}) {
      if (width < id.width) continue;
      trail::TileId wider = id;
      wider.width = width;
      auto bytes = reader_->Tile(trail::TilePath(wider));
      if (!bytes.ok() && bytes.status().code() == Code::kNotFound) continue;
      if (bytes.ok()) bytes->resize(std::min<size_t>(bytes->size(), id.width * sizeof(trail::Hash)));
      return bytes;
    }
    return NotFound(fmt::format("no tile {}", trail::TilePath(id)));
  };
  NT_ASSIGN_OR_RETURN(const trail::Hash old_root, trail::TileRoot(old_size, read));
  return trail::TileConsistencyProof(old_size, old_root, checkpoint.size, checkpoint.root, read);
}

// Logged when it changes; tried again at the next interval unless refused.
void Sequencer::SetProblem(const Status& status) {
  std::string text = fmt::format("checkpoint: {}", status.message());
  {
    const std::lock_guard lock(mutex_);
    if (head_.problem == text) return;
    head_.problem = text;
  }
  log::Error(text);
}

}  // namespace nodetrail::collector

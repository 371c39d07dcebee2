// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <system_error>
#include <utility>

#include "nodetrail/base/fd.h"
#include "nodetrail/trail/body.h"
#include "nodetrail/trail/bundle.h"
#include "nodetrail/trail/chain.h"
#include "nodetrail/trail/log_entry.h"
#include "nodetrail/trail/merkle.h"
#include "nodetrail/trail/receipt.h"
#include "nodetrail/trail/trail_store.h"
#include "trail/rfc3339.h"
#include "trail/segment_format.h"

namespace nodetrail::trail {
namespace {

constexpr uint64_t kProgressEvery = 1024;
constexpr mode_t kDirMode = 0750;
constexpr mode_t kFileMode = 0640;

Status MakeDirectory(const std::string& path) {
  if (::mkdir(path.c_str(), kDirMode) == 0) return OkStatus();
  return ErrnoStatus(errno, fmt::format("mkdir {}", path));
}

// Durability comes at the end, for all files at once.
Status WriteNew(const std::string& path, std::string_view bytes) {
  NT_ASSIGN_OR_RETURN(const UniqueFd fd, OpenFd(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, kFileMode));
  return WriteAll(fd.get(), bytes, path);
}

bool Exists(const std::string& path) {
  struct stat st {};
  return ::lstat(path.c_str(), &st) == 0;
}

std::string WithoutSlash(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

// The directory while it is not whole: goes away unless it is kept.
class Draft {
 public:
  static Result<Draft> Make(const std::string& final_path) {
    Draft draft;
    draft.final_ = WithoutSlash(final_path);
    draft.path_ = draft.final_ + ".tmp";
    if (Exists(draft.final_)) {
      return AlreadyExists(fmt::format("export: {} exists; give the name of a directory that does not", draft.final_));
    }
    if (Exists(draft.path_)) {
      return AlreadyExists(fmt::format("export: {} is left from an export that was cut off; remove it", draft.path_));
    }
    NT_RETURN_IF_ERROR(MakeDirectory(draft.path_));
    draft.owned_ = true;
    return draft;
  }
  Draft() = default;
  Draft(Draft&& other) noexcept
      : final_(std::move(other.final_)), path_(std::move(other.path_)), owned_(std::exchange(other.owned_, false)) {}
  Draft& operator=(Draft&&) = delete;
  ~Draft() {
    std::error_code ignored;
    if (owned_) std::filesystem::remove_all(path_, ignored);
  }

  [[nodiscard]] const std::string& path() const { return path_; }

  // All of it durable, then under its name, which nobody else may have taken.
  Status Keep() {
    NT_ASSIGN_OR_RETURN(const UniqueFd fd, OpenFd(path_, O_RDONLY | O_DIRECTORY));
    if (::syncfs(fd.get()) != 0) return ErrnoStatus(errno, fmt::format("sync {}", path_));
    int error = ::renameat2(AT_FDCWD, path_.c_str(), AT_FDCWD, final_.c_str(), RENAME_NOREPLACE) == 0 ? 0 : errno;
    // Not every file system can promise that.
    if (error == EINVAL && !Exists(final_)) error = ::rename(path_.c_str(), final_.c_str()) == 0 ? 0 : errno;
    if (error != 0) return ErrnoStatus(error, fmt::format("rename {} to {}", path_, final_));
    owned_ = false;
    const std::string parent = std::filesystem::path(final_).parent_path().string();
    return FsyncDirectory(parent.empty() ? "." : parent);
  }

 private:
  std::string final_;
  std::string path_;
  bool owned_ = false;
};

// log/NNNNNN.leaves, as the collector writes them.
class SegmentsOut {
 public:
  explicit SegmentsOut(std::string dir) : dir_(std::move(dir)) {}

  Status Append(uint64_t index, std::string_view leaf) {
    if (!fd_.valid() || size_ + kRecordHeaderBytes + leaf.size() > kLeafSegmentBytes) NT_RETURN_IF_ERROR(Start(index));
    PutLe(&buffer_, leaf.size(), 4);
    PutLe(&buffer_, Crc32c(leaf), 4);
    buffer_ += leaf;
    size_ += kRecordHeaderBytes + leaf.size();
    return buffer_.size() < kBufferBytes ? OkStatus() : Flush();
  }
  Status Flush() {
    if (buffer_.empty()) return OkStatus();
    const Status status = WriteAll(fd_.get(), buffer_, path_);
    buffer_.clear();
    return status;
  }

 private:
  static constexpr size_t kBufferBytes = 1 << 20;

  Status Start(uint64_t index) {
    NT_RETURN_IF_ERROR(Flush());
    path_ = fmt::format("{}/{:06}.leaves", dir_, number_++);
    NT_ASSIGN_OR_RETURN(fd_, OpenFd(path_, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, kFileMode));
    buffer_ = SegmentHeader(index);
    size_ = kSegmentHeaderBytes;
    return OkStatus();
  }

  const std::string dir_;
  std::string path_;
  std::string buffer_;
  UniqueFd fd_;
  uint64_t size_ = 0;
  uint64_t number_ = 0;
};

// What of the scope a later declaration of the agent may explain.
struct Question {
  bool restart = false;  // of this epoch; otherwise batches of an earlier one
  ChainHole batches;
};

struct AgentOut {
  explicit AgentOut(ChainPolicy policy) : chain(std::move(policy)) {}
  ChainVerifier chain;
  uint64_t sealed_ns = 0;
  std::vector<Question> questions;
};

class Exporter {
 public:
  Exporter(TrailReader* reader, const ExportOptions& options) : reader_(reader), options_(options) {}

  Result<ExportReport> Run(const std::string& out_dir, const ExportProgress& progress) {
    NT_RETURN_IF_ERROR(ReadCheckpoint());
    NT_RETURN_IF_ERROR(ReadReceipts());
    NT_ASSIGN_OR_RETURN(Draft draft, Draft::Make(out_dir));
    dir_ = draft.path();
    for (const char* sub : {"/log", "/bodies"}) NT_RETURN_IF_ERROR(MakeDirectory(dir_ + sub));
    segments_.emplace(dir_ + "/log");
    Status failed;
    const Status read = reader_->ForEach(0, [&](const LeafLocation& where, std::string_view leaf) {
      if (progress && where.index % kProgressEvery == 0 && !progress(where.index, checkpoint_.size)) {
        failed = Cancelled("export: interrupted; nothing was left behind");
      } else if (where.index >= checkpoint_.size) {
        ++report_.beyond_checkpoint;
      } else {
        failed = TakeLeaf(where, leaf);
      }
      return failed.ok();
    });
    NT_RETURN_IF_ERROR(failed);
    if (!read.ok()) return Damaged(read.message());
    NT_RETURN_IF_ERROR(segments_->Flush());
    if (!missing_.empty()) {
      const auto& [hash, name] = missing_.begin()->second;
      return Damaged(fmt::format("batch {}: {} is missing", name, BodyPath(hash)));
    }
    NT_RETURN_IF_ERROR(CheckWhole());
    NT_RETURN_IF_ERROR(WriteRest());
    NT_RETURN_IF_ERROR(draft.Keep());
    return report_;
  }

 private:
  struct ReceiptFile {
    std::string name;
    std::string bytes;
    Receipt receipt;
    Checkpoint checkpoint;
  };

  Status Damaged(std::string_view what) const {
    return DataLoss(
        fmt::format("export: {}; the trail is damaged: `nodetrail verify {}` names it", what, reader_->dir()));
  }

  Status ReadCheckpoint() {
    auto note = reader_->Checkpoint();
    if (!note.ok() && note.status().code() == Code::kNotFound) {
      return NotFound(fmt::format(
          "export: {}/log/checkpoint: none yet, so nothing is signed that could be shown; the collector publishes one "
          "within seconds of the first batch",
          reader_->dir()));
    }
    if (!note.ok()) return Annotate(note.status(), "export");
    auto parsed = ParseNote(*note);
    auto checkpoint = parsed.ok() ? ParseCheckpointBody(parsed->text) : Result<Checkpoint>(parsed.status());
    if (!checkpoint.ok()) return Damaged(checkpoint.status().message());
    note_ = *std::move(note);
    checkpoint_ = *std::move(checkpoint);
    return OkStatus();
  }

  Status ReadReceipts() {
    if (options_.receipts.size() > kMaxBundleReceipts) return InvalidArgument("export: more than 10,000 receipts");
    std::set<std::string> names;
    for (const std::string& path : options_.receipts) {
      ReceiptFile file;
      file.name = std::filesystem::path(path).filename().string();
      if (!ValidReceiptFile(file.name)) {
        return InvalidArgument(fmt::format("export: {}: a receipt's file is named NAME{}, NAME of A-Z a-z 0-9 . _ -",
                                           path, kReceiptSuffix));
      }
      if (!names.insert(file.name).second) {
        return InvalidArgument(fmt::format("export: two receipts are named {}", file.name));
      }
      NT_ASSIGN_OR_RETURN(file.bytes, ReadFile(path, kMaxReceiptBytes));
      auto receipt = ParseReceipt(file.bytes);
      if (!receipt.ok()) return Annotate(receipt.status(), fmt::format("export: {}", path));
      file.receipt = *std::move(receipt);
      const auto note = ParseNote(file.receipt.checkpoint);
      if (!note.ok()) return Annotate(note.status(), fmt::format("export: {}", path));
      auto checkpoint = ParseCheckpointBody(note->text);
      if (!checkpoint.ok()) return Annotate(checkpoint.status(), fmt::format("export: {}", path));
      file.checkpoint = *std::move(checkpoint);
      if (file.checkpoint.origin != checkpoint_.origin || file.checkpoint.size > checkpoint_.size) {
        return FailedPrecondition(fmt::format("export: {}: of log {} at size {}, the trail's checkpoint is of {} at {}",
                                              path, file.checkpoint.origin, file.checkpoint.size, checkpoint_.origin,
                                              checkpoint_.size));
      }
      const uint64_t index = file.receipt.index;
      receipts_.emplace(index, std::move(file));
    }
    return OkStatus();
  }

  Status TakeLeaf(const LeafLocation& where, std::string_view leaf) {
    const Hash leaf_hash = LeafHash(leaf);
    tree_.Append(leaf_hash);
    ++report_.leaves;
    NT_RETURN_IF_ERROR(segments_->Append(where.index, leaf));
    const auto [begin, end] = receipts_.equal_range(where.index);
    for (auto it = begin; it != end; ++it) {
      const ReceiptFile& file = it->second;
      const Status holds =
          VerifyInclusion(leaf_hash, where.index, file.checkpoint.size, file.receipt.path, file.checkpoint.root);
      if (!holds.ok()) return Annotate(holds, fmt::format("export: {}: not of leaf {}", file.name, where.index));
    }
    if (IsLogEntry(leaf)) {
      const auto entry = ParseLogEntry(leaf);
      if (!entry.ok()) return Damaged(fmt::format("leaf {}: {}", where.index, entry.status().message()));
      if (report_.manifest.tenant.empty()) report_.manifest.tenant = entry->entry.tenant();
      if (entry->entry.has_retire()) TakeRetire(entry->entry.retire());
      return OkStatus();
    }
    auto parsed = ParseLeaf(leaf);
    if (!parsed.ok()) return Damaged(fmt::format("leaf {}: {}", where.index, parsed.status().message()));
    return TakeBatch(leaf, parsed->header);
  }

  Status TakeBatch(std::string_view leaf, const v1::BatchHeader& h) {
    if (report_.manifest.tenant.empty()) report_.manifest.tenant = h.tenant();
    const TimeSpan time = TimeOf(h);
    agents_seen_.insert(h.agent_id());
    first_ns_ = std::min(first_ns_, time.from_ns);
    last_ns_ = std::max(last_ns_, time.to_ns);
    if (!options_.scope.HasAgent(h.agent_id())) return OkStatus();
    AgentOut& agent = AgentOf(h);
    Ask(&agent, leaf, h);
    const bool in_scope = options_.scope.Meets(time);
    if (in_scope) ++batches_;
    if (h.body_codec() == v1::BODY_CODEC_NONE) return OkStatus();
    if (in_scope) ++report_.manifest.bodies;
    if (!in_scope && agent.questions.empty()) return OkStatus();
    return TakeBody(&agent, h, in_scope);
  }

  AgentOut& AgentOf(const v1::BatchHeader& h) {
    auto it = agents_.find(h.agent_id());
    if (it == agents_.end()) {
      it = agents_.try_emplace(h.agent_id(), ChainPolicy{h.tenant(), h.agent_id(), &no_cas_, 1}).first;
    }
    return it->second;
  }

  // Notes what is missing before this batch, if the verdict about the scope
  // depends on whether the agent declares it. Nothing is judged here: a batch
  // that is not the next of its chain is copied, and found by who verifies.
  void Ask(AgentOut* agent, std::string_view leaf, const v1::BatchHeader& h) {
    CheckOptions chain_options;
    chain_options.allow_hole = true;
    chain_options.trusted = true;
    const ChainResult result = agent->chain.Check(leaf, std::nullopt, chain_options);
    if (!result.accepted()) return;
    const TimeSpan between{std::min(agent->sealed_ns, h.sealed_wall_ns()),
                           std::max(agent->sealed_ns, h.sealed_wall_ns())};
    agent->sealed_ns = h.sealed_wall_ns();
    if (result.notes.epoch_opened) {
      std::erase_if(agent->questions, [](const Question& question) { return question.restart; });
    }
    if (!options_.scope.Meets(between)) return;
    if (result.notes.epoch_opened && result.notes.unclean_restart) agent->questions.push_back({true, {}});
    for (const ChainHole& hole : result.notes.holes) agent->questions.push_back({false, hole});
  }

  // True if the events of this body answer one of the agent's questions, which
  // are then closed.
  static bool Answers(const event::v1::EventBatch& batch, uint64_t epoch, std::vector<Question>* questions) {
    bool answered = false;
    for (const std::string& record : batch.events()) {
      const auto brief = PeekEvent(record);
      if (!brief || (brief->kind != event::v1::KIND_AGENT_LOSS && brief->kind != event::v1::KIND_AGENT_GAP)) continue;
      event::v1::Event event;
      if (!event.ParseFromString(record)) continue;
      const event::v1::AgentEvent& a = event.agent();
      const bool gap = event.kind() == event::v1::KIND_AGENT_GAP;
      const auto closed = std::erase_if(*questions, [&](const Question& question) {
        if (gap || question.restart) return gap && question.restart;
        const ChainHole& hole = question.batches;
        return a.stage() == "spool" && !a.body_only() && epoch > hole.epoch && a.last_epoch() == hole.epoch &&
               a.seq_from() <= hole.from_seq && a.seq_to() >= hole.to_seq;
      });
      answered = answered || closed > 0;
    }
    return answered;
  }

  Status TakeBody(AgentOut* agent, const v1::BatchHeader& h, bool in_scope) {
    const Hash hash = *HashFromBytes(h.body_sha256());
    const std::string name = fmt::format("{}:{}:{}", h.agent_id(), h.epoch(), h.seq());
    const auto body = reader_->Body(hash);
    if (!body.ok()) {
      if (!in_scope) return OkStatus();
      if (body.status().code() != Code::kNotFound)
        return Annotate(body.status(), fmt::format("export: batch {}", name));
      return TakeEviction(hash, name);
    }
    if (const Status status = CheckStoredBody(*body, h); !status.ok()) {
      if (!in_scope) return OkStatus();
      return Damaged(fmt::format("batch {}: {}", name, status.message()));
    }
    bool answers = false;
    if (!agent->questions.empty()) {
      const auto batch = OpenBody(*body, h);
      answers = batch.ok() && Answers(*batch, h.epoch(), &agent->questions);
    }
    if (!in_scope && !answers) return OkStatus();
    if (!in_scope) ++report_.bodies_outside;
    report_.body_bytes += body->size();
    return Put(BodyPath(hash), *body);
  }

  // Whether it may be retired is for the verifiers to judge.
  void TakeRetire(const v1::Retire& retire) {
    uint64_t index = 0;
    for (int i = 0; i < retire.leaves_size(); ++i) {
      index += retire.leaves(i);
      const auto it = missing_.find(index);
      if (it == missing_.end()) continue;
      if (std::string_view(retire.body_sha256()).substr(32 * static_cast<size_t>(i), 32) != View(it->second.first))
        continue;
      missing_.erase(it);
      ++report_.retired;
    }
  }

  Status TakeEviction(const Hash& hash, const std::string& name) {
    const auto eviction = reader_->Eviction(hash);
    if (!eviction.ok() && eviction.status().code() == Code::kNotFound) {
      missing_[report_.leaves - 1] = {hash, name};  // unless an entry further on retires it
      return OkStatus();
    }
    if (!eviction.ok()) return Annotate(eviction.status(), fmt::format("export: batch {}", name));
    ++report_.evicted;
    return Put(EvictionPath(hash), *eviction);
  }

  // A body that two batches share is written once.
  Status Put(const std::string& path, std::string_view bytes) {
    const std::string full = dir_ + "/" + path;
    const std::string parent = std::filesystem::path(full).parent_path().string();
    if (body_dirs_.insert(parent).second) NT_RETURN_IF_ERROR(MakeDirectory(parent));
    const Status status = WriteNew(full, bytes);
    return status.code() == Code::kAlreadyExists ? OkStatus() : status;
  }

  // What the pass over the log must have found.
  Status CheckWhole() {
    if (tree_.size() < checkpoint_.size) {
      return Damaged(fmt::format("the log holds {} leaves, its checkpoint says {}", tree_.size(), checkpoint_.size));
    }
    if (tree_.Root() != checkpoint_.root) return Damaged("the root over the leaves is not the checkpoint's");
    if (agents_seen_.empty()) return NotFound("export: the log holds no batch yet");
    if (options_.scope.agents) {
      for (const std::string& id : *options_.scope.agents) {
        if (!agents_seen_.contains(id)) {
          return NotFound(fmt::format("export: no batch of agent {}; the log has: {}", id, KnownAgents()));
        }
      }
    }
    if (batches_ == 0) {
      return NotFound(fmt::format("export: no batch in the scope ({}); the log's batches are from {} to {}",
                                  options_.scope.ToString(), FormatRfc3339(first_ns_), FormatRfc3339(last_ns_)));
    }
    return OkStatus();
  }

  [[nodiscard]] std::string KnownAgents() const {
    constexpr size_t kShown = 10;
    std::string out;
    size_t count = 0;
    for (const std::string& id : agents_seen_) {
      if (++count <= kShown) out += (out.empty() ? "" : ", ") + id;
    }
    return count > kShown ? fmt::format("{} and {} more", out, count - kShown) : out;
  }

  Status WriteRest() {
    BundleManifest& manifest = report_.manifest;
    manifest.origin = checkpoint_.origin;
    manifest.checkpoint_size = checkpoint_.size;
    manifest.scope = options_.scope;
    manifest.receipts = receipts_.size();
    const std::string text = FormatManifest(manifest);
    // What the verifier would not read must not be handed out.
    if (const auto parsed = ParseManifest(text); !parsed.ok()) return Annotate(parsed.status(), "export");
    if (!receipts_.empty()) NT_RETURN_IF_ERROR(MakeDirectory(dir_ + "/receipts"));
    for (const auto& [index, file] : receipts_) {
      NT_RETURN_IF_ERROR(WriteNew(dir_ + "/receipts/" + file.name, file.bytes));
    }
    NT_RETURN_IF_ERROR(WriteNew(dir_ + "/log/checkpoint", note_));
    NT_RETURN_IF_ERROR(WriteNew(dir_ + "/manifest.json", text));
    NT_RETURN_IF_ERROR(WriteNew(dir_ + "/manifest.sha256", ManifestSum(text)));
    return WriteNew(dir_ + "/FORMAT", kBundleFormatFile);
  }

  TrailReader* reader_;
  const ExportOptions& options_;
  const CaSet no_cas_ = CaSet::None();  // chains are followed here, not judged
  std::string dir_;                     // the draft's
  std::string note_;
  Checkpoint checkpoint_;
  std::multimap<uint64_t, ReceiptFile> receipts_;  // by index
  std::optional<SegmentsOut> segments_;
  CompactRange tree_;
  std::map<uint64_t, std::pair<Hash, std::string>> missing_;  // by index: body, batch
  std::map<std::string, AgentOut, std::less<>> agents_;       // of the scope
  std::set<std::string> agents_seen_;
  std::set<std::string> body_dirs_;
  uint64_t batches_ = 0;  // in the scope
  uint64_t first_ns_ = UINT64_MAX;
  uint64_t last_ns_ = 0;
  ExportReport report_;
};

}  // namespace

Result<ExportReport> ExportBundle(const std::string& trail_dir, const std::string& out_dir,
                                  const ExportOptions& options, const ExportProgress& progress) {
  NT_ASSIGN_OR_RETURN(const std::unique_ptr<TrailReader> reader, TrailReader::Open(trail_dir));
  return Exporter(reader.get(), options).Run(out_dir, progress);
}

}  // namespace nodetrail::trail

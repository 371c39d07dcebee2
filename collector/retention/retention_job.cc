// SPDX-License-Identifier: Apache-2.0
#include "collector/retention/retention_job.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <utility>

#include "nodetrail/base/fd.h"
#include "nodetrail/base/log.h"
#include "nodetrail/trail/body.h"
#include "nodetrail/trail/log_entry.h"

namespace nodetrail::collector {
namespace {

constexpr auto kLogWait = std::chrono::milliseconds(50);
constexpr auto kRetryWait = std::chrono::seconds(10);

uint64_t SaturatingAdd(uint64_t a, uint64_t b) { return a > UINT64_MAX - b ? UINT64_MAX : a + b; }

// What explains a hole or a restart: without it the verdict would be another.
bool DeclaresLoss(const event::v1::EventBatch& batch) {
  return std::any_of(batch.events().begin(), batch.events().end(), [](const std::string& record) {
    const auto brief = trail::PeekEvent(record);
    return !brief || brief->kind == event::v1::KIND_AGENT_LOSS || brief->kind == event::v1::KIND_AGENT_GAP;
  });
}

}  // namespace

Result<std::unique_ptr<RetentionJob>> RetentionJob::Open(Options options, Committer* committer) {
  NT_CHECK(options.max_age_ns > 0 && options.clock != nullptr && options.covered != nullptr);
  std::unique_ptr<RetentionJob> out(new RetentionJob(std::move(options), committer));
  NT_ASSIGN_OR_RETURN(out->reader_, trail::TrailReader::Open(out->options_.trail_dir));
  out->BeginRun();
  return out;
}

RetentionJob::~RetentionJob() { Stop(); }

void RetentionJob::Start(std::chrono::milliseconds interval) {
  thread_ = std::jthread([this, interval] { Run(interval); });
}

void RetentionJob::Stop() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
    cv_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
  if (!asked_) return;
  const std::lock_guard lock(asked_->mutex);
  asked_->dropped = true;
}

void RetentionJob::Run(std::chrono::milliseconds interval) {
  std::string problem;
  while (true) {
    const auto progress = Step();
    std::chrono::milliseconds wait(0);
    if (!progress.ok()) {
      if (problem != progress.status().message()) log::Error(fmt::format("retention: {}", progress.status().message()));
      problem = progress.status().message();
      wait = kRetryWait;
    } else {
      problem.clear();
      if (*progress == Progress::kWaiting) wait = kLogWait;
      if (*progress == Progress::kIdle) wait = interval;
    }
    std::unique_lock lock(mutex_);
    if (cv_.wait_for(lock, wait, [this] { return stop_; })) return;
  }
}

void RetentionJob::BeginRun() {
  cursor_ = low_;
  end_ = committer_->Totals().log_size;
  prefix_ = true;
  candidates_.clear();
  checked_ = false;
  check_cursor_ = 0;
  named_.clear();
}

Result<RetentionJob::Progress> RetentionJob::Step() {
  if (asked_) {
    std::optional<Result<uint64_t>> answer;
    {
      const std::lock_guard lock(asked_->mutex);
      answer = asked_->answer;
    }
    if (!answer) return Progress::kWaiting;
    asked_.reset();
    // Held meanwhile, all of it: that is as it must be.
    if (!answer->ok() && answer->status().code() != Code::kAborted) return answer->status();
  }
  if (deletion_) return Delete();
  const auto retention = committer_->Retained();
  for (const auto& [entry, bodies] : retention->unfinished()) {
    const auto parked = parked_.find(entry);
    if (parked != parked_.end() && parked->second == retention->releases()) continue;
    // First the word, under a root that was signed, then the deed.
    if (options_.covered() <= entry) return Progress::kWaiting;
    return BeginDeletion(entry);
  }
  if (cursor_ < end_ && candidates_.size() < options_.bodies_per_run) return Scan();
  if (candidates_.empty()) {
    BeginRun();
    return Progress::kIdle;
  }
  if (!checked_) return FindShared();
  return Announce();
}

// --- What may go. ---

Result<RetentionJob::Progress> RetentionJob::Scan() {
  const uint64_t stop = std::min<uint64_t>(end_, cursor_ + options_.leaves_per_step);
  for (; cursor_ < stop && candidates_.size() < options_.bodies_per_run; ++cursor_) {
    NT_ASSIGN_OR_RETURN(const std::string leaf, reader_->Leaf(cursor_));
    if (!trail::IsLogEntry(leaf)) {
      const auto parsed = trail::ParseLeaf(leaf);
      if (!parsed.ok())
        return DataLoss(fmt::format("leaf {}: {}; run nodetrail verify", cursor_, parsed.status().message()));
      NT_ASSIGN_OR_RETURN(auto candidate, Examine(cursor_, parsed->header));
      if (candidate) candidates_.push_back(*std::move(candidate));
    }
    if (prefix_) low_ = cursor_ + 1;
  }
  return Progress::kMore;
}

Result<std::optional<RetentionJob::Candidate>> RetentionJob::Examine(uint64_t index,
                                                                     const trail::v1::BatchHeader& header) {
  const std::optional<Candidate> stays;
  if (header.body_codec() != trail::v1::BODY_CODEC_ZSTD) return stays;
  const trail::Hash sha256 = *trail::HashFromBytes(header.body_sha256());
  const std::string path = fmt::format("{}/{}", options_.trail_dir, trail::BodyPath(sha256));
  struct stat st {};
  if (::stat(path.c_str(), &st) != 0) {
    if (errno == ENOENT) return stays;  // retired, or given up by its agent
    return ErrnoStatus(errno, path);
  }
  prefix_ = false;
  // An agent's clock alone must not make a body old.
  const uint64_t received =
      static_cast<uint64_t>(st.st_mtim.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(st.st_mtim.tv_nsec);
  const Candidate found{index, sha256, header.agent_id(), trail::TimeOf(header),
                        std::max(received, header.sealed_wall_ns())};
  if (SaturatingAdd(found.kept_from_ns, options_.max_age_ns) > options_.clock->WallNs()) return stays;
  if (committer_->Retained()->Covering(found.agent_id, found.time) != nullptr) return stays;
  // A damaged body is evidence.
  NT_ASSIGN_OR_RETURN(const std::string stored, reader_->Body(sha256));
  const auto batch = trail::OpenBody(stored, header);
  if (!batch.ok() || DeclaresLoss(*batch)) return stays;
  return std::optional(found);
}

// A body that two leaves name, as a hostile agent can make them, stays: the other
// leaf may be younger, or held.
Result<RetentionJob::Progress> RetentionJob::FindShared() {
  if (check_cursor_ == 0) {
    for (const Candidate& candidate : candidates_) named_[candidate.sha256] = 0;
  }
  const uint64_t stop = std::min<uint64_t>(end_, check_cursor_ + options_.leaves_per_step);
  for (; check_cursor_ < stop; ++check_cursor_) {
    NT_ASSIGN_OR_RETURN(const std::string leaf, reader_->Leaf(check_cursor_));
    if (trail::IsLogEntry(leaf)) continue;
    const auto parsed = trail::ParseLeaf(leaf);
    if (!parsed.ok()) return DataLoss(fmt::format("leaf {}: {}", check_cursor_, parsed.status().message()));
    const auto sha256 = trail::HashFromBytes(parsed->header.body_sha256());
    if (!sha256) continue;
    if (const auto it = named_.find(*sha256); it != named_.end()) ++it->second;
  }
  if (check_cursor_ < end_) return Progress::kMore;
  std::erase_if(candidates_, [this](const Candidate& candidate) { return named_[candidate.sha256] != 1; });
  named_.clear();
  checked_ = true;
  return Progress::kMore;
}

// --- The word. ---

void RetentionJob::Ask(trail::v1::LogEntry entry, Committer::PrepareEntry prepare) {
  asked_ = std::make_shared<Asked>();
  committer_->Enter(std::move(entry), std::move(prepare), [asked = asked_](const Result<uint64_t>& index) {
    const std::lock_guard lock(asked->mutex);
    asked->answer = index;
  });
}

RetentionJob::Progress RetentionJob::Announce() {
  const size_t count = std::min(candidates_.size(), options_.bodies_per_entry);
  std::vector<Candidate> named(std::make_move_iterator(candidates_.begin()),
                               std::make_move_iterator(candidates_.begin() + static_cast<std::ptrdiff_t>(count)));
  candidates_.erase(candidates_.begin(), candidates_.begin() + static_cast<std::ptrdiff_t>(count));
  trail::v1::LogEntry entry;
  entry.mutable_retire()->set_policy(options_.policy);
  entry.mutable_retire()->set_max_age_ns(options_.max_age_ns);
  // On the thread that writes the log: no hold can come between this and the entry.
  Ask(std::move(entry),
      [named = std::move(named), max_age = options_.max_age_ns](const Committer::Before& before,
                                                                trail::v1::LogEntry* to) -> Status {
        trail::v1::Retire* retire = to->mutable_retire();
        uint64_t last = 0;
        uint64_t youngest = 0;
        for (const Candidate& body : named) {
          if (before.retention.Covering(body.agent_id, body.time) != nullptr) continue;
          retire->add_leaves(body.index - last);
          retire->mutable_body_sha256()->append(trail::View(body.sha256));
          last = body.index;
          youngest = std::max(youngest, body.kept_from_ns);
        }
        if (retire->leaves().empty()) return Status(Code::kAborted, "all of them are held");
        retire->set_not_before_ns(SaturatingAdd(youngest, max_age));
        retire->set_holds_checked_at(before.log_index);
        return OkStatus();
      });
  return Progress::kWaiting;
}

// --- The deed. ---

Result<RetentionJob::Progress> RetentionJob::BeginDeletion(uint64_t entry) {
  NT_ASSIGN_OR_RETURN(const std::string leaf, reader_->Leaf(entry));
  NT_ASSIGN_OR_RETURN(const trail::ParsedLogEntry parsed, trail::ParseLogEntry(leaf));
  const trail::v1::Retire& retire = parsed.entry.retire();
  Deletion deletion;
  deletion.entry = entry;
  uint64_t index = 0;
  std::set<trail::Hash> wanted;
  for (int i = 0; i < retire.leaves_size(); ++i) {
    index += retire.leaves(i);
    const auto sha256 =
        trail::HashFromBytes(std::string_view(retire.body_sha256()).substr(32 * static_cast<size_t>(i), 32));
    NT_ASSIGN_OR_RETURN(auto body, Describe(index, *sha256));
    if (!body) return DataLoss(fmt::format("entry {} retires another body than that of leaf {}", entry, index));
    wanted.insert(*sha256);
    deletion.bodies.push_back(*std::move(body));
  }
  // Leaves since then may name one of them too.
  deletion.looked_to = committer_->Totals().log_size;
  NT_RETURN_IF_ERROR(LookFor(wanted, entry + 1, deletion.looked_to, &deletion.shared));
  deletion_ = std::move(deletion);
  return Progress::kMore;
}

Result<std::optional<RetentionJob::Candidate>> RetentionJob::Describe(uint64_t index, const trail::Hash& sha256) {
  NT_ASSIGN_OR_RETURN(const std::string leaf, reader_->Leaf(index));
  const auto parsed = trail::ParseLeaf(leaf);
  if (!parsed.ok() || parsed->header.body_sha256() != trail::View(sha256)) return std::optional<Candidate>();
  return std::optional(Candidate{index, sha256, parsed->header.agent_id(), trail::TimeOf(parsed->header), 0});
}

Status RetentionJob::LookFor(const std::set<trail::Hash>& wanted, uint64_t from, uint64_t to,
                             std::set<trail::Hash>* found) {
  for (; from < to; ++from) {
    NT_ASSIGN_OR_RETURN(const std::string leaf, reader_->Leaf(from));
    if (trail::IsLogEntry(leaf)) continue;
    const auto parsed = trail::ParseLeaf(leaf);
    if (!parsed.ok()) return DataLoss(fmt::format("leaf {}: {}", from, parsed.status().message()));
    const auto sha256 = trail::HashFromBytes(parsed->header.body_sha256());
    if (sha256 && wanted.contains(*sha256)) found->insert(*sha256);
  }
  return OkStatus();
}

Result<RetentionJob::Progress> RetentionJob::Delete() {
  if (deletion_->next == deletion_->bodies.size()) return FinishDeletion();
  asked_ = std::make_shared<Asked>();
  committer_->OnWriter([this, asked = asked_](const trail::Retention& retention, uint64_t log_size) {
    const std::lock_guard lock(asked->mutex);
    if (asked->dropped) return;
    const Status status = DeletePortion(retention, log_size);
    asked->answer = status.ok() ? Result<uint64_t>(log_size) : Result<uint64_t>(status);
  });
  return Progress::kWaiting;
}

// On the thread that writes the log, which waits for it, while this job waits
// for the answer: nothing comes between the look at the holds and the deed.
Status RetentionJob::DeletePortion(const trail::Retention& retention, uint64_t log_size) {
  Deletion& deletion = *deletion_;
  const size_t stop = std::min(deletion.bodies.size(), deletion.next + options_.bodies_per_step);
  std::set<trail::Hash> portion;
  for (size_t i = deletion.next; i < stop; ++i) portion.insert(deletion.bodies[i].sha256);
  NT_RETURN_IF_ERROR(LookFor(portion, deletion.looked_to, log_size, &deletion.shared));
  for (; deletion.next < stop; ++deletion.next) {
    const Candidate& body = deletion.bodies[deletion.next];
    if (retention.Covering(body.agent_id, body.time) != nullptr || deletion.shared.contains(body.sha256)) {
      ++deletion.kept;
      continue;
    }
    const std::string path = fmt::format("{}/{}", options_.trail_dir, trail::BodyPath(body.sha256));
    if (::unlink(path.c_str()) != 0 && errno != ENOENT) return ErrnoStatus(errno, path);
    deletion.dirs.insert(std::filesystem::path(path).parent_path().string());
    if (options_.forget) options_.forget(body.sha256);
  }
  return OkStatus();
}

Result<RetentionJob::Progress> RetentionJob::FinishDeletion() {
  for (const std::string& dir : deletion_->dirs) NT_RETURN_IF_ERROR(FsyncDirectory(dir));
  const Deletion done = *std::move(deletion_);
  deletion_.reset();
  if (done.kept > 0) {
    parked_[done.entry] = committer_->Retained()->releases();
    log::Info(
        fmt::format("retention: {} of the {} bodies that entry {} retires stay: a hold came, or two leaves name one",
                    done.kept, done.bodies.size(), done.entry));
    return Progress::kMore;
  }
  parked_.erase(done.entry);
  trail::v1::LogEntry entry;
  entry.mutable_retired()->set_retire_index(done.entry);
  entry.mutable_retired()->set_bodies(done.bodies.size());
  Ask(std::move(entry), nullptr);
  log::Info(fmt::format("retention: {} bodies deleted, as entry {} says", done.bodies.size(), done.entry));
  return Progress::kWaiting;
}

}  // namespace nodetrail::collector

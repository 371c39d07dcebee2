// SPDX-License-Identifier: Apache-2.0
#include "collector/ingest/committer.h"

#include <fmt/format.h>

#include <future>
#include <utility>

#include "nodetrail/base/guard.h"
#include "nodetrail/base/log.h"
#include "nodetrail/trail/body.h"
#include "nodetrail/trail/eviction.h"

namespace nodetrail::collector {
namespace {

using ingest::v1::ServerMessage;

ServerMessage MakeAck(const trail::ParsedLeaf& leaf, uint64_t log_index,
                      ingest::v1::AckLevel level = ingest::v1::ACK_LEVEL_DURABLE) {
  ServerMessage message;
  ingest::v1::Ack* ack = message.mutable_ack();
  ack->set_level(level);
  ack->set_epoch(leaf.header.epoch());
  ack->set_seq(leaf.header.seq());
  ack->set_batch_hash(trail::Bytes(leaf.batch_hash));
  ack->set_log_index(log_index);
  return message;
}

ServerMessage MakeNack(ingest::v1::NackReason reason, std::string_view detail) {
  ServerMessage message;
  message.mutable_nack()->set_reason(reason);
  message.mutable_nack()->set_detail(std::string(detail));
  return message;
}

ServerMessage MakeWelcome(const AgentChain& chain) {
  const trail::ChainHead& head = chain.head();
  ServerMessage message;
  ingest::v1::Welcome* welcome = message.mutable_welcome();
  welcome->set_known(head.known);
  if (head.known) {
    welcome->set_epoch(head.epoch);
    welcome->set_seq(head.seq);
    welcome->set_batch_hash(trail::Bytes(head.batch_hash));
  }
  for (const AgentChain::Gap& gap : chain.gaps()) {
    ingest::v1::Gap* lacks = welcome->add_gaps();
    lacks->set_before_epoch(gap.before.epoch);
    lacks->set_before_seq(gap.before.seq);
    lacks->set_after_epoch(gap.after.epoch);
    lacks->set_after_seq(gap.after.seq);
  }
  return message;
}

// What a leaf says of itself, for the answer to a batch that was not taken.
void NamePosition(const std::optional<trail::ParsedLeaf>& leaf, ServerMessage* message) {
  if (!leaf) return;
  message->mutable_nack()->set_epoch(leaf->header.epoch());
  message->mutable_nack()->set_seq(leaf->header.seq());
  message->mutable_nack()->set_batch_hash(trail::Bytes(leaf->batch_hash));
}

std::string LeafName(const trail::v1::BatchHeader& header) {
  return fmt::format("{}:{}:{}", header.agent_id(), header.epoch(), header.seq());
}

}  // namespace

Result<std::unique_ptr<Committer>> Committer::Open(Options options, trail::CaSet identity_cas,
                                                   const std::function<Status()>& on_open, const OnReplay& on_replay) {
  std::unique_ptr<Committer> out(new Committer(std::move(options), std::move(identity_cas)));
  const std::string& dir = out->options_.trail_dir;
  NT_ASSIGN_OR_RETURN(out->writer_, trail::TrailWriter::Open(dir, {.segment_bytes = out->options_.segment_bytes}));
  NT_ASSIGN_OR_RETURN(out->reader_, trail::TrailReader::Open(dir));
  NT_ASSIGN_OR_RETURN(out->quarantine_, Quarantine::Open(dir + "/quarantine", out->options_.quarantine));
  NT_ASSIGN_OR_RETURN(out->late_, Quarantine::Open(dir + "/quarantine/late", out->options_.late));
  if (on_open) NT_RETURN_IF_ERROR(on_open());
  NT_RETURN_IF_ERROR(out->Rebuild(on_replay));
  return out;
}

// The signatures were verified when the batches came in; here each leaf must
// continue its agent's chain. That finds a leaf that was removed, moved or
// replaced behind our back before anything is built on it.
Status Committer::Rebuild(const OnReplay& on_replay) {
  Status wrong;
  uint64_t count = 0;
  const Status read = reader_->ForEach(0, [&](const trail::LeafLocation& where, std::string_view leaf) {
    wrong =
        trail::IsLogEntry(leaf) ? roster_.Replay(leaf, where.index, options_.log_key) : ReplayBatch(leaf, where.index);
    if (!wrong.ok()) {
      // Another tenant's trail is no damage: that says enough by itself.
      if (wrong.code() == Code::kDataLoss) {
        wrong = DataLoss(fmt::format("{}: leaf {} at offset {}: {}; run nodetrail verify", where.file, where.index,
                                     where.offset, wrong.message()));
      }
      return false;
    }
    ++count;
    wrong = on_replay(leaf);
    return wrong.ok();
  });
  NT_RETURN_IF_ERROR(wrong);
  NT_RETURN_IF_ERROR(read);
  if (count != writer_->size()) {
    return DataLoss(fmt::format("{}: {} leaves read back, {} expected; run nodetrail verify", options_.trail_dir, count,
                                writer_->size()));
  }
  totals_.log_size = count;
  for (const auto& [agent_id, chain] : chains_) Publish(agent_id, *chain);
  roster_.Commit();
  roster_.set_required(options_.enrol_required);
  return OkStatus();
}

Status Committer::ReplayBatch(std::string_view leaf, uint64_t log_index) {
  auto parsed = trail::ParseLeaf(leaf);
  if (!parsed.ok()) return DataLoss(std::string(parsed.status().message()));
  const trail::v1::BatchHeader& header = parsed->header;
  if (header.tenant() != options_.tenant) {
    return FailedPrecondition(fmt::format("{}: the trail is of tenant {}, the configuration of {}", options_.trail_dir,
                                          header.tenant(), options_.tenant));
  }
  AgentChain& chain = Chain(header.agent_id());
  const trail::ChainResult result = chain.Check(leaf, std::nullopt, {.allow_hole = true, .trusted = true});
  if (!result.accepted()) {
    return DataLoss(fmt::format("{} does not continue its chain: {}: {}", LeafName(header),
                                trail::ChainVerdictName(result.verdict), result.reason));
  }
  chain.Place(*parsed, log_index);
  roster_.Accept(header);
  return OkStatus();
}

Committer::~Committer() { Stop(); }

void Committer::Start(OnDurable on_durable) {
  StartStepping(std::move(on_durable));
  thread_ = std::jthread([this] { Run(); });
}

void Committer::StartStepping(OnDurable on_durable) { on_durable_ = std::move(on_durable); }

void Committer::Stop() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
    cv_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

void Committer::Enter(trail::v1::LogEntry entry, PrepareEntry prepare, EntryDone done) {
  auto request =
      std::make_unique<EntryRequest>(EntryRequest{std::move(entry), std::move(prepare), std::move(done), {}});
  {
    const std::lock_guard lock(mutex_);
    if (!stop_) {
      queue_.push_back({nullptr, {}, std::nullopt, 0, std::move(request)});
      cv_.notify_one();
      return;
    }
  }
  request->done(Unavailable("the collector is stopping"));
}

Result<uint64_t> Committer::EnterAndWait(trail::v1::LogEntry entry, PrepareEntry prepare) {
  std::promise<Result<uint64_t>> promise;
  auto done = promise.get_future();
  Enter(std::move(entry), std::move(prepare), [&](const Result<uint64_t>& index) { promise.set_value(index); });
  return done.get();
}

Status Committer::Admit(const std::string& agent_id) {
  const auto enrolled = roster_.Snapshot();
  const trail::Enrolment* agent = enrolled->Find(options_.tenant, agent_id);
  if (agent == nullptr || !agent->revoked || agent->Readmitted()) return OkStatus();
  const std::lock_guard lock(mutex_);
  const auto known = counters_.find(agent_id);
  const bool reported = known != counters_.end() && known->second.epoch != 0;
  const bool next_is_revoked =
      reported ? agent->Covers(known->second.epoch, known->second.last_seq + 1) : agent->Covers(1, 0);
  if (!NT_GUARD(stream_revoked, next_is_revoked)) return OkStatus();
  ++totals_.refused;
  return PermissionDenied(fmt::format("{} was revoked{}{}; enrol it anew, with a token and a new identity key",
                                      agent_id, agent->reason.empty() ? "" : ": ", agent->reason));
}

void Committer::OnWriter(WriterTask task) {
  const std::lock_guard lock(mutex_);
  if (stop_) return;
  queue_.push_back({nullptr, {}, std::nullopt, 0, nullptr, std::move(task)});
  cv_.notify_one();
}

void Committer::Hello(std::shared_ptr<AnswerSink> sink, const std::string& agent_id) {
  const std::lock_guard lock(mutex_);
  if (stop_) return;
  queue_.push_back({std::move(sink), agent_id, std::nullopt, 0});
  cv_.notify_one();
}

void Committer::Submit(std::shared_ptr<AnswerSink> sink, const std::string& agent_id, ingest::v1::Frame frame) {
  const uint64_t bytes = frame.leaf().size() + frame.body().size() + frame.eviction().size();
  const std::lock_guard lock(mutex_);
  if (stop_) return;
  queue_.push_back({std::move(sink), agent_id, std::move(frame), bytes});
  queued_bytes_ += bytes;
  cv_.notify_one();
}

uint64_t Committer::queued_bytes() const {
  const std::lock_guard lock(mutex_);
  return queued_bytes_;
}

std::vector<IngestAgent> Committer::Agents() const {
  const std::lock_guard lock(mutex_);
  std::vector<IngestAgent> out;
  out.reserve(counters_.size());
  for (const auto& [agent_id, c] : counters_) {
    out.push_back({options_.tenant, agent_id, false, c.epoch, c.last_seq, c.last_received_wall_ns, c.batches,
                   c.rejected, c.clean});
  }
  return out;
}

IngestTotals Committer::Totals() const {
  const std::lock_guard lock(mutex_);
  IngestTotals totals = totals_;
  totals.quarantined = quarantine_->batches();
  totals.late_kept = late_->batches();
  return totals;
}

AgentChain& Committer::Chain(const std::string& agent_id) {
  std::unique_ptr<AgentChain>& chain = chains_[agent_id];
  if (!chain)
    chain = std::make_unique<AgentChain>(options_.tenant, agent_id, &identity_cas_, &roster_.now(), reader_.get());
  return *chain;
}

void Committer::Run() {
  do {
    std::unique_lock lock(mutex_);
    cv_.wait(lock, [this] { return stop_ || !queue_.empty(); });
  } while (Step());
}

bool Committer::Step() {
  std::vector<Item> items;
  WriterTask task;
  {
    const std::lock_guard lock(mutex_);
    if (queue_.empty()) return false;
    if (queue_.front().task) {
      task = std::move(queue_.front().task);
      queue_.pop_front();
    }
    uint64_t bytes = 0;
    while (!task && !queue_.empty() && !queue_.front().task && items.size() < options_.group_batches &&
           (items.empty() || bytes + queue_.front().bytes <= options_.group_bytes)) {
      bytes += queue_.front().bytes;
      queued_bytes_ -= queue_.front().bytes;
      items.push_back(std::move(queue_.front()));
      queue_.pop_front();
    }
  }
  if (task) task(roster_.retention(), writer_->size());
  else CommitGroup(std::move(items));
  return true;
}

void Committer::CommitGroup(std::vector<Item> items) {
  uint64_t bytes = 0;
  for (const Item& item : items) bytes += item.bytes;
  const Status room = disk_.Check(bytes);

  group_ = std::move(items);
  std::vector<Pending> pending;
  pending.reserve(group_.size());
  std::vector<Entered> entered;
  for (Item& item : group_) {
    if (item.entry) entered.push_back(CheckEntry(item.entry.get(), room));
    else CheckFrame(item, room, &pending);
  }

  const Status durable = room.ok() ? MakeDurable() : room;
  const uint64_t first = writer_->size() - (durable.ok() ? group_leaves_.size() : 0);
  std::vector<trail::Hash> hashes;
  if (durable.ok()) {
    hashes.reserve(group_leaves_.size());
    for (std::string_view leaf : group_leaves_) hashes.push_back(trail::LeafHash(leaf));
  }
  // Said once while it lasts, and once when it is over.
  const std::string problem = durable.ok() ? std::string() : std::string(durable.message());
  if (storage_problem_.empty() != problem.empty()) {
    if (problem.empty()) log::Info("ingest: storage takes batches again");
    else log::Error(fmt::format("ingest: {}; agents keep their batches", problem));
  }
  storage_problem_ = problem;

  const uint64_t now = options_.clock->WallNs();
  for (const std::string& agent_id : group_agents_) {
    AgentChain& chain = *chains_[agent_id];
    if (durable.ok()) chain.Forget();
    else chain.Restore();
    Publish(agent_id, chain);
  }
  if (durable.ok()) roster_.Commit();
  else roster_.Rollback();
  if (durable.ok() && !hashes.empty()) on_durable_(first, hashes);
  {
    const std::lock_guard lock(mutex_);
    totals_.log_size = writer_->size();
    for (Pending& p : pending) {
      if (!p.appended) continue;
      if (durable.ok()) {
        ++totals_.batches;
        totals_.bytes += p.bytes;
      } else {
        ++totals_.retries;
      }
    }
    if (durable.ok()) {
      for (const std::string& agent_id : group_agents_) counters_[agent_id].last_received_wall_ns = now;
    }
  }
  for (Pending& p : pending) {
    if (p.greets != nullptr) p.answer = MakeWelcome(*p.greets);
    if (p.waits && !durable.ok()) {
      ServerMessage retry = MakeNack(ingest::v1::NACK_REASON_RETRY, durable.message());
      retry.mutable_nack()->set_epoch(p.answer.ack().epoch());
      retry.mutable_nack()->set_seq(p.answer.ack().seq());
      retry.mutable_nack()->set_batch_hash(p.answer.ack().batch_hash());
      p.answer = std::move(retry);
    }
    if (!p.answer.has_ack() || p.answer.ack().level() != ingest::v1::ACK_LEVEL_DURABLE) {
      p.sink->Answer(std::move(p.answer), p.bytes);
      continue;
    }
    const ingest::v1::Ack& ack = p.answer.ack();
    const AwaitedBatch awaited{ack.epoch(), ack.seq(), *trail::HashFromBytes(ack.batch_hash()), p.leaf_hash,
                               ack.log_index()};
    p.sink->Answer(std::move(p.answer), p.bytes);
    p.sink->Await(awaited);
  }
  for (const Entered& e : entered) e.done(e.log_index.ok() && !durable.ok() ? Result<uint64_t>(durable) : e.log_index);
  group_.clear();
  group_leaves_.clear();
  group_bodies_.clear();
  group_evictions_.clear();
  group_agents_.clear();
}

// Bodies first, and what stands in their place: a leaf whose body is missing
// would be evidence of a removal.
Status Committer::MakeDurable() {
  if (group_leaves_.empty()) return OkStatus();
  NT_RETURN_IF_ERROR(writer_->PutBodies(group_bodies_));
  NT_RETURN_IF_ERROR(writer_->PutEvictions(group_evictions_));
  return writer_->AppendLeaves(group_leaves_);
}

// One entry of the group. What it says holds for the batches behind it.
Committer::Entered Committer::CheckEntry(EntryRequest* request, const Status& room) {
  if (!room.ok()) return {std::move(request->done), room};
  trail::v1::LogEntry& entry = request->entry;
  entry.set_format_version(1);
  entry.set_tenant(options_.tenant);
  entry.set_wall_ns(options_.clock->WallNs());
  const uint64_t log_index = writer_->size() + group_leaves_.size();
  const auto chain = chains_.find(trail::AgentOf(entry));
  const trail::ChainHead* head =
      chain != chains_.end() && chain->second->head().known ? &chain->second->head() : nullptr;
  if (request->prepare) {
    const Before before{roster_.now(), roster_.retention(), head, log_index};
    if (Status s = request->prepare(before, &entry); !s.ok()) return {std::move(request->done), s};
  }
  auto leaf = roster_.Enter(entry, log_index);
  if (!leaf.ok()) return {std::move(request->done), leaf.status()};
  request->leaf = *std::move(leaf);
  group_leaves_.push_back(request->leaf);
  return {std::move(request->done), log_index};
}

// One item of the group: verified, and answered once the group is durable.
void Committer::CheckFrame(Item& item, const Status& room, std::vector<Pending>* pending) {
  AgentChain& chain = Chain(item.agent_id);
  Pending out{std::move(item.sink), {}, item.bytes};
  if (!item.frame) {
    // Filled once it is known what of this group is durable: the agent deletes
    // what a Welcome says we hold.
    out.greets = &chain;
    pending->push_back(std::move(out));
    return;
  }
  const ingest::v1::Frame& frame = *item.frame;
  if (!room.ok()) {
    out.answer = MakeNack(ingest::v1::NACK_REASON_RETRY, room.message());
    pending->push_back(std::move(out));
    const std::lock_guard lock(mutex_);
    ++totals_.retries;
    return;
  }
  if (!chain.saved()) {
    chain.Save();
    group_agents_.push_back(item.agent_id);
  }
  trail::CheckOptions options;
  options.allow_hole = frame.after_hole();
  std::optional<std::string_view> body = frame.body();
  if (!frame.eviction().empty()) {
    options.eviction = frame.eviction();
    if (frame.body().empty()) body.reset();
  }
  trail::ChainResult result = chain.Check(frame.leaf(), body, options);
  switch (result.verdict) {
    case trail::ChainVerdict::kAccept: {
      const uint64_t log_index = writer_->size() + group_leaves_.size();
      chain.Place(*result.leaf, log_index);
      roster_.Accept(result.leaf->header);
      group_leaves_.push_back(frame.leaf());
      if (!frame.body().empty()) {
        const auto hash = trail::HashFromBytes(result.leaf->header.body_sha256());
        NT_CHECK(hash.has_value());
        group_bodies_.emplace_back(*hash, frame.body());
      } else if (!frame.eviction().empty()) {
        const auto hash = trail::HashFromBytes(result.leaf->header.body_sha256());
        NT_CHECK(hash.has_value());
        group_evictions_.emplace_back(*hash, frame.eviction());
      }
      out.answer = MakeAck(*result.leaf, log_index);
      out.leaf_hash = trail::LeafHash(frame.leaf());
      out.appended = out.waits = true;
      for (const trail::ChainHole& hole : result.notes.holes) {
        log::Warn(fmt::format("ingest: {}: batches from {}:{} on never came; the trail shows the hole", item.agent_id,
                              hole.epoch, hole.from_seq));
      }
      if (result.notes.same_boot_restart) {
        log::Error(
            fmt::format("ingest: {}: new epoch {} in the same boot without a clean shutdown: the agent was killed "
                        "or restarted by force",
                        item.agent_id, result.leaf->header.epoch()));
      }
      break;
    }
    case trail::ChainVerdict::kDuplicate: {
      const auto log_index = chain.LogIndex(result.leaf->header.epoch(), result.leaf->header.seq());
      if (log_index) {
        out.answer = MakeAck(*result.leaf, *log_index);
        out.leaf_hash = trail::LeafHash(frame.leaf());
        // It may be of this very group, and not durable yet: then it shares the fate.
        out.waits = *log_index >= writer_->size();
        const std::lock_guard lock(mutex_);
        ++totals_.duplicates;
      } else {
        out.answer = MakeNack(ingest::v1::NACK_REASON_RETRY, "the log can't be read now");
        NamePosition(result.leaf, &out.answer);
      }
      break;
    }
    case trail::ChainVerdict::kOld: {
      if (chain.Lacks(result.leaf->header.epoch(), result.leaf->header.seq())) {
        out.answer = KeepLate(item.agent_id, frame, *result.leaf);
        // What makes it late may be of this group.
        out.waits = out.answer.has_ack();
        break;
      }
      // Long in the log, and this group has searched enough for this agent.
      out.answer = MakeNack(ingest::v1::NACK_REASON_RETRY, result.reason);
      NamePosition(result.leaf, &out.answer);
      break;
    }
    case trail::ChainVerdict::kAhead: {
      out.answer = MakeNack(ingest::v1::NACK_REASON_EXPECTED, result.reason);
      NamePosition(result.leaf, &out.answer);
      if (result.expected) {
        out.answer.mutable_nack()->set_expected_epoch(result.expected->epoch);
        out.answer.mutable_nack()->set_expected_seq(result.expected->seq);
      }
      break;
    }
    default: {
      Reject(item.agent_id, frame, result);
      out.answer = MakeNack(result.verdict == trail::ChainVerdict::kEquivocation ? ingest::v1::NACK_REASON_EQUIVOCATION
                                                                                 : ingest::v1::NACK_REASON_REJECTED,
                            fmt::format("{}: {}", trail::ChainVerdictName(result.verdict), result.reason));
      NamePosition(result.leaf, &out.answer);
      break;
    }
  }
  pending->push_back(std::move(out));
}

// Nothing ties it to the chain as well as the log does: it is evidence, and the
// hole stays a hole. It must be what the agent signed all the same.
ServerMessage Committer::KeepLate(const std::string& agent_id, const ingest::v1::Frame& frame,
                                  const trail::ParsedLeaf& leaf) {
  trail::ChainResult refused;
  refused.leaf = leaf;
  Status holds;
  if (NT_GUARD(late_signature, !trail::VerifyLeafSignature(leaf))) {
    refused.verdict = trail::ChainVerdict::kBadSignature;
    holds = InvalidArgument("the signature does not belong to header and signer_key");
  } else {
    const bool stored = frame.eviction().empty() || !frame.body().empty();
    Status fits = stored ? trail::CheckStoredBody(frame.body(), leaf.header)
                         : trail::CheckEviction(frame.eviction(), leaf.header, leaf.batch_hash, identity_cas_);
    if (NT_GUARD(late_body, !fits.ok())) holds = std::move(fits);
    refused.verdict = trail::ChainVerdict::kBadBody;
  }
  ServerMessage answer;
  if (!holds.ok()) {
    refused.reason = fmt::format("came late, and does not hold: {}", holds.message());
    Reject(agent_id, frame, refused);
    answer = MakeNack(ingest::v1::NACK_REASON_REJECTED,
                      fmt::format("{}: {}", trail::ChainVerdictName(refused.verdict), refused.reason));
    NamePosition(leaf, &answer);
    return answer;
  }
  const bool evicted = frame.body().empty() && !frame.eviction().empty();
  const auto kept = late_->TryKeep(
      agent_id, frame.leaf(), evicted ? frame.eviction() : frame.body(),
      fmt::format("late: {} lies in a hole: the log has what follows it{}", LeafName(leaf.header),
                  evicted ? "; instead of the body there is what the agent signed when it gave it up" : ""));
  if (!kept.ok() || !*kept) {
    answer = MakeNack(ingest::v1::NACK_REASON_RETRY,
                      kept.ok() ? fmt::format("{}/quarantine/late is full; look at what is there, and move it away",
                                              options_.trail_dir)
                                : std::string(kept.status().message()));
    NamePosition(leaf, &answer);
    return answer;
  }
  log::Warn(fmt::format("ingest: {}: the log has what follows it; it came late, and is kept in quarantine/late",
                        LeafName(leaf.header)));
  const std::lock_guard lock(mutex_);
  ++totals_.late;
  return MakeAck(leaf, 0, ingest::v1::ACK_LEVEL_KEPT);
}

void Committer::Reject(const std::string& agent_id, const ingest::v1::Frame& frame, const trail::ChainResult& result) {
  const bool equivocation = result.verdict == trail::ChainVerdict::kEquivocation;
  std::string reason = fmt::format("{}: {}", trail::ChainVerdictName(result.verdict), result.reason);
  const std::string where = result.leaf ? fmt::format("{}:{}", result.leaf->header.epoch(), result.leaf->header.seq())
                                        : std::string("unknown");
  log::Error(fmt::format("ingest: {}: batch {} {}: {}", agent_id, where,
                         equivocation ? "is evidence of equivocation, quarantined" : "rejected, quarantined", reason));
  if (const Status kept = quarantine_->Keep(agent_id, frame.leaf(), frame.body(), reason); !kept.ok()) {
    log::Error(fmt::format("ingest: quarantine: {}", kept.message()));
  }
  const std::lock_guard lock(mutex_);
  ++totals_.rejected;
  if (equivocation) ++totals_.equivocations;
  if (result.verdict == trail::ChainVerdict::kRevoked) ++totals_.revoked;
  ++counters_[agent_id].rejected;
}

void Committer::Publish(const std::string& agent_id, const AgentChain& chain) {
  const std::lock_guard lock(mutex_);
  AgentCounters& c = counters_[agent_id];
  c.epoch = chain.head().epoch;
  c.last_seq = chain.head().seq;
  c.batches = chain.batches();
  c.clean = chain.head().clean;
}

}  // namespace nodetrail::collector

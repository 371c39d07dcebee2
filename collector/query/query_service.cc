// SPDX-License-Identifier: Apache-2.0
#include "collector/query/query_service.h"

#include <fmt/format.h>
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <deque>
#include <map>
#include <optional>
#include <utility>

#include "collector/index/catalog.h"
#include "collector/index/search.h"
#include "collector/query/access.h"
#include "collector/query/expr/expr.h"
#include "collector/query/page_token.h"
#include "nodetrail/base/fd.h"
#include "nodetrail/base/guard.h"
#include "nodetrail/base/log.h"
#include "nodetrail/schema/text.h"
#include "nodetrail/trail/body.h"
#include "nodetrail/trail/log_entry.h"
#include "nodetrail/trail/note.h"

namespace nodetrail::collector {
namespace {

using query::v1::EventRow;
using std::chrono::milliseconds;

constexpr uint32_t kDefaultLimit = 1000;
constexpr uint32_t kMaxLimit = 1'000'000;
constexpr uint32_t kMaxBacklog = 10'000;
constexpr size_t kMaxShape = 4096;  // of a question, in the log
constexpr int kMaxSearches = 32;    // at a time; each holds a thread and a few files
// A tail that is further behind than this is moved to the end, and told.
constexpr uint64_t kMaxTailLag = 4096;  // leaves
constexpr auto kTailWait = milliseconds(500);
constexpr auto kBacklogWait = milliseconds(2000);

grpc::Status ToGrpc(const Status& status) {
  return {static_cast<grpc::StatusCode>(status.code()), std::string(status.message())};
}

// One of a bounded number of places, for as long as it lives.
class Slot {
 public:
  Slot(std::atomic<int>* used, int most) : used_(used), ok_(used->fetch_add(1) < most) {}
  ~Slot() { used_->fetch_sub(1); }
  Slot(const Slot&) = delete;
  Slot& operator=(const Slot&) = delete;
  [[nodiscard]] bool ok() const { return ok_; }

 private:
  std::atomic<int>* used_;
  bool ok_;
};

void FillRow(const LeafInfo& leaf, std::string_view event, std::string_view process, EventRow* out) {
  out->set_agent_id(leaf.agent_id);
  out->set_tenant(leaf.tenant);
  out->set_epoch(leaf.epoch);
  out->set_batch_seq(leaf.batch_seq);
  out->set_log_index(leaf.log_index);
  out->set_event(std::string(event));
  out->set_process(std::string(process));
  out->set_hostname(leaf.hostname);
  out->set_received_wall_ns(leaf.received_wall_ns);
}

// Of an agent that is configured as by default.
constexpr uint64_t kHeartbeatSeconds = 30;

class QueryServiceImpl final : public QueryService {
  // `Status` is one of the calls.
  using OurStatus = nodetrail::Status;

 public:
  explicit QueryServiceImpl(Options options) : options_(std::move(options)), index_(options_.indexer) {}

  void Shutdown() override { stopping_.store(true); }

  grpc::Status Search(grpc::ServerContext* context, const query::v1::SearchRequest* request,
                      grpc::ServerWriter<EventRow>* writer) override {
    trail::v1::Access access;
    if (OurStatus s = Authorize(*context, &access); !s.ok()) return ToGrpc(s);
    const Slot slot(&searches_, kMaxSearches);
    if (!slot.ok()) return {grpc::RESOURCE_EXHAUSTED, fmt::format("{} searches are running; try again", kMaxSearches)};
    return ToGrpc(RunSearch(context, *request, &access, writer));
  }

  grpc::Status Tail(grpc::ServerContext* context, const query::v1::TailRequest* request,
                    grpc::ServerWriter<EventRow>* writer) override {
    trail::v1::Access access;
    if (OurStatus s = Authorize(*context, &access); !s.ok()) return ToGrpc(s);
    const Slot slot(&tails_, static_cast<int>(options_.max_tails));
    if (!slot.ok()) return {grpc::RESOURCE_EXHAUSTED, fmt::format("{} tails are running; end one", options_.max_tails)};
    return ToGrpc(RunTail(context, *request, &access, writer));
  }

  grpc::Status Get(grpc::ServerContext* context, const query::v1::GetRequest* request,
                   query::v1::GetResponse* response) override {
    trail::v1::Access access;
    if (OurStatus s = Authorize(*context, &access); !s.ok()) return ToGrpc(s);
    return ToGrpc(NoteDamage(RunGet(request->event_id(), &access, response)));
  }

  grpc::Status Status(grpc::ServerContext* context, const query::v1::StatusRequest* /*request*/,
                      query::v1::StatusResponse* response) override {
    if (OurStatus s = Authorize(*context); !s.ok()) return ToGrpc(s);
    return ToGrpc(NoteDamage(RunStatus(response)));
  }

  grpc::Status Agents(grpc::ServerContext* context, const query::v1::AgentsRequest* request,
                      query::v1::AgentsResponse* response) override {
    if (OurStatus s = Authorize(*context); !s.ok()) return ToGrpc(s);
    if (!options_.inventory) return {grpc::UNIMPLEMENTED, "this collector has no inventory"};
    query::v1::StatusResponse status;
    if (OurStatus s = NoteDamage(RunStatus(&status)); !s.ok()) return ToGrpc(s);
    const uint64_t heartbeat_s = request->heartbeat_s() == 0 ? kHeartbeatSeconds : request->heartbeat_s();
    *response = options_.inventory(status, heartbeat_s * 1'000'000'000);
    return grpc::Status::OK;
  }

 private:
  // `access`: takes who it is.
  OurStatus Authorize(const grpc::ServerContext& context, trail::v1::Access* access = nullptr) const {
    const auto auth = context.auth_context();
    if (auth == nullptr || !auth->IsPeerAuthenticated()) return {Code::kUnauthenticated, "no client certificate"};
    std::vector<std::string> uris;
    for (const auto& uri : auth->FindPropertyValues("peer_uri")) uris.emplace_back(uri.data(), uri.size());
    NT_RETURN_IF_ERROR(AuthorizeReader(uris, options_.tenant).status());
    if (options_.admit) NT_RETURN_IF_ERROR(options_.admit(*auth));
    if (access == nullptr) return OkStatus();
    const auto pem = auth->FindPropertyValues("x509_pem_cert");
    if (pem.empty()) return {Code::kUnauthenticated, "no client certificate"};
    NT_ASSIGN_OR_RETURN(const auto certificate, trail::Certificate::FromPem({pem[0].data(), pem[0].size()}));
    access->set_reader(uris.front());
    access->set_certificate_sha256(trail::Bytes(trail::Sha256Of(certificate.Der())));
    return OkStatus();
  }

  // Nothing is answered before this is OK. `question`: all that was asked, its
  // parts at lengths of their own; `shape`: what of it may stand in the log.
  OurStatus EnterAccess(trail::v1::Access* access, std::string_view method, std::initializer_list<std::string> question,
                        std::string shape) const {
    std::string whole(method);
    for (const std::string& part : question) whole += fmt::format("\n{} {}", part.size(), part);
    access->set_method(std::string(method));
    access->set_shape(std::move(shape));
    access->set_question_hmac(trail::Bytes(trail::HmacSha256(trail::View(options_.question_key), whole)));
    if (!NT_GUARD(query_access, true)) return OkStatus();
    const OurStatus entered = options_.enter_access(*access);
    if (entered.ok()) return entered;
    log::Error(fmt::format("query: {}: not answered, for it can't be entered in the log: {}", access->reader(),
                           entered.message()));
    return Unavailable(fmt::format(
        "every read is entered in the log before it is answered, and this one could not be: {}", entered.message()));
  }

  // An index that turns out damaged is rebuilt; the caller may try again.
  OurStatus NoteDamage(OurStatus status) const {
    if (status.code() != Code::kDataLoss || status.message().find(index_->index_dir()) == std::string_view::npos)
      return status;
    index_->ReportDamage(std::string(status.message()));
    return Unavailable(
        fmt::format("the index is damaged and is being rebuilt from the log; try again ({})", status.message()));
  }

  [[nodiscard]] bool Ended(grpc::ServerContext* context) const { return stopping_.load() || context->IsCancelled(); }

  OurStatus WhyEnded(grpc::ServerContext* context) const {
    if (stopping_.load()) return Unavailable("the collector is stopping");
    if (std::chrono::system_clock::now() >= context->deadline())
      return {Code::kDeadlineExceeded, "search: deadline exceeded"};
    return Cancelled("search: cancelled by the reader");
  }

  OurStatus EnterSearch(trail::v1::Access* access, const query::v1::SearchRequest& request,
                        const expr::Node& query) const {
    const auto time = [](uint64_t ns) { return ns == 0 ? std::string("-") : schema::FormatTimeUtc(ns); };
    return EnterAccess(
        access, "Search",
        {request.expr(), fmt::format("{} {} {} {}", request.since_wall_ns(), request.until_wall_ns(), request.limit(),
                                     request.oldest_first())},
        fmt::format("{}; since {}; until {}; limit {}{}{}", expr::Shape(query, kMaxShape),
                    time(request.since_wall_ns()), time(request.until_wall_ns()), request.limit(),
                    request.oldest_first() ? "; oldest first" : "", request.page_token().empty() ? "" : "; next page"));
  }

  OurStatus RunSearch(grpc::ServerContext* context, const query::v1::SearchRequest& request, trail::v1::Access* access,
                      grpc::ServerWriter<EventRow>* writer) {
    PageToken token;
    token.now_ns = options_.clock->WallNs();
    SearchSpec spec;
    if (!request.page_token().empty()) {
      NT_ASSIGN_OR_RETURN(token, ParsePageToken(request.page_token(), request));
      spec.after = token.last;
    }
    NT_ASSIGN_OR_RETURN(const auto query, expr::Parse(request.expr(), token.now_ns));
    if (request.limit() > kMaxLimit) return InvalidArgument(fmt::format("limit: at most {}", kMaxLimit));
    const uint32_t limit = request.limit() == 0 ? kDefaultLimit : request.limit();
    NT_RETURN_IF_ERROR(EnterSearch(access, request, query));
    spec.query = &query;
    spec.since_wall_ns = request.since_wall_ns();
    spec.until_wall_ns = request.until_wall_ns();
    spec.oldest_first = request.oldest_first();
    spec.stop = [this, context] { return Ended(context); };
    spec.retired = options_.retired;

    // A row is held back until the next is found: only then is it known
    // whether it is the last of all, or of the page.
    std::optional<EventRow> held;
    RowKey held_key;
    uint32_t rows = 0;
    bool gone = false;
    const auto found =
        nodetrail::collector::Search(index_->index_dir(), index_->bodies(), spec, [&](const FoundRow& row) {
          if (held && rows == limit) {
            token.last = held_key;
            held->set_next_page_token(FormatPageToken(token, request));
            return false;
          }
          if (held && !writer->Write(*held)) {
            gone = true;
            return false;
          }
          held.emplace();
          held_key = row.key;
          FillRow(row.leaf, row.event_bytes, row.process_bytes, &*held);
          ++rows;
          return true;
        });
    if (gone || found.status().code() == Code::kCancelled) return WhyEnded(context);
    NT_RETURN_IF_ERROR(NoteDamage(found.status()));
    if (found->unreadable > 0) {
      log::Error(fmt::format("query: {} bodies could not be read, first: {}", found->unreadable, found->first_problem));
    }
    if (held && !writer->Write(*held)) return WhyEnded(context);
    if (found->retired > 0) {
      EventRow notice;
      notice.set_retired_events(found->retired);
      if (!writer->Write(notice)) return WhyEnded(context);
    }
    return OkStatus();
  }

  // Follows the log by position. A slow reader's stream blocks here, in Write,
  // and nothing is queued for it; when it is too far behind it is moved on.
  OurStatus RunTail(grpc::ServerContext* context, const query::v1::TailRequest& request, trail::v1::Access* access,
                    grpc::ServerWriter<EventRow>* writer) {
    NT_ASSIGN_OR_RETURN(const auto query, expr::Parse(request.expr(), options_.clock->WallNs()));
    if (request.backlog() > kMaxBacklog) return InvalidArgument(fmt::format("backlog: at most {}", kMaxBacklog));
    NT_RETURN_IF_ERROR(EnterAccess(access, "Tail", {request.expr(), fmt::format("{}", request.backlog())},
                                   fmt::format("{}; backlog {}", expr::Shape(query, kMaxShape), request.backlog())));
    uint64_t next = index_->GetProgress().log_size;
    writer->SendInitialMetadata();
    if (request.backlog() > 0) NT_RETURN_IF_ERROR(SendBacklog(context, query, request.backlog(), next, writer));
    std::map<std::string, std::string> hostnames;
    while (!Ended(context)) {
      const uint64_t size = index_->WaitForLog(next, kTailWait);
      if (next < size) NT_RETURN_IF_ERROR(Authorize(*context));  // it may have been revoked since
      if (size - std::min(next, size) > kMaxTailLag) {
        NT_ASSIGN_OR_RETURN(auto notice, SkipTo(size, &next));
        if (!writer->Write(notice)) return WhyEnded(context);
      }
      for (; next < size && !Ended(context); ++next) {
        NT_ASSIGN_OR_RETURN(const bool open, SendLeaf(next, query, &hostnames, writer));
        if (!open) return WhyEnded(context);
      }
    }
    return WhyEnded(context);
  }

  OurStatus SendBacklog(grpc::ServerContext* context, const expr::Node& query, uint32_t backlog, uint64_t log_size,
                        grpc::ServerWriter<EventRow>* writer) {
    // What is in the log already, but not yet in the index, belongs to it.
    index_->WaitIndexed(log_size, kBacklogWait).Ignore();
    SearchSpec spec;
    spec.query = &query;
    spec.stop = [this, context] { return Ended(context); };
    std::deque<EventRow> rows;
    const auto found =
        nodetrail::collector::Search(index_->index_dir(), index_->bodies(), spec, [&](const FoundRow& row) {
          if (row.leaf.log_index >= log_size) return true;  // comes by the log
          FillRow(row.leaf, row.event_bytes, row.process_bytes, &rows.emplace_front());
          return rows.size() < backlog;
        });
    NT_RETURN_IF_ERROR(NoteDamage(found.status()));
    for (const auto& row : rows) {
      if (!writer->Write(row)) return WhyEnded(context);
    }
    return OkStatus();
  }

  // The notice of what is passed over: counted from the leaves, not guessed.
  Result<EventRow> SkipTo(uint64_t size, uint64_t* next) {
    EventRow notice;
    uint64_t events = 0;
    uint64_t batches = 0;
    for (; *next < size; ++*next) {
      NT_ASSIGN_OR_RETURN(const auto bytes, index_->bodies()->Leaf(*next));
      if (trail::IsLogEntry(bytes)) continue;
      ++batches;
      const auto leaf = trail::ParseLeaf(bytes);
      if (leaf.ok()) events += leaf->header.event_count();
    }
    notice.set_skipped_batches(batches);
    notice.set_skipped_events(events);
    return notice;
  }

  // False: the reader is gone.
  Result<bool> SendLeaf(uint64_t index, const expr::Node& query, std::map<std::string, std::string>* hostnames,
                        grpc::ServerWriter<EventRow>* writer) {
    NT_ASSIGN_OR_RETURN(const auto bytes, index_->bodies()->Leaf(index));
    const auto parsed = trail::ParseLeaf(bytes);
    if (!parsed.ok()) return true;
    LeafInfo leaf = LeafInfo::Of(index, parsed->header);
    const auto opened = index_->bodies()->Open(leaf);
    if (!opened.ok()) {
      log::Error(fmt::format("tail: leaf {}: {}", index, opened.status().ToString()));
      return true;
    }
    const OpenBatch& batch = **opened;
    leaf.received_wall_ns = index_->bodies()->ReceivedWallNs(leaf.body_sha256);
    leaf.hostname = Hostname(batch.batch(), hostnames);
    const auto facts = leaf.Facts();
    event::v1::Event event;
    EventRow row;
    for (int i = 0; i < batch.batch().events_size(); ++i) {
      if (!batch.Event(static_cast<size_t>(i), &event)) continue;
      const auto actor = batch.Actor(event);
      if (!expr::Matches(query, schema::EventView{event, actor.process, facts})) continue;
      FillRow(leaf, batch.batch().events(i), actor.bytes, &row);
      if (!writer->Write(row)) return false;
    }
    return true;
  }

  // The host record came with an earlier batch of the epoch, or comes with this one.
  std::string Hostname(const event::v1::EventBatch& batch, std::map<std::string, std::string>* known) const {
    const auto it = known->find(batch.host_sha256());
    if (it != known->end()) return it->second;
    std::string bytes = batch.host();
    if (bytes.empty() && !batch.host_sha256().empty()) {
      auto catalog = Catalog::Open(index_->index_dir(), Db::Mode::kReadOnly);
      if (catalog.ok()) bytes = catalog->HostBySha(batch.host_sha256()).value_or(std::string());
    }
    event::v1::Host host;
    if (bytes.empty() || !host.ParseFromString(bytes)) return {};
    if (known->size() > 10'000) known->clear();
    return (*known)[batch.host_sha256()] = host.hostname();
  }

  OurStatus RunGet(const std::string& text, trail::v1::Access* access, query::v1::GetResponse* out) {
    const auto id = schema::ParseEventId(text);
    if (!id)
      return InvalidArgument(
          fmt::format("event id: '{}' is not AGENT:EPOCH:SEQ, e.g. web-1:3:1057", schema::EscapeInvalidUtf8(text)));
    NT_RETURN_IF_ERROR(
        EnterAccess(access, "Get", {text}, fmt::format("event {}:{}:{}", id->agent_id, id->epoch, id->seq)));
    NT_ASSIGN_OR_RETURN(auto catalog, Catalog::Open(index_->index_dir(), Db::Mode::kReadOnly));
    NT_ASSIGN_OR_RETURN(const auto leaf, catalog.FindEvent(id->agent_id, id->epoch, id->seq));
    if (!leaf) return NotFound(fmt::format("no event {} in this trail (or it is not indexed yet)", text));
    if (options_.retired && options_.retired(leaf->log_index) && !index_->bodies()->Has(leaf->body_sha256)) {
      return NotFound(fmt::format("event {}: its body was deleted by rule; leaf {} remains", text, leaf->log_index));
    }
    NT_ASSIGN_OR_RETURN(const auto batch, index_->bodies()->Open(*leaf));
    event::v1::Event event;
    for (int i = 0; i < batch->batch().events_size(); ++i) {
      if (!batch->Event(static_cast<size_t>(i), &event) || event.seq() != id->seq) continue;
      FillRow(*leaf, batch->batch().events(i), batch->Actor(event).bytes, out->mutable_row());
      return AddProof(&catalog, *leaf, batch->batch(), static_cast<uint64_t>(i), out);
    }
    return NotFound(fmt::format("event {} was withheld by a rule: its number is used, its record was not kept", text));
  }

  OurStatus AddProof(Catalog* catalog, const LeafInfo& leaf, const event::v1::EventBatch& batch, uint64_t ordinal,
                     query::v1::GetResponse* out) {
    NT_ASSIGN_OR_RETURN(*out->mutable_leaf(), index_->bodies()->Leaf(leaf.log_index));
    NT_ASSIGN_OR_RETURN(const auto proof, trail::ProveRecord(batch, trail::EventRecordIndex(batch, ordinal)));
    out->set_record_index(static_cast<uint32_t>(proof.index));
    out->set_record_count(static_cast<uint32_t>(proof.size));
    for (const auto& hash : proof.path) out->add_record_path(trail::Bytes(hash));
    NT_ASSIGN_OR_RETURN(*out->mutable_host(), catalog->HostBytes(leaf.log_index));
    auto note = ReadFile(options_.trail_dir + "/log/checkpoint", trail::kMaxNoteBytes);
    if (note.status().code() == Code::kNotFound) return OkStatus();
    NT_RETURN_IF_ERROR(note.status());
    NT_ASSIGN_OR_RETURN(const auto parsed, trail::ParseNote(*note));
    NT_ASSIGN_OR_RETURN(const auto checkpoint, trail::ParseCheckpointBody(parsed.text));
    out->set_checkpoint(*note);
    out->set_tree_size(checkpoint.size);
    // Not under it yet: the next one, within seconds, covers it.
    if (leaf.log_index >= checkpoint.size) return OkStatus();
    NT_ASSIGN_OR_RETURN(const auto position, catalog->GetPosition());
    if (position.leaves < checkpoint.size) {
      index_->WaitIndexed(checkpoint.size, kBacklogWait).Ignore();
    }
    NT_ASSIGN_OR_RETURN(const auto path, catalog->InclusionProof(leaf.log_index, checkpoint.size));
    for (const auto& hash : path) out->add_log_path(trail::Bytes(hash));
    return OkStatus();
  }

  OurStatus RunStatus(query::v1::StatusResponse* out) {
    const auto progress = index_->GetProgress();
    out->set_version(options_.version);
    out->set_trail_dir(options_.trail_dir);
    out->set_log_size(progress.log_size);
    out->set_index_leaves(progress.indexed);
    out->set_index_lag_seconds(progress.lag_seconds);
    if (auto catalog = Catalog::Open(index_->index_dir(), Db::Mode::kReadOnly); catalog.ok()) {
      NT_RETURN_IF_ERROR(catalog->FillStatus(out));
    }
    if (options_.collector_status) options_.collector_status(out);
    return OkStatus();
  }

  const Options options_;
  Indexer* const index_;
  std::atomic<bool> stopping_{false};
  std::atomic<int> searches_{0};
  std::atomic<int> tails_{0};
};

}  // namespace

std::unique_ptr<QueryService> QueryService::Create(Options options) {
  NT_CHECK(options.indexer != nullptr && options.clock != nullptr && options.enter_access != nullptr);
  return std::make_unique<QueryServiceImpl>(std::move(options));
}

}  // namespace nodetrail::collector

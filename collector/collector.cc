// SPDX-License-Identifier: Apache-2.0
#include "collector/collector.h"

#include <fmt/format.h>
#include <grpcpp/ext/health_check_service_server_builder_option.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <set>
#include <utility>

#include "collector/admin/admin_commands.h"
#include "collector/admin/admin_handler.h"
#include "collector/admin/admin_socket.h"
#include "collector/enrol/enrol_service.h"
#include "collector/enrol/trust_domain.h"
#include "collector/index/indexer.h"
#include "collector/ingest/committer.h"
#include "collector/ingest/ingest_service.h"
#include "collector/ingest/peer_gate.h"
#include "collector/ingest/receipt_issuer.h"
#include "collector/query/inventory.h"
#include "collector/query/query_service.h"
#include "collector/retention/retention_job.h"
#include "collector/retention/rule_gate.h"
#include "collector/witness/witness_policy.h"
#include "collector/witness/witness_set.h"
#include "nodetrail/base/fd.h"
#include "nodetrail/base/log.h"
#include "nodetrail/base/revocation.h"
#include "nodetrail/base/tls_files.h"
#include "nodetrail/base/version.h"
#include "nodetrail/trail/crypto.h"

namespace nodetrail::collector {
namespace {

using std::chrono::milliseconds;

constexpr size_t kMaxCaBytes = 1U << 20;
// What gRPC may hold for all peers together before it slows them down.
constexpr size_t kGrpcMemory = 512U << 20;
// Query is answered on threads of gRPC's; tails and searches hold one each.
constexpr int kGrpcThreads = 256;
constexpr unsigned kCertificateRefreshSeconds = 2;
// The same for those who ask to be enrolled.
constexpr size_t kEnrolMemory = 32U << 20;
constexpr int kEnrolThreads = 16;

struct HostPort {
  std::string host;
  std::string port;
};

std::optional<HostPort> SplitListen(const std::string& listen) {
  const size_t colon = listen.rfind(':');
  if (colon == std::string::npos || colon == 0) return std::nullopt;
  HostPort out{listen.substr(0, colon), listen.substr(colon + 1)};
  if (out.host.front() == '[' && out.host.back() == ']') out.host = out.host.substr(1, out.host.size() - 2);
  unsigned port = 0;
  const char* end = out.port.data() + out.port.size();
  const auto [at, ec] = std::from_chars(out.port.data(), end, port);
  if (ec != std::errc() || at != end || port > 65535 || out.host.empty()) return std::nullopt;
  return out;
}

// gRPC says only that it could not listen: bind once ourselves to learn why.
Status ProbeListen(const std::string& listen) {
  const std::optional<HostPort> to = SplitListen(listen);
  if (!to) return InvalidArgument(fmt::format("listen: {}: not host:port", listen));
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* list = nullptr;
  if (const int rc = getaddrinfo(to->host.c_str(), to->port.c_str(), &hints, &list); rc != 0) {
    return InvalidArgument(fmt::format("listen: {}: {}; use an address of this node", listen, gai_strerror(rc)));
  }
  Status status;
  for (const addrinfo* a = list; a != nullptr && status.ok(); a = a->ai_next) {
    const UniqueFd fd(socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol));
    if (!fd.valid()) continue;
    const int on = 1;
    setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(fd.get(), a->ai_addr, a->ai_addrlen) == 0 && ::listen(fd.get(), 1) == 0) continue;
    const int err = errno;
    const char* fix = "check listen";
    if (err == EADDRINUSE) fix = "another process has the port: stop it, or set another port";
    if (err == EADDRNOTAVAIL) fix = "it is not an address of this node";
    if (err == EACCES) fix = "ports below 1024 need CAP_NET_BIND_SERVICE";
    status = Unavailable(fmt::format("listen: {}: {}; {}", listen, ErrnoName(err), fix));
  }
  freeaddrinfo(list);
  return status;
}

// `clients` false: a port for those that have no certificate yet.
std::shared_ptr<grpc::ServerCredentials> MakeCredentials(const config::v1::Tls& tls, bool clients = true) {
  auto provider = std::make_shared<grpc::experimental::FileWatcherCertificateProvider>(
      tls.key_file(), tls.cert_file(), tls.ca_file(), kCertificateRefreshSeconds);
  grpc::experimental::TlsServerCredentialsOptions options(provider);
  if (clients) options.watch_root_certs();
  options.watch_identity_key_cert_pairs();
  options.set_cert_request_type(clients ? GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY
                                        : GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE);
  // The name in a client's certificate is an identity, not a host; ingest and
  // query read it from the URI SAN themselves.
  options.set_check_call_host(false);
  return grpc::experimental::TlsServerCredentials(options);
}

}  // namespace

void CheckConfig(const config::v1::CollectorConfig& config, ConfigReport& report) {
  if (!trail::ValidId(config.tenant()))
    report.Add("tenant", "1 to 64 letters, digits, '.', '_', '-', not beginning with '.'");
  if (!trail::ValidNoteName(config.log_origin())) {
    report.Add("log_origin", "a name without spaces, control characters and '+', e.g. trail.example.com/default");
  }
  if (!SplitListen(config.listen())) report.Add("listen", "must be host:port, e.g. 127.0.0.1:7443 or [::1]:7443");
  if (config.has_witness() && !config.witness().policy_file().empty()) {
    const auto policy = LoadWitnessPolicy(config.witness().policy_file());
    if (!policy.ok()) report.Add("witness.policy_file", policy.status().message());
  }
  if (config.has_retention() && !trail::ValidId(config.retention().policy())) {
    report.Add("retention.policy", "1 to 64 letters, digits, '.', '_', '-', not beginning with '.'");
  }
  if (config.has_enrol()) {
    const config::v1::CollectorConfig::Enrol& enrol = config.enrol();
    if (!SplitListen(enrol.listen())) report.Add("enrol.listen", "must be host:port, e.g. 127.0.0.1:7444");
    if (!trail::ParseSpiffeId(fmt::format("spiffe://{}/t/x/a/x", enrol.trust_domain())).ok()) {
      report.Add("enrol.trust_domain", "lower-case letters, digits, '.', '_', '-', e.g. example.org");
    }
  }
}

class Collector::Impl {
 public:
  Impl(const config::v1::CollectorConfig& config, const Clock* clock) : config_(config), clock_(clock) {}
  ~Impl() { Stop(milliseconds(1000)); }

  Failure Start() {
    if (Status s = OpenKeys(); !s.ok()) return {ExitCode::kKeys, s};
    if (Failure f = OpenTrail(); !f.status.ok()) return f;
    if (Status s = OpenEnrolment(); !s.ok()) return {ExitCode::kKeys, s};
    if (Status s = ServeEnrolment(); !s.ok()) return {ExitCode::kConfig, s};
    std::set<uid_t> officers;
    for (const std::string& name : config_.hold_officers()) {
      const auto user = UserOf(name);
      if (!user.ok()) return {ExitCode::kConfig, Annotate(user.status(), "hold_officers")};
      officers.insert(*user);
    }
    auto admin = AdminSocket::Open(
        AdminSocketPath(config_), officers,
        [this](const enrol::v1::AdminRequest& request, uid_t uid) { return admin_->Handle(request, uid); });
    if (admin.ok()) {
      admin_socket_ = std::move(*admin);
    } else if (config_.admin_socket().empty()) {
      // Nobody asked for it by name: no reason not to collect.
      log::Warn(fmt::format("{}; token, revoke and hold need it: set admin_socket", admin.status().message()));
    } else {
      return {ExitCode::kConfig, admin.status()};
    }
    if (Status s = OpenRetention(); !s.ok()) return {ExitCode::kStorage, s};
    // Last: who gets an answer here may count on the rest.
    if (Status s = Serve(); !s.ok()) return {ExitCode::kConfig, s};
    if (!config_.pid_file().empty()) {
      const Status s = WriteFileAtomically(config_.pid_file(), fmt::format("{}\n", getpid()), 0644);
      if (!s.ok()) return {ExitCode::kConfig, Annotate(s, "pid_file")};
      wrote_pid_ = true;
    }
    return {};
  }

  void Stop(milliseconds timeout) {
    if (stopped_) return;
    stopped_ = true;
    const auto deadline = std::chrono::system_clock::now() + timeout;
    admin_socket_.reset();
    if (retention_) retention_->Stop();
    if (enrol_server_) {
      enrol_server_->Shutdown(deadline);
      enrol_server_->Wait();
    }
    if (server_) {
      if (auto* health = server_->GetHealthCheckService()) health->SetServingStatus(false);
      // What was received is committed, signed and answered before the streams end.
      if (committer_) committer_->Stop();
      if (sequencer_) sequencer_->Stop();
      if (receipts_) receipts_->Stop();
      if (ingest_) ingest_->Shutdown();
      if (query_) query_->Shutdown();
      server_->Shutdown(deadline);
      server_->Wait();
    }
    if (committer_) committer_->Stop();
    if (sequencer_) sequencer_->Stop();
    if (receipts_) receipts_->Stop();
    if (indexer_) indexer_->Stop();
    if (wrote_pid_) ::unlink(config_.pid_file().c_str());
  }

  Status OpenKeys() {
    const config::v1::Tls& tls = config_.tls();
    NT_RETURN_IF_ERROR(LoadTlsFiles({tls.ca_file(), tls.cert_file(), tls.key_file()}, clock_->WallNs()).status());
    revocations_ = std::make_unique<RevocationFile>(config_.crl_file(), tls.ca_file());
    NT_RETURN_IF_ERROR(revocations_->Refresh());
    gate_ = std::make_unique<PeerGate>(revocations_.get(), clock_);
    NT_ASSIGN_OR_RETURN(const std::string pem, ReadFile(config_.identity_ca_file(), kMaxCaBytes));
    auto cas = trail::CaSet::FromPem(pem);
    if (!cas.ok()) {
      return Status(cas.status().code(),
                    fmt::format("identity_ca_file: {}: {}; put the PEM of the enrolling authority there",
                                config_.identity_ca_file(), cas.status().message()));
    }
    identity_cas_ = std::make_unique<trail::CaSet>(*std::move(cas));
    NT_ASSIGN_OR_RETURN(LogSigner signer, LogSigner::Load(config_.log_key_file(), config_.log_origin()));
    if (!config_.log_key_next_file().empty()) NT_RETURN_IF_ERROR(signer.LoadNext(config_.log_key_next_file()));
    signer_ = std::make_unique<LogSigner>(std::move(signer));
    return OkStatus();
  }

  // Before the sequencer: it asks them.
  Failure OpenWitnesses() {
    if (!config_.has_witness()) return {};
    const std::string& file = config_.witness().policy_file();
    auto named = LoadWitnessPolicy(file);
    if (!named.ok()) return {ExitCode::kConfig, Annotate(named.status(), "witness.policy_file")};
    auto policy = PolicyOfLog(*named, signer_->verifier);
    if (!policy.ok()) {
      return {ExitCode::kConfig, Annotate(policy.status(), fmt::format("witness.policy_file: {}", file))};
    }
    policy_ = std::make_unique<trail::LogPolicy>(*std::move(policy));
    auto poster = MakeCurlPoster(config_.witness().ca_file());
    if (!poster.ok()) return {ExitCode::kInternal, poster.status()};
    auto witnesses =
        WitnessSet::Open({config_.trail_dir() + "/log/witnesses", milliseconds(config_.witness().timeout_ms()), clock_},
                         PeersOf(*policy_), *std::move(poster));
    if (!witnesses.ok()) return {ExitCode::kStorage, witnesses.status()};
    witnesses_ = std::move(*witnesses);
    return {};
  }

  // One pass over the log gives chains and root; then nothing is taken on
  // trust of memory that was not checked against what was signed.
  Failure OpenTrail() {
    const std::string& dir = config_.trail_dir();
    Committer::Options options;
    options.trail_dir = dir;
    options.tenant = config_.tenant();
    options.min_free_bytes = config_.min_free_bytes();
    options.segment_bytes = config_.log_segment_bytes() > 0 ? config_.log_segment_bytes() : trail::kLeafSegmentBytes;
    options.clock = clock_;
    receipts_ = std::make_unique<ReceiptIssuer>(dir);
    options.log_key = signer_->key.public_key();
    options.enrol_required = config_.enrol_required();
    options.sign_entry = [this](const trail::v1::LogEntry& entry) { return sequencer_->SignEntry(entry); };
    Failure failure;
    auto on_replay = [this](std::string_view leaf) { return sequencer_->Replay(leaf); };
    auto committer = Committer::Open(
        options, *identity_cas_,
        [&]() -> Status {
          if (Failure f = OpenWitnesses(); !f.status.ok()) {
            failure.code = f.code;
            return f.status;
          }
          Sequencer::Options sequencing;
          sequencing.trail_dir = dir;
          sequencing.interval = milliseconds(config_.checkpoint_interval_ms());
          sequencing.cosigner = witnesses_.get();
          sequencing.on_published = [this](const trail::Checkpoint& checkpoint, const std::string& note) {
            receipts_->Published(checkpoint, note);
          };
          auto sequencer = Sequencer::Open(std::move(sequencing), std::move(*signer_));
          if (!sequencer.ok()) {
            failure.code =
                sequencer.status().code() == Code::kFailedPrecondition ? ExitCode::kKeys : ExitCode::kStorage;
            return sequencer.status();
          }
          sequencer_ = std::move(*sequencer);
          return OkStatus();
        },
        on_replay);
    if (!committer.ok()) {
      if (failure.code == ExitCode::kOk) failure.code = ExitCode::kStorage;
      failure.status = committer.status();
      return failure;
    }
    committer_ = std::move(*committer);
    if (Status s = sequencer_->ReplayDone(); !s.ok()) return {ExitCode::kStorage, s};
    if (Status s = sequencer_->AskWitnesses(); !s.ok()) return {ExitCode::kStorage, s};
    Indexer::Options index;
    index.trail_dir = dir;
    index.partition_hours = config_.index().partition_hours();
    index.clock = clock_;
    index.retired = [this](uint64_t leaf) { return committer_->Retained()->Names(leaf); };
    auto indexer = Indexer::Open(std::move(index));
    if (!indexer.ok()) return {ExitCode::kStorage, indexer.status()};
    indexer_ = std::move(*indexer);
    indexer_->Start();
    indexer_->Notify(committer_->Totals().log_size);
    receipts_->Start();
    sequencer_->Start();
    committer_->Start([this](uint64_t first, std::span<const trail::Hash> leaf_hashes) {
      sequencer_->Appended(first, leaf_hashes);
      indexer_->Notify(first + leaf_hashes.size());
    });
    return {};
  }

  // Authorities and tokens, if this collector enrols.
  Status OpenEnrolment() {
    if (config_.has_enrol()) {
      const config::v1::CollectorConfig::Enrol& enrol = config_.enrol();
      if (const Status s = CheckTrustDomain(config_); !s.ok()) log::Warn(s.message());
      NT_ASSIGN_OR_RETURN(Issuer identity, Issuer::Load(enrol.identity_ca_cert_file(), enrol.identity_ca_key_file(),
                                                        "enrol.identity_ca_key_file"));
      NT_ASSIGN_OR_RETURN(Issuer tls,
                          Issuer::Load(enrol.tls_ca_cert_file(), enrol.tls_ca_key_file(), "enrol.tls_ca_key_file"));
      const auto authority = trail::Certificate::FromPem(identity.cert_pem());
      if (!authority.ok() || !identity_cas_->Verify(*authority, {}).ok()) {
        return FailedPrecondition(
            fmt::format("enrol.identity_ca_cert_file: {}: not an authority of identity_ca_file: the collector would "
                        "refuse whom it enrols; add it there",
                        enrol.identity_ca_cert_file()));
      }
      NT_ASSIGN_OR_RETURN(tokens_, TokenStore::Open(config_.trail_dir() + "/enrol", clock_));
      Enroller::Options options;
      options.config = enrol;
      options.tenant = config_.tenant();
      options.log_public_key = sequencer_->verifier().ToString();
      options.clock = clock_;
      enroller_ = std::make_unique<Enroller>(std::move(options), std::move(identity), std::move(tls), tokens_.get(),
                                             committer_.get());
      renewal_ = std::make_unique<RenewalService>(config_.tenant(), enroller_.get(), gate_.get());
      enrolment_ = std::make_unique<EnrolmentService>(enroller_.get());
    }
    admin_ = std::make_unique<AdminHandler>(tokens_.get(), committer_.get(), config_.trail_dir(), clock_);
    return OkStatus();
  }

  Status OpenRetention() {
    NT_RETURN_IF_ERROR(AdmitRule(config_.trail_dir(), config_.has_retention() ? config_.retention().max_age_d() : 0,
                                 committer_.get()));
    if (!config_.has_retention()) return OkStatus();
    const config::v1::CollectorConfig::Retention& rule = config_.retention();
    RetentionJob::Options options;
    options.trail_dir = config_.trail_dir();
    options.policy = rule.policy();
    options.max_age_ns = uint64_t{rule.max_age_d()} * 86'400'000'000'000;
    options.clock = clock_;
    options.covered = [this] { return sequencer_->GetHead().size; };
    options.forget = [this](const trail::Hash& sha256) { indexer_->bodies()->Forget(sha256); };
    NT_ASSIGN_OR_RETURN(retention_, RetentionJob::Open(std::move(options), committer_.get()));
    retention_->Start(std::chrono::seconds(rule.interval_s()));
    return OkStatus();
  }

  // A server of its own: nobody on that port can reach what needs a certificate.
  Status ServeEnrolment() {
    if (!enroller_) return OkStatus();
    const std::string& listen = config_.enrol().listen();
    NT_RETURN_IF_ERROR(Annotate(ProbeListen(listen), "enrol"));
    grpc::ServerBuilder builder;
    builder.AddListeningPort(listen, MakeCredentials(config_.tls(), false), &enrol_port_);
    builder.RegisterService(enrolment_.get());
    builder.SetMaxReceiveMessageSize(kMaxEnrolMessageBytes);
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, 4);
    builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, 8 * 1024);
    builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, 10'000);
    builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_MS, 60'000);
    grpc::ResourceQuota quota("enrol");
    quota.Resize(kEnrolMemory);
    quota.SetMaxThreads(kEnrolThreads);
    builder.SetResourceQuota(quota);
    enrol_server_ = builder.BuildAndStart();
    if (!enrol_server_ || enrol_port_ == 0) {
      return Unavailable(fmt::format("enrol.listen: {}: gRPC can't serve there; check enrol.listen", listen));
    }
    return OkStatus();
  }

  Status Serve() {
    NT_RETURN_IF_ERROR(ProbeListen(config_.listen()));
    ingest_ = std::make_unique<IngestService>(config_.tenant(), committer_.get(), receipts_.get(), gate_.get());
    QueryService::Options query;
    query.indexer = indexer_.get();
    query.clock = clock_;
    query.trail_dir = config_.trail_dir();
    query.tenant = config_.tenant();
    query.version = kVersion;
    query.admit = [this](const grpc::AuthContext& peer) { return gate_->Admit(peer); };
    query.retired = [this](uint64_t leaf) { return committer_->Retained()->Names(leaf); };
    query.question_key = sequencer_->SecretFor("questions");
    query.enter_access = [this](const trail::v1::Access& access) { return EnterAccess(access); };
    query.collector_status = [this](query::v1::StatusResponse* response) { FillStatus(response); };
    query.inventory = [this](const query::v1::StatusResponse& status, uint64_t heartbeat_ns) {
      std::set<std::string> stopped;
      for (const IngestAgent& agent : ingest_->Agents()) {
        if (agent.clean) stopped.insert(agent.agent_id);
      }
      const auto enrolments = committer_->Enrolled();
      return BuildInventory({&status, enrolments.get(), &stopped, clock_->WallNs(), heartbeat_ns});
    };
    query_ = QueryService::Create(std::move(query));
    grpc::EnableDefaultHealthCheckService(true);
    grpc::ServerBuilder builder;
    builder.AddListeningPort(config_.listen(), MakeCredentials(config_.tls()), &port_);
    builder.RegisterService(ingest_.get());
    builder.RegisterService(query_.get());
    if (renewal_) builder.RegisterService(renewal_.get());
    builder.SetMaxReceiveMessageSize(kMaxIngestMessageBytes);
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, 64);
    builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, 16 * 1024);
    builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, 10'000);
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 30'000);
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
    builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 5'000);
    grpc::ResourceQuota quota("collector");
    quota.Resize(kGrpcMemory);
    quota.SetMaxThreads(kGrpcThreads);
    builder.SetResourceQuota(quota);
    server_ = builder.BuildAndStart();
    if (!server_ || port_ == 0) {
      return Unavailable(
          fmt::format("listen: {}: gRPC can't serve there; check listen and the TLS files", config_.listen()));
    }
    return OkStatus();
  }

  // In the log, durable, or why not. Joins the group that is committed next.
  Status EnterAccess(const trail::v1::Access& access) {
    trail::v1::LogEntry entry;
    *entry.mutable_access() = access;
    return committer_->EnterAndWait(std::move(entry)).status();
  }

  // What the published checkpoint is worth under the policy; null: there is no
  // policy. Any thread.
  std::optional<trail::PolicyVerdict> Verdict(const Sequencer::Head& at) const {
    if (!policy_ || at.note.empty()) return std::nullopt;
    auto verdict = policy_->Examine(at.note);
    if (!verdict.ok()) return std::nullopt;
    return *std::move(verdict);
  }

  void FillWitnesses(const Sequencer::Head& at, query::v1::StatusResponse* response) const {
    if (!witnesses_) return;
    response->set_uncosigned_checkpoints(at.uncosigned);
    if (const auto verdict = Verdict(at)) {
      response->set_quorum(verdict->quorum);
      response->set_quorum_shortfall(verdict->shortfall);
    }
    for (const WitnessStatus& witness : witnesses_->GetStatus()) {
      auto* out = response->add_witnesses();
      out->set_name(witness.name);
      out->set_url(witness.url);
      out->set_size(witness.size);
      out->set_cosigned_wall_s(witness.cosigned_wall_s);
      out->set_current(witness.current);
      out->set_failures(witness.failures);
      out->set_rollbacks(witness.rollbacks);
      out->set_problem(witness.problem);
    }
  }

  // What only we know of a StatusResponse. Any thread.
  void FillStatus(query::v1::StatusResponse* response) const {
    const IngestTotals totals = ingest_->Totals();
    const Sequencer::Head at = sequencer_->GetHead();
    response->set_log_size(totals.log_size);
    response->set_checkpoint_size(at.size);
    response->set_root(trail::Bytes(at.root));
    response->set_quarantined(totals.quarantined);
    response->set_late_batches(totals.late_kept);
    response->set_disk_free_bytes(committer_->disk().FreeBytes().value_or(uint64_t{0}));
    response->set_checkpoint_problem(at.problem);
    FillWitnesses(at, response);
    for (const IngestAgent& agent : ingest_->Agents()) {
      query::v1::AgentStatus* status = nullptr;
      for (query::v1::AgentStatus& known : *response->mutable_agents()) {
        if (known.agent_id() == agent.agent_id && known.tenant() == agent.tenant) status = &known;
      }
      if (status == nullptr) {
        status = response->add_agents();
        status->set_tenant(agent.tenant);
        status->set_agent_id(agent.agent_id);
      }
      // The log is ahead of the index.
      status->set_epoch(agent.epoch);
      status->set_last_seq(agent.last_seq);
      status->set_batches(agent.batches);
      if (agent.last_received_wall_ns != 0) status->set_last_received_wall_ns(agent.last_received_wall_ns);
      status->set_connected(agent.connected);
      status->set_rejected(agent.rejected);
    }
  }

  const config::v1::CollectorConfig config_;
  const Clock* const clock_;
  std::unique_ptr<trail::CaSet> identity_cas_;
  std::unique_ptr<RevocationFile> revocations_;
  std::unique_ptr<PeerGate> gate_;
  std::unique_ptr<LogSigner> signer_;
  std::unique_ptr<trail::LogPolicy> policy_;  // null: no witnesses
  std::unique_ptr<WitnessSet> witnesses_;
  std::unique_ptr<ReceiptIssuer> receipts_;  // outlives who tells it of checkpoints, and the streams
  std::unique_ptr<Sequencer> sequencer_;
  std::unique_ptr<Indexer> indexer_;
  std::unique_ptr<Committer> committer_;
  std::unique_ptr<IngestService> ingest_;
  std::unique_ptr<QueryService> query_;
  std::unique_ptr<TokenStore> tokens_;
  std::unique_ptr<Enroller> enroller_;
  std::unique_ptr<EnrolmentService> enrolment_;
  std::unique_ptr<RenewalService> renewal_;
  std::unique_ptr<AdminHandler> admin_;
  std::unique_ptr<RetentionJob> retention_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<grpc::Server> enrol_server_;
  std::unique_ptr<AdminSocket> admin_socket_;
  int port_ = 0;
  int enrol_port_ = 0;
  bool wrote_pid_ = false;
  bool stopped_ = false;
};

Collector::Collector(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Collector::~Collector() = default;

std::unique_ptr<Collector> Collector::Start(const config::v1::CollectorConfig& config, const Clock* clock,
                                            Failure* failure) {
  auto impl = std::make_unique<Impl>(config, clock);
  *failure = impl->Start();
  if (!failure->status.ok()) return nullptr;
  log::Info(fmt::format("serving {} (port {}), trail {} with {} leaves", config.listen(), impl->port_,
                        config.trail_dir(), impl->committer_->Totals().log_size));
  return std::unique_ptr<Collector>(new Collector(std::move(impl)));
}

void Collector::Stop(milliseconds timeout) { impl_->Stop(timeout); }
int Collector::port() const { return impl_->port_; }
int Collector::enrol_port() const { return impl_->enrol_port_; }
const IngestView& Collector::ingest() const { return *impl_->ingest_; }
Sequencer::Head Collector::head() const { return impl_->sequencer_->GetHead(); }
bool Collector::healthy() const { return head().problem.empty() && impl_->committer_->disk().Check(0).ok(); }

std::string Collector::StatusLine() const {
  const IngestTotals totals = impl_->ingest_->Totals();
  const Sequencer::Head at = head();
  std::string line = fmt::format("{} leaves, {} under the checkpoint, {} agents connected, {} rejected",
                                 totals.log_size, at.size, totals.streams, totals.rejected);
  if (totals.late_kept > 0) line += fmt::format(", {} late", totals.late_kept);
  if (!at.problem.empty()) line += "; " + at.problem;
  if (const auto verdict = impl_->Verdict(at); verdict && !verdict->quorum) {
    line += "; witnesses: " + verdict->shortfall;
  }
  return line;
}

}  // namespace nodetrail::collector

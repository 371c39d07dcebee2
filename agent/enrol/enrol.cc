// SPDX-License-Identifier: Apache-2.0
#include "agent/enrol/enrol.h"

#include <fmt/format.h>
#include <grpcpp/grpcpp.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <utility>
#include <vector>

#include "agent/enrol/key_request.h"
#include "nodetrail/base/fd.h"
#include "nodetrail/base/tls_files.h"
#include "nodetrail/enrol/v1/enrol.grpc.pb.h"
#include "nodetrail/peer/collector_peer.h"
#include "nodetrail/trail/crypto.h"
#include "nodetrail/trail/note.h"

namespace nodetrail::agent {
namespace {

constexpr size_t kMaxTokenBytes = 1024;
constexpr size_t kMaxPemBytes = 1U << 20;
constexpr int kMaxAnswerBytes = 256 * 1024;
constexpr std::string_view kRenewPayloadType = "application/vnd.nodetrail.renew.v1";

// A key in memory, wiped when it goes.
class KeyText {
 public:
  explicit KeyText(std::string pem) : pem_(std::move(pem)) {}
  KeyText(KeyText&& other) noexcept = default;
  KeyText& operator=(KeyText&&) = delete;
  ~KeyText() { trail::SecureErase(pem_.data(), pem_.size()); }
  [[nodiscard]] const std::string& pem() const { return pem_; }

 private:
  std::string pem_;
};

Status CheckPrivate(const std::string& path, std::string_view what) {
  struct stat st {};
  if (::stat(path.c_str(), &st) != 0) return ErrnoStatus(errno, fmt::format("{} {}", what, path));
  if ((st.st_mode & 077) != 0) {
    return PermissionDenied(
        fmt::format("{} {}: readable by others (mode {:04o}); chmod 0600 {}", what, path, st.st_mode & 07777, path));
  }
  return OkStatus();
}

Result<std::string> ReadToken(const std::string& path) {
  NT_RETURN_IF_ERROR(CheckPrivate(path, "token file"));
  NT_ASSIGN_OR_RETURN(std::string text, ReadFile(path, kMaxTokenBytes));
  text.resize(std::min(text.size(), text.find_first_of("\r\n")));
  if (text.empty()) return InvalidArgument(fmt::format("token file {}: empty; put the token into it", path));
  return text;
}

// The key of an attempt before, or a new one, on the disk before it is used.
Result<KeyText> KeyAt(const std::string& path) {
  auto known = ReadFile(path, kMaxPemBytes);
  if (known.ok()) {
    NT_RETURN_IF_ERROR(CheckPrivate(path, "key"));
    return KeyText(*std::move(known));
  }
  if (known.status().code() != Code::kNotFound) return known.status();
  NT_ASSIGN_OR_RETURN(std::string pem, NewKeyPem());
  KeyText key(std::move(pem));
  NT_RETURN_IF_ERROR(WriteFileAtomically(path, key.pem(), 0600));
  return key;
}

const Clock& WallClock() {
  static const SystemClock clock;
  return clock;
}

std::shared_ptr<Peer> MakePeer(const CollectorRule& rule, const std::string& own_pem,
                               const std::shared_ptr<RevocationFile>& revocations) {
  return std::make_shared<Peer>(CollectorPeerCheck(rule, own_pem, revocations, &WallClock()));
}

std::shared_ptr<grpc::Channel> MakeChannel(const CollectorRule& to, const TlsMaterial& tls,
                                           const std::shared_ptr<Peer>& peer) {
  grpc::ChannelArguments args;
  if (!to.server_name.empty()) args.SetSslTargetNameOverride(to.server_name);
  args.SetInt(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, kMaxAnswerBytes);
  args.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  args.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  args.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  args.SetServiceConfigJSON("{}");
  args.SetInt(GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1);
  return grpc::CreateCustomChannel(to.endpoint, PeerCredentials(tls, peer), args);
}

Status FromGrpc(const grpc::Status& status, const Peer& peer, const std::string& to) {
  if (status.ok()) return OkStatus();
  if (Status refused = peer.refusal(); !refused.ok()) return refused;
  if (status.error_code() == grpc::StatusCode::UNAVAILABLE ||
      status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED) {
    return Unavailable(
        fmt::format("{}: no answer over TLS ({}); check the address, the port, and that the authority "
                    "signed the collector's certificate for this name",
                    to, status.error_message()));
  }
  return Status(static_cast<Code>(status.error_code()), fmt::format("{}: {}", to, status.error_message()));
}

std::string HostOf(const std::string& endpoint) { return endpoint.substr(0, endpoint.rfind(':')); }

std::string ConfigText(const EnrolOptions& options, const std::string& tenant) {
  const std::string endpoint = options.endpoint.empty() ? HostOf(options.collector) + ":7443" : options.endpoint;
  return fmt::format(
      "# Written by nodetrail-agent enrol.\n"
      "agent_id: {}\n"
      "tenant: {}\n"
      "identity: {{cert_file: identity.pem, key_file: identity.key}}\n"
      "ship:\n"
      "  endpoint: {}\n"
      "  log_policy_file: log.policy\n"
      "{}{}{}"
      "  tls: {{ca_file: ca.pem, cert_file: tls.pem, key_file: tls.key}}\n",
      options.agent_id, tenant, endpoint,
      options.server_name.empty() ? "" : fmt::format("  server_name: {}\n", options.server_name),
      options.collector_id.empty() ? "" : fmt::format("  collector_id: {}\n", options.collector_id),
      options.crl_file.empty() ? ""
                               : fmt::format("  crl_file: {}\n", std::filesystem::absolute(options.crl_file).string()));
}

Status CheckAnswer(const enrol::v1::EnrolResponse& answer, const std::string& agent_id) {
  for (const std::string* pem : {&answer.identity_cert_pem(), &answer.tls_cert_pem()}) {
    const auto cert = trail::Certificate::FromPem(*pem);
    if (!cert.ok()) return DataLoss("the collector's answer holds no certificate");
    const auto uris = cert->UriSans();
    const auto id = uris.size() == 1 ? trail::ParseSpiffeId(uris[0]) : InvalidArgument("not one URI");
    if (!id.ok() || id->role != 'a' || id->name != agent_id || id->tenant != answer.tenant()) {
      return DataLoss(fmt::format("the collector's certificate is not of agent {}", agent_id));
    }
  }
  return OkStatus();
}

}  // namespace

Result<Enrolled> Enrol(const EnrolOptions& options) {
  if (!trail::ValidId(options.agent_id)) {
    return InvalidArgument(
        fmt::format("agent id '{}': 1 to 64 letters, digits, '.', '_', '-', not beginning with '.'", options.agent_id));
  }
  const std::string& dir = options.out_dir;
  for (const char* name : {"/identity.pem", "/tls.pem"}) {
    if (std::error_code error; std::filesystem::exists(dir + name, error)) {
      return AlreadyExists(fmt::format("{}{}: enrolled already; give another --out, or move it away", dir, name));
    }
  }
  NT_ASSIGN_OR_RETURN(std::string token, ReadToken(options.token_file));
  TlsMaterial tls;
  NT_ASSIGN_OR_RETURN(tls.ca_pem, ReadFile(options.ca_file, kMaxPemBytes));
  const auto revocations = std::make_shared<RevocationFile>(options.crl_file, options.ca_file);
  NT_RETURN_IF_ERROR(revocations->Refresh());
  CollectorRule rule;
  rule.endpoint = options.collector;
  rule.server_name = options.server_name;
  rule.collector_id = options.collector_id;
  rule.setting = "--collector-id";
  const auto peer = MakePeer(rule, "", revocations);
  NT_RETURN_IF_ERROR(MakeDirectories(dir, 0700));
  NT_ASSIGN_OR_RETURN(const KeyText identity_key, KeyAt(dir + "/identity.key"));
  NT_ASSIGN_OR_RETURN(const KeyText tls_key, KeyAt(dir + "/tls.key"));

  enrol::v1::EnrolRequest request;
  request.set_token(token);
  request.set_agent_id(options.agent_id);
  NT_ASSIGN_OR_RETURN(*request.mutable_identity_csr(), MakeCertRequest(identity_key.pem(), options.agent_id));
  NT_ASSIGN_OR_RETURN(*request.mutable_tls_csr(), MakeCertRequest(tls_key.pem(), options.agent_id));
  const auto stub = enrol::v1::Enrolment::NewStub(MakeChannel(rule, tls, peer));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + options.timeout);
  enrol::v1::EnrolResponse answer;
  const grpc::Status asked = stub->Enrol(&context, request, &answer);
  trail::SecureErase(token.data(), token.size());
  NT_RETURN_IF_ERROR(FromGrpc(asked, *peer, options.collector));
  NT_RETURN_IF_ERROR(CheckAnswer(answer, options.agent_id));
  // What the agent will ask of it, now that we have a name.
  NT_RETURN_IF_ERROR(CheckCollector(rule, peer->cert_pem(), answer.tls_cert_pem()));
  if (const auto key = trail::NoteVerifier::Parse(answer.log_public_key()); !key.ok()) {
    return Annotate(key.status(), "the collector's answer: the log's key");
  }

  NT_RETURN_IF_ERROR(WriteFileAtomically(dir + "/ca.pem", tls.ca_pem, 0644));
  NT_RETURN_IF_ERROR(WriteFileAtomically(dir + "/log.vkey", answer.log_public_key() + "\n", 0644));
  NT_RETURN_IF_ERROR(
      WriteFileAtomically(dir + "/log.policy", fmt::format("log {}\nquorum none\n", answer.log_public_key()), 0644));
  NT_RETURN_IF_ERROR(WriteFileAtomically(dir + "/agent.yaml", ConfigText(options, answer.tenant()), 0644));
  NT_RETURN_IF_ERROR(WriteFileAtomically(dir + "/tls.pem", answer.tls_cert_pem(), 0644));
  // Last: it says that all is there.
  NT_RETURN_IF_ERROR(WriteFileAtomically(dir + "/identity.pem", answer.identity_cert_pem(), 0644));
  return Enrolled{answer.tenant(), answer.log_index(), dir + "/agent.yaml"};
}

Result<bool> Renew(const config::v1::AgentConfig& config, const Clock& clock, bool force,
                   std::chrono::milliseconds timeout) {
  const config::v1::Tls& files = config.ship().tls();
  NT_ASSIGN_OR_RETURN(TlsMaterial tls,
                      LoadTlsFiles({files.ca_file(), files.cert_file(), files.key_file()}, clock.WallNs()));
  const KeyText current(std::move(tls.key_pem));
  auto due = PastHalfLife(tls.cert_pem, clock.WallNs());
  if (!due.ok()) return Annotate(due.status(), files.cert_file());
  if (!*due && !force) return false;

  NT_RETURN_IF_ERROR(CheckPrivate(config.identity().key_file(), "identity key"));
  NT_ASSIGN_OR_RETURN(std::string identity_pem, ReadFile(config.identity().key_file(), kMaxPemBytes));
  const KeyText identity_text(std::move(identity_pem));
  NT_ASSIGN_OR_RETURN(const trail::EcdsaKey identity, trail::EcdsaKey::FromPem(identity_text.pem()));
  NT_ASSIGN_OR_RETURN(const std::string cert_pem, ReadFile(config.identity().cert_file(), kMaxPemBytes));
  NT_ASSIGN_OR_RETURN(const trail::Certificate cert, trail::Certificate::FromPem(cert_pem));

  NT_ASSIGN_OR_RETURN(std::string fresh, NewKeyPem());
  const KeyText key(std::move(fresh));
  enrol::v1::RenewRequest request;
  NT_ASSIGN_OR_RETURN(*request.mutable_tls_csr(), MakeCertRequest(key.pem(), config.agent_id()));
  request.set_identity_cert(cert.Der());
  NT_ASSIGN_OR_RETURN(*request.mutable_signature(), identity.Sign(trail::Pae(kRenewPayloadType, request.tls_csr())));
  std::vector<std::string> endpoints(config.ship().endpoints().begin(), config.ship().endpoints().end());
  if (!config.ship().endpoint().empty()) endpoints.insert(endpoints.begin(), config.ship().endpoint());
  enrol::v1::RenewResponse answer;
  Status asked = InvalidArgument("ship.endpoint: missing");
  const auto revocations = std::make_shared<RevocationFile>(config.ship().crl_file(), files.ca_file());
  CollectorRule rule;
  rule.server_name = config.ship().server_name();
  rule.collector_id = config.ship().collector_id();
  rule.tenant = config.tenant();
  for (const std::string& to : endpoints) {
    rule.endpoint = to;
    const auto peer = MakePeer(rule, tls.cert_pem, revocations);
    const auto stub = enrol::v1::Renewal::NewStub(MakeChannel(rule, {tls.ca_pem, tls.cert_pem, current.pem()}, peer));
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + timeout);
    asked = FromGrpc(stub->Renew(&context, request, &answer), *peer, to);
    if (asked.code() != Code::kUnavailable && peer->refusal().ok()) break;
  }
  NT_RETURN_IF_ERROR(asked);
  // Between the two files a connection finds no pair, says so, and tries again.
  NT_RETURN_IF_ERROR(WriteFileAtomically(files.key_file(), key.pem(), 0600));
  NT_RETURN_IF_ERROR(WriteFileAtomically(files.cert_file(), answer.tls_cert_pem(), 0644));
  return true;
}

}  // namespace nodetrail::agent

// SPDX-License-Identifier: Apache-2.0
#include "cli/client.h"

#include <fmt/format.h>
#include <grpcpp/grpcpp.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

#include "nodetrail/base/clock.h"
#include "nodetrail/base/fd.h"
#include "nodetrail/base/tls_files.h"
#include "nodetrail/peer/collector_peer.h"

namespace nodetrail::cli {
namespace {

using std::chrono::milliseconds;

constexpr auto kConnectTimeout = milliseconds(5000);
constexpr auto kCallTimeout = std::chrono::seconds(60);
constexpr uint32_t kPage = 10'000;
constexpr size_t kMaxAgentDocument = 4U << 20;
// A row holds two records of one body at most.
constexpr int kMaxMessage = 20 << 20;

// False at the first failure: gRPC itself would go on trying until the deadline.
bool Connected(grpc::Channel& channel) {
  const auto deadline = std::chrono::system_clock::now() + kConnectTimeout;
  while (true) {
    const grpc_connectivity_state state = channel.GetState(/*try_to_connect=*/true);
    if (state == GRPC_CHANNEL_READY) return true;
    if (state == GRPC_CHANNEL_TRANSIENT_FAILURE || state == GRPC_CHANNEL_SHUTDOWN) return false;
    if (!channel.WaitForStateChange(state, deadline)) return false;
  }
}

}  // namespace

Result<std::unique_ptr<Row>> Row::Parse(query::v1::EventRow proto) {
  std::unique_ptr<Row> out(new Row());
  if (!out->event.ParseFromString(proto.event())) return DataLoss("an event record in the answer does not parse");
  out->has_process = !proto.process().empty();
  if (out->has_process && !out->process.ParseFromString(proto.process())) {
    return DataLoss("a process record in the answer does not parse");
  }
  out->facts.agent_id = proto.agent_id();
  out->facts.tenant = proto.tenant();
  out->facts.hostname = proto.hostname();
  out->facts.epoch = proto.epoch();
  out->facts.batch_seq = proto.batch_seq();
  out->facts.log_index = proto.log_index();
  out->facts.received_wall_ns = proto.received_wall_ns();
  out->proto = std::move(proto);
  return out;
}

Result<std::unique_ptr<Client>> Client::Connect(const Context& context) {
  const auto& config = context.config();
  const auto& tls = config.tls();
  if (tls.ca_file().empty() || tls.cert_file().empty() || tls.key_file().empty()) {
    return FailedPrecondition(
        fmt::format("no certificate to show the collector: set tls (ca_file, cert_file, key_file) in {}, "
                    "or give --ca, --cert and --key",
                    context.config_path().empty() ? "/etc/nodetrail/cli.yaml" : context.config_path()));
  }
  auto material = LoadTlsFiles({tls.ca_file(), tls.cert_file(), tls.key_file()}, SystemClock().WallNs());
  if (!material.ok()) {
    // Unreadable files are a matter of permission, anything else of configuration.
    if (material.status().code() == Code::kPermissionDenied) return std::move(material).status();
    return FailedPrecondition(std::string(material.status().message()));
  }
  CollectorRule rule;
  rule.endpoint = config.collector();
  rule.server_name = config.server_name();
  rule.collector_id = config.collector_id();
  rule.setting = "collector_id in cli.yaml";
  rule.cert_setting = "tls.cert_file";
  static const SystemClock clock;
  const auto peer = std::make_shared<Peer>(CollectorPeerCheck(
      std::move(rule), material->cert_pem, std::make_shared<RevocationFile>(config.crl_file(), tls.ca_file()), &clock));
  grpc::ChannelArguments args;
  args.SetMaxReceiveMessageSize(kMaxMessage);
  args.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  if (!config.server_name().empty()) args.SetSslTargetNameOverride(config.server_name());
  const auto channel = grpc::CreateCustomChannel(config.collector(), PeerCredentials(*material, peer), args);
  if (!Connected(*channel)) {
    if (const Status refused = peer->refusal(); !refused.ok()) {
      return Unavailable(fmt::format("collector {}", refused.message()));
    }
    // gRPC does not say why.
    const Status why = ProbeTls(config.collector(), config.server_name(), *material, kConnectTimeout);
    std::string cause = why.ok() ? "no answer" : std::string(why.message());
    if (cause.find(config.collector()) == std::string::npos) cause = fmt::format("{}: {}", config.collector(), cause);
    const Code code =
        why.code() == Code::kPermissionDenied || why.code() == Code::kUnauthenticated ? why.code() : Code::kUnavailable;
    return Status(code, fmt::format("collector {}", cause));
  }
  std::unique_ptr<Client> out(new Client());
  out->endpoint_ = config.collector();
  out->stub_ = query::v1::Query::NewStub(channel);
  return out;
}

Status Client::FromGrpc(const grpc::Status& status) const {
  if (status.ok()) return OkStatus();
  return {static_cast<Code>(status.error_code()), fmt::format("collector {}: {}", endpoint_, status.error_message())};
}

Status Client::Search(query::v1::SearchRequest request, uint64_t limit, const OnRow& on_row, bool* more) {
  *more = false;
  uint64_t got = 0;
  while (true) {
    const uint64_t left = limit == 0 ? kPage : limit - got;
    request.set_limit(static_cast<uint32_t>(std::min<uint64_t>(left, kPage)));
    grpc::ClientContext call;
    call.set_deadline(std::chrono::system_clock::now() + kCallTimeout);
    auto stream = stub_->Search(&call, request);
    query::v1::EventRow proto;
    std::string token;
    while (stream->Read(&proto)) {
      retired_events_ += proto.retired_events();
      if (proto.retired_events() > 0) continue;
      token = proto.next_page_token();
      if (proto.event().empty()) continue;
      auto row = Row::Parse(std::move(proto));
      proto.Clear();
      if (!row.ok() || !on_row(**row)) {
        call.TryCancel();
        while (stream->Read(&proto)) continue;
        (void)stream->Finish();
        return row.ok() ? OkStatus() : std::move(row).status();
      }
      ++got;
    }
    NT_RETURN_IF_ERROR(FromGrpc(stream->Finish()));
    if (token.empty()) return OkStatus();
    if (limit != 0 && got >= limit) {
      *more = true;
      return OkStatus();
    }
    request.set_page_token(token);
  }
}

Status Client::Tail(const query::v1::TailRequest& request, const OnRow& on_row,
                    const std::function<void(uint64_t, uint64_t)>& on_skip) {
  grpc::ClientContext call;
  auto stream = stub_->Tail(&call, request);
  query::v1::EventRow proto;
  while (stream->Read(&proto)) {
    if (proto.skipped_batches() > 0) on_skip(proto.skipped_events(), proto.skipped_batches());
    if (proto.event().empty()) continue;
    auto row = Row::Parse(std::move(proto));
    proto.Clear();
    if (row.ok() && on_row(**row)) continue;
    call.TryCancel();
    while (stream->Read(&proto)) continue;
    (void)stream->Finish();
    return row.ok() ? OkStatus() : std::move(row).status();
  }
  return FromGrpc(stream->Finish());
}

Result<query::v1::GetResponse> Client::Get(const std::string& event_id) {
  grpc::ClientContext call;
  call.set_deadline(std::chrono::system_clock::now() + kCallTimeout);
  query::v1::GetRequest request;
  request.set_event_id(event_id);
  query::v1::GetResponse response;
  NT_RETURN_IF_ERROR(FromGrpc(stub_->Get(&call, request, &response)));
  return response;
}

Result<query::v1::StatusResponse> Client::GetStatus() {
  grpc::ClientContext call;
  call.set_deadline(std::chrono::system_clock::now() + kCallTimeout);
  query::v1::StatusResponse response;
  NT_RETURN_IF_ERROR(FromGrpc(stub_->Status(&call, {}, &response)));
  return response;
}

Result<query::v1::AgentsResponse> Client::GetAgents(const query::v1::AgentsRequest& request) {
  grpc::ClientContext call;
  call.set_deadline(std::chrono::system_clock::now() + kCallTimeout);
  query::v1::AgentsResponse response;
  NT_RETURN_IF_ERROR(FromGrpc(stub_->Agents(&call, request, &response)));
  return response;
}

Result<nlohmann::json> AskAgent(const std::string& socket_path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket_path.size() >= sizeof(address.sun_path)) {
    return InvalidArgument(fmt::format("agent_socket: {}: longer than a unix socket's path may be", socket_path));
  }
  std::memcpy(address.sun_path, socket_path.data(), socket_path.size());
  const UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return ErrnoStatus(errno, "socket");
  const timeval timeout{3, 0};
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
  ::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    const int err = errno;
    if (err == ENOENT || err == ECONNREFUSED) {
      return NotFound(fmt::format("agent {}: {}; is the agent running on this node? (systemctl status nodetrail-agent)",
                                  socket_path, ErrnoName(err)));
    }
    if (err == EACCES || err == EPERM) {
      return PermissionDenied(
          fmt::format("agent {}: {}; the status socket is for root only: run as root", socket_path, ErrnoName(err)));
    }
    return ErrnoStatus(err, fmt::format("agent {}: connect", socket_path));
  }
  std::string text;
  std::array<char, 16384> chunk{};
  while (true) {
    const ssize_t n = ::read(fd.get(), chunk.data(), chunk.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoStatus(errno, fmt::format("agent {}: read", socket_path));
    if (n == 0) break;
    text.append(chunk.data(), static_cast<size_t>(n));
    if (text.size() > kMaxAgentDocument)
      return DataLoss(fmt::format("agent {}: the answer is longer than 4 MiB", socket_path));
  }
  auto document = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!document.is_object()) return DataLoss(fmt::format("agent {}: the answer is no JSON object", socket_path));
  return document;
}

}  // namespace nodetrail::cli

// SPDX-License-Identifier: Apache-2.0
//
// An ingest server that keeps each frame it gets and acknowledges it: what an
// eavesdropper at the end of the TLS tunnel would hold.
#ifndef NODETRAIL_TESTS_E2E_CAPTURING_INGEST_H_
#define NODETRAIL_TESTS_E2E_CAPTURING_INGEST_H_

#include <grpcpp/grpcpp.h>

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "nodetrail/ingest/v1/ingest.grpc.pb.h"
#include "nodetrail/trail/leaf.h"

namespace nodetrail::e2e {

class CapturingIngest final : public ingest::v1::Ingest::Service {
 public:
  // mTLS with the node's collector certificate.
  CapturingIngest(const std::string& ca_pem, const std::string& cert_pem, const std::string& key_pem) {
    grpc::SslServerCredentialsOptions options(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
    options.pem_root_certs = ca_pem;
    options.pem_key_cert_pairs.push_back({key_pem, cert_pem});
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::SslServerCredentials(options), &port_);
    builder.SetMaxReceiveMessageSize(16 << 20);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }

  [[nodiscard]] int port() const { return port_; }

  // Every message as it came out of TLS, serialised.
  [[nodiscard]] std::vector<std::string> messages() const {
    const std::lock_guard lock(mutex_);
    return messages_;
  }
  [[nodiscard]] std::vector<ingest::v1::Frame> frames() const {
    const std::lock_guard lock(mutex_);
    return frames_;
  }

 private:
  grpc::Status Stream(grpc::ServerContext* /*context*/,
                      grpc::ServerReaderWriter<ingest::v1::ServerMessage, ingest::v1::ClientMessage>* stream) override {
    ingest::v1::ClientMessage message;
    while (stream->Read(&message)) {
      ingest::v1::ServerMessage answer;
      {
        const std::lock_guard lock(mutex_);
        messages_.push_back(message.SerializeAsString());
        if (message.has_frame()) frames_.push_back(message.frame());
      }
      if (message.has_hello()) {
        answer.mutable_welcome()->set_known(false);
      } else {
        const auto parsed = trail::ParseLeaf(message.frame().leaf());
        if (!parsed.ok()) return {grpc::StatusCode::INVALID_ARGUMENT, "leaf"};
        const trail::Hash hash = trail::BatchHash(message.frame().leaf());
        auto* ack = answer.mutable_ack();
        ack->set_level(ingest::v1::ACK_LEVEL_DURABLE);
        ack->set_epoch(parsed->header.epoch());
        ack->set_seq(parsed->header.seq());
        ack->set_batch_hash(std::string(hash.begin(), hash.end()));
      }
      stream->Write(answer);
    }
    return grpc::Status::OK;
  }

  mutable std::mutex mutex_;
  std::vector<std::string> messages_;
  std::vector<ingest::v1::Frame> frames_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace nodetrail::e2e

#endif  // NODETRAIL_TESTS_E2E_CAPTURING_INGEST_H_

// SPDX-License-Identifier: Apache-2.0
//
// What the collector's tests share: a PKI, a collector in this process, agents
// that ship honestly, and a client that sends what it likes.
#ifndef NODETRAIL_COLLECTOR_TEST_FIXTURE_H_
#define NODETRAIL_COLLECTOR_TEST_FIXTURE_H_

#include <fmt/format.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "agent/ship/shipper.h"
#include "collector/collector.h"
#include "nodetrail/base/clock.h"
#include "nodetrail/base/fd.h"
#include "nodetrail/ingest/v1/ingest.grpc.pb.h"
#include "nodetrail/trail/note.h"
#include "nodetrail/trail/trail_store.h"
#include "tests/fakes/batch_maker.h"
#include "tests/fakes/memory_source.h"
#include "tests/fakes/temp_dir.h"
#include "tests/fakes/test_pki.h"

namespace nodetrail::collector {

using nodetrail::testing::BatchMaker;
using nodetrail::testing::MemorySource;
using nodetrail::testing::TempDir;
using nodetrail::testing::TestPki;
using nodetrail::testing::WaitUntil;

// A stream that a test drives message by message.
class RawAgent {
 public:
  RawAgent(int port, const TlsPaths& tls) {
    grpc::SslCredentialsOptions options;
    options.pem_root_certs = ReadFile(tls.ca_file, 1 << 20).value();
    if (!tls.cert_file.empty()) {
      options.pem_cert_chain = ReadFile(tls.cert_file, 1 << 20).value();
      options.pem_private_key = ReadFile(tls.key_file, 1 << 20).value();
    }
    Open(port, grpc::SslCredentials(options));
  }
  RawAgent(int port, const std::shared_ptr<grpc::ChannelCredentials>& credentials) { Open(port, credentials); }
  ~RawAgent() {
    if (!finished_) {
      context_.TryCancel();
      stream_->Finish();
    }
  }
  RawAgent(const RawAgent&) = delete;
  RawAgent& operator=(const RawAgent&) = delete;

  bool Hello(const std::string& agent_id, const std::string& tenant = "default", uint32_t version = 1,
             bool receipts = false) {
    ingest::v1::ClientMessage m;
    m.mutable_hello()->set_receipts(receipts);
    m.mutable_hello()->set_protocol_version(version);
    m.mutable_hello()->set_agent_id(agent_id);
    m.mutable_hello()->set_tenant(tenant);
    return stream_->Write(m);
  }
  bool Send(const std::string& leaf, const std::string& body, bool after_hole = false) {
    ingest::v1::ClientMessage m;
    m.mutable_frame()->set_leaf(leaf);
    m.mutable_frame()->set_body(body);
    m.mutable_frame()->set_after_hole(after_hole);
    return stream_->Write(m);
  }
  // The leaf alone, with what stands in its body's place.
  bool SendEvicted(const std::string& leaf, const std::string& eviction) {
    ingest::v1::ClientMessage m;
    m.mutable_frame()->set_leaf(leaf);
    m.mutable_frame()->set_eviction(eviction);
    return stream_->Write(m);
  }
  bool Send(const trail::SealedBatch& batch) { return Send(batch.leaf, batch.body); }
  // Nothing (no field set): the stream is over.
  ingest::v1::ServerMessage Read() {
    ingest::v1::ServerMessage m;
    if (!stream_->Read(&m)) m.Clear();
    return m;
  }
  // One batch, its answer.
  ingest::v1::ServerMessage Exchange(const trail::SealedBatch& batch) {
    Send(batch);
    return Read();
  }
  void HalfClose() { stream_->WritesDone(); }
  grpc::Status Finish() {
    finished_ = true;
    return stream_->Finish();
  }

 private:
  void Open(int port, const std::shared_ptr<grpc::ChannelCredentials>& credentials) {
    context_.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
    grpc::ChannelArguments args;
    args.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    args.SetMaxSendMessageSize(-1);
    channel_ = grpc::CreateCustomChannel(fmt::format("127.0.0.1:{}", port), credentials, args);
    stub_ = ingest::v1::Ingest::NewStub(channel_);
    stream_ = stub_->Stream(&context_);
  }

  grpc::ClientContext context_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<ingest::v1::Ingest::Stub> stub_;
  std::unique_ptr<grpc::ClientReaderWriter<ingest::v1::ClientMessage, ingest::v1::ServerMessage>> stream_;
  bool finished_ = false;
};

// A collector of tenant `default` with the certificates of `pki`, its files below `dir`.
inline config::v1::CollectorConfig TestConfig(const TestPki& pki, const std::string& dir) {
  config::v1::CollectorConfig config;
  config.set_trail_dir(dir + "/trail");
  config.set_listen("127.0.0.1:0");
  config.mutable_tls()->set_ca_file(pki.File("tls-ca/ca.pem"));
  config.mutable_tls()->set_cert_file(pki.File("collector/tls.pem"));
  config.mutable_tls()->set_key_file(pki.File("collector/tls.key"));
  config.set_identity_ca_file(pki.File("identity-ca/ca.pem"));
  config.set_log_key_file(pki.File("log/log.key"));
  config.set_log_origin("trail.example.com/default");
  config.set_tenant("default");
  config.set_checkpoint_interval_ms(20);
  config.set_min_free_bytes(0);
  config.mutable_index()->set_partition_hours(24);
  return config;
}

// … that enrols agents.
inline void TestEnrolment(const TestPki& pki, config::v1::CollectorConfig* config) {
  auto* enrol = config->mutable_enrol();
  enrol->set_listen("127.0.0.1:0");
  enrol->set_trust_domain("nodetrail.dev");
  enrol->set_identity_ca_cert_file(pki.File("identity-ca/ca.pem"));
  enrol->set_identity_ca_key_file(pki.File("identity-ca/ca.key"));
  enrol->set_tls_ca_cert_file(pki.File("tls-ca/ca.pem"));
  enrol->set_tls_ca_key_file(pki.File("tls-ca/ca.key"));
  enrol->set_tls_validity_h(24);
  enrol->set_identity_validity_d(365);
}

class CollectorTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (pki_ != nullptr) return;
    pki_ = new TestPki;  // shared by all cases of the binary; removed with the process's temp dir
    pki_->Run("agent", "web-1");
    pki_->Run("agent", "web-2");
    pki_->Run("reader", "alice");
  }
  static const TestPki& pki() { return *pki_; }

  CollectorTest() : config_(TestConfig(pki(), dir_.path())) {}

  void StartCollector() {
    Failure failure;
    collector_ = Collector::Start(config_, &clock_, &failure);
    ASSERT_NE(collector_, nullptr) << failure.status.ToString();
  }
  Failure StartFails() {
    Failure failure;
    EXPECT_EQ(Collector::Start(config_, &clock_, &failure), nullptr);
    return failure;
  }

  agent::ShipOptions ShipTo(int port, const std::string& agent_id = "web-1") {
    agent::ShipOptions options;
    options.config.set_endpoint(fmt::format("127.0.0.1:{}", port));
    const TlsPaths tls = pki().Agent(agent_id);
    options.config.mutable_tls()->set_ca_file(tls.ca_file);
    options.config.mutable_tls()->set_cert_file(tls.cert_file);
    options.config.mutable_tls()->set_key_file(tls.key_file);
    options.config.set_window_batches(16);
    options.config.set_window_bytes(8U << 20);
    options.config.set_max_backoff_s(1);
    options.tenant = "default";
    options.agent_id = agent_id;
    options.initial_backoff = std::chrono::milliseconds(5);
    options.welcome_timeout = std::chrono::milliseconds(3000);
    options.ack_timeout = std::chrono::milliseconds(3000);
    return options;
  }

  // The leaves of the log, as they lie on the disk.
  std::vector<std::string> LogLeaves() const {
    std::vector<std::string> leaves;
    auto reader = trail::TrailReader::Open(config_.trail_dir());
    if (!reader.ok()) return leaves;
    const Status status = (*reader)->ForEach(0, [&](const trail::LeafLocation&, std::string_view leaf) {
      leaves.emplace_back(leaf);
      return true;
    });
    EXPECT_TRUE(status.ok()) << status.ToString();
    return leaves;
  }

  // The checkpoint covers the whole log, is signed, and has its root.
  void ExpectCheckpointOf(const std::vector<std::string>& leaves) {
    ASSERT_TRUE(WaitUntil([&] { return collector_->head().size == leaves.size(); })) << collector_->head().size;
    const std::string vkey = ReadFile(config_.trail_dir() + "/log/log.vkey", 4096).value();
    const auto verifier = trail::NoteVerifier::Parse(std::string_view(vkey).substr(0, vkey.size() - 1));
    ASSERT_TRUE(verifier.ok());
    const std::string note = ReadFile(config_.trail_dir() + "/log/checkpoint", 65536).value();
    const auto checkpoint = trail::VerifyCheckpoint(note, *verifier);
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().ToString();
    std::vector<trail::Hash> hashes;
    for (const std::string& leaf : leaves) hashes.push_back(trail::LeafHash(leaf));
    EXPECT_EQ(checkpoint->size, leaves.size());
    EXPECT_EQ(trail::Hex(checkpoint->root), trail::Hex(trail::MerkleRoot(hashes)));
  }

  SystemClock clock_;
  TempDir dir_;
  config::v1::CollectorConfig config_;
  std::unique_ptr<Collector> collector_;

 private:
  static inline TestPki* pki_ = nullptr;
};

}  // namespace nodetrail::collector

#endif  // NODETRAIL_COLLECTOR_TEST_FIXTURE_H_

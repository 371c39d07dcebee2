// SPDX-License-Identifier: Apache-2.0
#include "tests/attacks/node.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <span>
#include <utility>

#include "nodetrail/event/v1/event.pb.h"
#include "nodetrail/trail/body.h"
#include "tests/attacks/ground.h"

namespace nodetrail::attacks {
namespace {

constexpr size_t kKeyPage = 4096;

class Answers final : public collector::AnswerSink {
 public:
  void Answer(ingest::v1::ServerMessage message, uint64_t /*freed_bytes*/) override {
    // A batch may be answered twice, durable and logged: the first counts here.
    if (!answered) last = std::move(message);
    answered = true;
  }
  bool answered = false;
  ingest::v1::ServerMessage last;
};

}  // namespace

Node::Node(const trail::TestCa& ca, const std::string& agent_id) : agent_id_(agent_id) {
  const auto identity = ca.IssueAgent("acme", agent_id);
  Spill(dir / "cert.pem", identity.cert_pem);
  Spill(dir / "key.pem", identity.key_pem);
  NT_CHECK(::chmod((dir / "key.pem").c_str(), 0600) == 0);
}

void Node::Start(int key) {
  agent::SpoolOptions spool_options;
  spool_options.dir = spool_dir();
  auto opened = agent::Spool::Open(spool_options);
  NT_CHECK(opened.ok());
  spool = std::move(*opened);
  agent::SealerOptions options;
  options.tenant = "acme";
  options.agent_id = agent_id_;
  options.identity_cert_file = dir / "cert.pem";
  options.identity_key_file = dir / "key.pem";
  options.boot_id = "boot-a";
  options.clock = &clock;
  options.clock_quality = [] { return agent::ClockQuality{1000, false}; };
  options.spool_head = spool->recovery().head;
  options.inherited_key = UniqueFd(key);
  auto sealing = agent::Sealer::Open(std::move(options));
  NT_CHECK(sealing.ok());
  sealer = std::move(*sealing);
}

void Node::Stop() {
  sealer.reset();
  spool.reset();
}

trail::SealedBatch Node::Batch(int events) {
  clock.Advance(1'000'000);
  event::v1::EventBatch batch;
  batch.set_schema_version(1);
  agent::BatchContent content;
  uint64_t seq = content.first_event_seq = sealer->next_event_seq();
  for (int i = 0; i < events; ++i) {
    event::v1::Event event;
    event.set_schema_version(1);
    event.set_seq(seq++);
    event.set_kind(event::v1::KIND_FILE_CREATE);
    event.set_t_wall_ns(clock.WallNs());
    batch.add_events(event.SerializeAsString());
  }
  content.last_event_seq = seq - 1;
  content.event_count = static_cast<uint64_t>(events);
  content.events_root = trail::EventsRoot(batch);
  content.raw_body = batch.SerializeAsString();
  content.first_wall_ns = content.last_wall_ns = clock.WallNs();
  content.first_boot_ns = content.last_boot_ns = clock.BootNs();
  auto sealed = sealer->Seal(content);
  NT_CHECK(sealed.ok());
  NT_CHECK(spool->Append(*sealed).ok());
  sealer->Commit();
  batches.push_back(*sealed);
  return *sealed;
}

std::vector<trail::Ed25519Key> Node::StealKeys() const {
  std::array<char, kKeyPage> page{};
  NT_CHECK(::pread(sealer->KeyFd(), page.data(), page.size(), 0) == static_cast<ssize_t>(page.size()));
  std::vector<trail::Ed25519Key> out;
  for (size_t at = 0; at + 32 <= page.size(); at += 8) {
    const std::string_view seed(page.data() + at, 32);
    if (seed.find_first_not_of('\0') == std::string_view::npos) continue;
    if (auto key = trail::Ed25519Key::FromSeed(seed); key.ok()) out.push_back(*std::move(key));
  }
  return out;
}

int Node::CloneKeys() const {
  std::array<char, kKeyPage> page{};
  NT_CHECK(::pread(sealer->KeyFd(), page.data(), page.size(), 0) == static_cast<ssize_t>(page.size()));
  const int fd = ::memfd_create("clone", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  NT_CHECK(fd >= 0);
  NT_CHECK(::pwrite(fd, page.data(), page.size(), 0) == static_cast<ssize_t>(page.size()));
  NT_CHECK(::fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0);
  return fd;
}

Site::Site(const trail::TestCa& ca) : key_(trail::Ed25519Key::Generate()) {
  policy.identity_ca_pem = ca.CertPem();
  policy.tenant = "acme";
  policy.log_key = *trail::NoteVerifier::Make(kOrigin, key_.public_key());
  NT_CHECK(Start().ok());
}

Status Site::Start(collector::Cosigner* witnesses) {
  std::array<uint8_t, 32> seed{};
  key_.CopySeed(seed);
  collector::LogSigner signer{kOrigin, *trail::Ed25519Key::FromSeed(trail::View(seed)), *policy.log_key};
  collector::Committer::Options options;
  options.trail_dir = trail();
  options.tenant = "acme";
  options.clock = &clock;
  options.log_key = key_.public_key();
  options.sign_entry = [this](const trail::v1::LogEntry& entry) { return trail::MakeLogEntry(entry, key_); };
  collector::Sequencer::Options signing;
  signing.trail_dir = trail();
  signing.cosigner = witnesses;
  const auto open_sequencer = [&] {
    auto made = collector::Sequencer::Open(signing, std::move(signer));
    if (!made.ok()) return made.status();
    sequencer = std::move(*made);
    return OkStatus();
  };
  auto opened = collector::Committer::Open(options, *trail::CaSet::FromPem(policy.identity_ca_pem), open_sequencer,
                                           [&](std::string_view leaf) { return sequencer->Replay(leaf); });
  if (!opened.ok()) return opened.status();
  committer = std::move(*opened);
  NT_RETURN_IF_ERROR(sequencer->ReplayDone());
  NT_RETURN_IF_ERROR(sequencer->AskWitnesses());
  sequencer->StartStepping();
  committer->StartStepping(
      [this](uint64_t first, std::span<const trail::Hash> hashes) { sequencer->Appended(first, hashes); });
  return OkStatus();
}

void Site::Stop() {
  committer.reset();
  sequencer.reset();
}

ingest::v1::ServerMessage Site::Send(const std::string& agent_id, const std::string& leaf, const std::string& body,
                                     bool after_hole) {
  ingest::v1::Frame frame;
  frame.set_leaf(leaf);
  frame.set_body(body);
  frame.set_after_hole(after_hole);
  const auto answers = std::make_shared<Answers>();
  committer->Submit(answers, agent_id, std::move(frame));
  committer->Step();
  return answers->last;
}

void Site::Take(const trail::SealedBatch& batch) {
  const auto answer = Send(batch);
  ASSERT_TRUE(Acked(answer)) << answer.ShortDebugString();
}

void Site::Enter(trail::v1::LogEntry entry) {
  Result<uint64_t> entered = Internal("not called");
  committer->Enter(std::move(entry), nullptr, [&](const Result<uint64_t>& index) { entered = index; });
  committer->Step();
  ASSERT_TRUE(entered.ok()) << entered.status().ToString();
}

std::string Site::Sign() {
  sequencer->Step();
  return sequencer->GetHead().problem;
}

trail::VerifyReport Site::Verify() {
  auto report = trail::VerifyTrail(trail(), policy);
  EXPECT_TRUE(report.ok()) << report.status().ToString();
  return report.ok() ? *std::move(report) : trail::VerifyReport();
}

int Site::Exit() { return static_cast<int>(Verify().verdict); }

bool Acked(const ingest::v1::ServerMessage& message) { return message.has_ack(); }
bool Refused(const ingest::v1::ServerMessage& message) {
  return message.has_nack() && message.nack().reason() == ingest::v1::NACK_REASON_REJECTED;
}

}  // namespace nodetrail::attacks

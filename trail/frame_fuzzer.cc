// SPDX-License-Identifier: Apache-2.0
//
// What an agent sends, frame by frame, against the chain and the body: what a
// collector asks of hostile frames before it decodes an event. The input is
// frames, each after a byte that says what the harness repairs and two with its
// length. Repairs let the fuzzer past what only the owner of a key could make:
//   1 leaf is a header: sign it          2 join it to the chain so far
//   4 body is records: compress, and     8 open the epoch by the identity
//     tell of them in the header        16 sign what stands for the body
//  32 allow a hole                      64 as when one's own log is read
// 128 with 8: the statement stays as it is, and is signed
// The first byte of all is the policy: 1 one algorithm only, 2 remember few, 4 the
// log revokes the agent from batch 2 on.
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "nodetrail/ingest/v1/ingest.pb.h"
#include "nodetrail/trail/body.h"
#include "nodetrail/trail/chain.h"
#include "nodetrail/trail/eviction.h"
#include "nodetrail/trail/leaf.h"
#include "trail/testing/test_pki.h"

namespace nodetrail::trail {
namespace {

struct World {
  TestCa ca;
  TestCa::Identity identity = ca.IssueAgent("acme", "web-1");
  CaSet cas = *CaSet::FromPem(ca.CertPem());
  EcdsaKey key = *EcdsaKey::FromPem(identity.key_pem);
  Certificate certificate = *Certificate::FromPem(identity.cert_pem);
  Ed25519Key ratchet = *Ed25519Key::FromSeed(std::string(32, 'k'));
};

enum Repair : unsigned {
  kSign = 1,
  kJoin = 2,
  kBody = 4,
  kOpen = 8,
  kEvict = 16,
  kHole = 32,
  kTrusted = 64,
  kAsIs = 128
};

const World& TheWorld() {
  static const World world;
  return world;
}

void Join(const ChainHead& head, v1::BatchHeader* h) {
  const World& w = TheWorld();
  h->set_format_version(1);
  h->set_sig_alg(v1::SIG_ALG_ED25519);
  h->set_tenant("acme");
  h->set_agent_id("web-1");
  h->set_signer_key(Bytes(w.ratchet.public_key()));
  if (h->type() == v1::BATCH_TYPE_CLEAN_SHUTDOWN) h->clear_next_key();
  else h->set_next_key(Bytes(w.ratchet.public_key()));
  if (h->boot_id().size() != 36) h->set_boot_id("11111111-2222-3333-4444-555555555555");
  if (h->epoch() == 0) h->set_epoch(1);
  if (h->type() == v1::BATCH_TYPE_EPOCH_OPEN) {
    h->set_seq(0);
    if (head.known && h->epoch() <= head.epoch) h->set_epoch(head.epoch + 1);
    h->set_prev_hash(head.known ? Bytes(head.batch_hash) : std::string(32, '\0'));
    return;
  }
  if (!head.known) {
    h->set_prev_hash(std::string(32, '\0'));
    return;
  }
  h->set_boot_id(head.boot_id);
  h->set_epoch(head.epoch);
  h->set_seq(head.seq + 1);
  h->set_prev_hash(Bytes(head.batch_hash));
  // Numbers follow on, as many as were said.
  const uint64_t count = h->last_event_seq() - h->first_event_seq();
  h->set_first_event_seq(head.last_event_seq + 1);
  h->set_last_event_seq(h->first_event_seq() + count % 64);
}

void SignOpening(v1::EpochOpen* open) {
  const World& w = TheWorld();
  open->set_identity_cert(w.certificate.Der());
  open->set_signature(*w.key.Sign(Pae(kEpochPayloadType, open->statement())));
}

void Open(const ChainHead& head, v1::BatchHeader* h) {
  v1::EpochOpen* open = h->mutable_epoch_open();
  v1::EpochStatement s;
  (void)s.ParseFromString(open->statement());
  s.set_tenant(h->tenant());
  s.set_agent_id(h->agent_id());
  s.set_epoch(h->epoch());
  s.set_first_key(h->signer_key());
  s.set_boot_id(h->boot_id());
  // What it says of the epoch before stays, if it says that it knows one.
  if (s.prev_known()) {
    if (s.prev_last_hash().size() != 32) {
      s.set_prev_epoch(head.epoch);
      s.set_prev_last_seq(head.seq);
      s.set_prev_clean(head.clean);
      s.set_prev_last_hash(Bytes(head.batch_hash));
    }
    h->set_prev_hash(s.prev_last_hash());
  } else {
    h->set_prev_hash(std::string(32, '\0'));
  }
  h->set_first_event_seq(1);
  h->set_last_event_seq(h->event_count());
  open->set_statement(s.SerializeAsString());
  SignOpening(open);
}

// `body` becomes what is stored.
void Describe(std::string* body, v1::BatchHeader* h) {
  auto stored = CompressBody(*body);
  if (!stored.ok()) return;
  h->set_body_codec(v1::BODY_CODEC_ZSTD);
  h->set_raw_body_len(body->size());
  h->set_stored_body_len(stored->size());
  h->set_body_sha256(Bytes(Sha256Of(*stored)));
  event::v1::EventBatch batch;
  if (batch.ParseFromString(*body)) {
    h->set_event_count(static_cast<uint64_t>(batch.events_size()));
    h->set_events_root(Bytes(EventsRoot(batch)));
  }
  *body = *std::move(stored);
}

void CheckBody(std::string_view stored, const v1::BatchHeader& header) {
  const auto opened = OpenBody(stored, header);
  if (!opened.ok()) {
    NT_CHECK(!opened.status().message().empty());
    return;
  }
  NT_CHECK(static_cast<uint64_t>(opened->events_size()) == header.event_count());
  const auto records = Records(*opened);
  const auto root = HashFromBytes(header.events_root());
  NT_CHECK(root.has_value());
  for (size_t i = 0; i < records.size() && i < 3; ++i) {
    const auto proof = ProveRecord(*opened, i);
    NT_CHECK(proof.ok() && VerifyRecord(records[i], *proof, *root).ok());
    NT_CHECK(!VerifyRecord(std::string(records[i]) + "x", *proof, *root).ok());
  }
  NT_CHECK(!ProveRecord(*opened, records.size()).ok());
}

void Take(std::string_view bytes, unsigned repair, ChainVerifier* chain) {
  const World& w = TheWorld();
  ingest::v1::ClientMessage message;
  if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())) || !message.has_frame()) return;
  ingest::v1::Frame& frame = *message.mutable_frame();
  if ((repair & kSign) != 0) {
    v1::BatchHeader h;
    if (!h.ParseFromString(frame.leaf())) return;
    if ((repair & kJoin) != 0) Join(chain->state().head, &h);
    if ((repair & kBody) != 0) Describe(frame.mutable_body(), &h);
    if ((repair & (kOpen | kAsIs)) == (kOpen | kAsIs)) SignOpening(h.mutable_epoch_open());
    else if ((repair & kOpen) != 0) Open(chain->state().head, &h);
    const auto leaf = MakeLeaf(h.SerializeAsString(), w.ratchet);
    if (!leaf.ok()) return;
    frame.set_leaf(*leaf);
    if ((repair & kEvict) != 0) {
      const auto signed_eviction =
          SignEviction(EvictionStatement(h, BatchHash(*leaf), h.last_wall_ns()), w.key, w.certificate, {});
      if (signed_eviction.ok()) frame.set_eviction(*signed_eviction);
    }
  }
  CheckOptions options;
  options.allow_hole = (repair & kHole) != 0 || frame.after_hole();
  options.trusted = (repair & kTrusted) != 0;
  std::optional<std::string_view> body;
  if (!frame.eviction().empty()) options.eviction = frame.eviction();
  else if (!frame.body().empty()) body = frame.body();
  const std::string before = SerializeChainState(chain->state());
  const ChainHead head = chain->state().head;
  const ChainResult result = chain->Check(frame.leaf(), body, options);
  NT_CHECK(ChainVerdictName(result.verdict) != "unknown");
  if (!result.accepted()) {
    NT_CHECK(!result.reason.empty());
    NT_CHECK(SerializeChainState(chain->state()) == before);
    NT_CHECK((result.verdict == ChainVerdict::kAhead) == result.expected.has_value());
    return;
  }
  const v1::BatchHeader& h = result.leaf->header;
  NT_CHECK(chain->state().head.epoch == h.epoch() && chain->state().head.seq == h.seq());
  NT_CHECK(options.allow_hole || result.notes.holes.empty());
  const bool follows = head.known && h.epoch() == head.epoch && h.seq() == head.seq + 1;
  NT_CHECK(!follows || (h.prev_hash() == View(head.batch_hash) && h.signer_key() == head.next_key && !head.clean));
  const auto again = ParseChainState(SerializeChainState(chain->state()));
  NT_CHECK(again.ok() && SerializeChainState(*again) == SerializeChainState(chain->state()));
  NT_CHECK(chain->Check(frame.leaf(), body, options).verdict == ChainVerdict::kDuplicate);
  if (options.trusted) return;
  NT_CHECK(VerifyLeafSignature(*result.leaf));
  if (body) {
    NT_CHECK(CheckStoredBody(*body, h).ok());
    CheckBody(*body, h);
  }
}

void Run(std::string_view bytes) {
  const unsigned policy_byte = static_cast<unsigned char>(bytes.front());
  bytes.remove_prefix(1);
  ChainPolicy policy{"", "", &TheWorld().cas, (policy_byte & 2U) != 0 ? size_t{2} : size_t{16}};
  if ((policy_byte & 1U) != 0) policy.sig_algs = {v1::SIG_ALG_ECDSA_P256_SHA256};
  if ((policy_byte & 4U) != 0) {
    policy.judge = [](const v1::BatchHeader& h) {
      if (h.seq() < 2) return EnrolmentRuling{};
      return EnrolmentRuling{EnrolmentVerdict::kRevoked, "revoked from 2 on"};
    };
  }
  ChainVerifier chain(std::move(policy));
  for (int frames = 0; frames < 16 && bytes.size() >= 3; ++frames) {
    const unsigned repair = static_cast<unsigned char>(bytes[0]);
    const size_t said = static_cast<unsigned char>(bytes[1]) + (size_t{static_cast<unsigned char>(bytes[2])} << 8U);
    bytes.remove_prefix(3);
    const size_t length = std::min(said, bytes.size());
    Take(bytes.substr(0, length), repair, &chain);
    bytes.remove_prefix(length);
  }
  (void)chain.expected();
}

}  // namespace
}  // namespace nodetrail::trail

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  nodetrail::trail::Run({reinterpret_cast<const char*>(data), size});
  return 0;
}

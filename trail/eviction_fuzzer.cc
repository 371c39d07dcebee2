// SPDX-License-Identifier: Apache-2.0
//
// Statements about evicted bodies from hostile bytes. The first byte says what
// the harness repairs, so that the fuzzer gets past the signature: bit 0 the
// certificate, bit 1 the signature too, bit 2 makes the leaf that the
// statement tells of; bit 3 has the statement signed by our own signer too.
#include <cstdint>
#include <string>
#include <string_view>

#include "nodetrail/base/status.h"
#include "nodetrail/trail/eviction.h"
#include "trail/testing/test_pki.h"

namespace nodetrail::trail {
namespace {

struct World {
  TestCa ca;
  TestCa::Identity identity = ca.IssueAgent("acme", "web-1");
  CaSet cas = *CaSet::FromPem(ca.CertPem());
  EcdsaKey key = *EcdsaKey::FromPem(identity.key_pem);
  Certificate certificate = *Certificate::FromPem(identity.cert_pem);
};

void Run(std::string bytes, unsigned mode) {
  static const World world;
  v1::SignedEviction envelope;
  if ((mode & 1U) != 0 && envelope.ParseFromString(bytes)) {
    envelope.set_identity_cert(world.certificate.Der());
    if ((mode & 2U) != 0) {
      envelope.set_signature(*world.key.Sign(Pae(kEvictionPayloadType, envelope.statement())));
    }
    bytes = envelope.SerializeAsString();
  }
  const auto parsed = ParseEviction(bytes);
  v1::BatchHeader header;
  header.set_tenant("acme");
  header.set_agent_id("web-1");
  header.set_body_codec(v1::BODY_CODEC_ZSTD);
  Hash hash{};
  if (parsed.ok()) {
    // What was taken is what it says, and nothing else.
    NT_CHECK(bytes.size() <= kMaxEvictionBytes);
    NT_CHECK(parsed->statement.batch_hash().size() == 32 && parsed->statement.body_sha256().size() == 32);
    NT_CHECK(parsed->envelope.SerializeAsString() == bytes);
    // What we sign of the same says the same, and is taken.
    if ((mode & 8U) != 0) {
      const auto ours = SignEviction(parsed->statement, world.key, world.certificate, {});
      NT_CHECK(ours.ok() && ParseEviction(*ours).ok());
      NT_CHECK(ParseEviction(*ours)->statement.SerializeAsString() == parsed->statement.SerializeAsString());
    }
    if ((mode & 4U) != 0) {
      const v1::BodyEvicted& s = parsed->statement;
      header.set_tenant(s.tenant());
      header.set_agent_id(s.agent_id());
      header.set_epoch(s.epoch());
      header.set_seq(s.seq());
      header.set_body_sha256(s.body_sha256());
      header.set_event_count(s.event_count());
      header.set_first_wall_ns(s.first_wall_ns());
      header.set_last_wall_ns(s.last_wall_ns());
      hash = *HashFromBytes(s.batch_hash());
    }
  }
  const Status holds = CheckEviction(bytes, header, hash, world.cas);
  if (holds.ok()) {
    NT_CHECK(parsed.ok() && parsed->statement.tenant() == "acme" && parsed->statement.agent_id() == "web-1");
    NT_CHECK(world.certificate.VerifyEcdsa(Pae(kEvictionPayloadType, parsed->envelope.statement()),
                                           parsed->envelope.signature()) ||
             (mode & 1U) == 0);
  }
  NT_CHECK(parsed.ok() || !holds.ok());
}

}  // namespace
}  // namespace nodetrail::trail

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  nodetrail::trail::Run(std::string(reinterpret_cast<const char*>(data) + 1, size - 1), data[0]);
  return 0;
}

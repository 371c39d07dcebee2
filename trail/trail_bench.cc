// SPDX-License-Identifier: Apache-2.0
//
// Ed25519 in the two libraries at hand, and what a batch costs to seal and to
// verify. Prints microseconds per operation; the numbers of docs/adr/0008 are
// from here.
#include <openssl/evp.h>
#include <sodium.h>

#include <chrono>
#include <cstdio>
#include <functional>
#include <string>

#include "nodetrail/trail/body.h"
#include "nodetrail/trail/chain.h"
#include "nodetrail/trail/crypto.h"
#include "trail/testing/test_agent.h"
#include "trail/throughput_bench.h"

namespace nodetrail::trail {
namespace {

double MicrosecondsPer(int n, const std::function<void()>& operation) {
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < n; ++i) operation();
  const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - start;
  return took.count() / n;
}

void Report(const char* what, double us) { std::printf("%-44s %9.1f us\n", what, us); }

void Libraries() {
  constexpr int kRounds = 3000;
  const Ed25519Key key = *Ed25519Key::FromSeed(std::string(32, 'k'));
  const std::string message(600, 'm');
  const Signature signature = key.Sign(message);
  Report("libsodium Ed25519 sign, 600 bytes", MicrosecondsPer(kRounds, [&] { (void)key.Sign(message); }));
  Report("libsodium Ed25519 verify",
         MicrosecondsPer(kRounds, [&] { NT_CHECK(Ed25519Verify(key.public_key(), message, View(signature))); }));
  Report("libsodium Ed25519 generate", MicrosecondsPer(kRounds, [] { (void)Ed25519Key::Generate(); }));

  const auto* data = reinterpret_cast<const unsigned char*>(message.data());
  EVP_PKEY* openssl = EVP_PKEY_new_raw_private_key(
      EVP_PKEY_ED25519, nullptr, reinterpret_cast<const unsigned char*>(std::string(32, 'k').data()), 32);
  EVP_PKEY* openssl_public = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr, key.public_key().data(), 32);
  Report("OpenSSL Ed25519 sign", MicrosecondsPer(kRounds, [&] {
           EVP_MD_CTX* ctx = EVP_MD_CTX_new();
           unsigned char out[64];
           size_t size = sizeof(out);
           NT_CHECK(EVP_DigestSignInit(ctx, nullptr, nullptr, nullptr, openssl) == 1 &&
                    EVP_DigestSign(ctx, out, &size, data, message.size()) == 1);
           EVP_MD_CTX_free(ctx);
         }));
  Report("OpenSSL Ed25519 verify", MicrosecondsPer(kRounds, [&] {
           EVP_MD_CTX* ctx = EVP_MD_CTX_new();
           NT_CHECK(EVP_DigestVerifyInit(ctx, nullptr, nullptr, nullptr, openssl_public) == 1 &&
                    EVP_DigestVerify(ctx, signature.data(), signature.size(), data, message.size()) == 1);
           EVP_MD_CTX_free(ctx);
         }));
  EVP_PKEY_free(openssl);
  EVP_PKEY_free(openssl_public);

  const std::string block(64 * 1024, 'x');
  Report("OpenSSL SHA-256, 64 KiB", MicrosecondsPer(500, [&] { (void)Sha256Of(block); }));
  Report("libsodium SHA-256, 64 KiB", MicrosecondsPer(500, [&] {
           unsigned char out[crypto_hash_sha256_BYTES];
           crypto_hash_sha256(out, reinterpret_cast<const unsigned char*>(block.data()), block.size());
         }));
}

void Batches() {
  const TestCa ca;
  const CaSet cas = *CaSet::FromPem(ca.CertPem());
  TestAgent agent(ca, "acme", "web-1");
  ChainVerifier verifier({"acme", "web-1", &cas, 1024});
  std::vector<SealedBatch> batches{agent.Batch(512)};
  Report("make and seal a batch of 512 events", MicrosecondsPer(200, [&] { batches.push_back(agent.Batch(512)); }));
  size_t at = 0;
  Report("check a leaf and its body's hash", MicrosecondsPer(static_cast<int>(batches.size()), [&] {
           NT_CHECK(verifier.Check(batches[at].leaf, batches[at].body).accepted());
           ++at;
         }));
  at = 0;
  Report("open a body of 512 events (root and numbers)", MicrosecondsPer(static_cast<int>(batches.size()), [&] {
           NT_CHECK(OpenBody(batches[at].body, batches[at].header).ok());
           ++at;
         }));
}

}  // namespace
}  // namespace nodetrail::trail

// nt_trail_bench [TRAIL_DIR]: with a trail that the product wrote, what sealing
// and ingest do with its events as well.
int main(int argc, char** argv) {
  nodetrail::trail::Libraries();
  nodetrail::trail::Batches();
  if (argc < 2) {
    std::printf(
        "throughput needs recorded events: ./dev bench trail records a build, or give a TRAIL_DIR that one was "
        "observed in\n");
    return 0;
  }
  const nodetrail::Status status = nodetrail::trail::BenchThroughput(argv[1]);
  if (!status.ok()) std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return status.ok() ? 0 : 1;
}

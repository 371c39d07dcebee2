// SPDX-License-Identifier: Apache-2.0
//
// Writes the seeds of the witness_request fuzzer into the folder given:
// tests/fuzz/corpus/witness_request. The same bytes every time.
#include <fmt/format.h>

#include <cstdio>
#include <string>
#include <vector>

#include "nodetrail/base/fd.h"
#include "nodetrail/trail/merkle.h"
#include "nodetrail/trail/note.h"

namespace nodetrail::witness {
namespace {

// The log of the fuzzer: leaves a, b, c …
std::vector<trail::Hash> Leaves(size_t count) {
  std::vector<trail::Hash> out;
  for (size_t i = 0; i < count; ++i) out.push_back(trail::LeafHash(std::string(1, static_cast<char>('a' + i))));
  return out;
}

std::string Text(size_t size) {
  return *trail::CheckpointBody({"trail.example.com/default", size, trail::MerkleRoot(Leaves(size)), {}});
}

std::string Proof(size_t old_size, size_t size) {
  std::string out;
  const auto proof = trail::ConsistencyProof(Leaves(size), old_size);
  for (const trail::Hash& hash : *proof) out += trail::Base64Encode(trail::View(hash)) + "\n";
  return out;
}

std::string Request(size_t old_size, size_t size) {
  const trail::Ed25519Key key = *trail::Ed25519Key::FromSeed(std::string(32, 'l'));
  return fmt::format("old {}\n{}\n{}", old_size, Proof(old_size, size),
                     *trail::SignNote(Text(size), "trail.example.com/default", key));
}

std::string Http(const std::string& body) {
  return fmt::format("POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n{}",
                     body.size(), body);
}

int Run(const std::string& dir) {
  const struct {
    const char* name;
    char mode;  // as in witness_request_fuzzer.cc
    std::string bytes;
  } seeds[] = {
      {"http-first", 0, Http(Request(0, 3))},
      {"http-next", 4, Http(Request(3, 5))},
      {"http-get", 0, "GET /metrics?x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"},
      {"http-chunked", 0, "POST /add-checkpoint HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"},
      {"body-first", 1, Request(0, 3)},
      {"body-next", 5, Request(3, 5)},
      {"body-again", 5, Request(3, 3)},
      {"body-conflict", 5, Request(2, 5)},
      {"proof", 6, "old 3\n" + Proof(3, 5)},
      {"proof-short", 6, "old 3\n"},
      {"proof-first", 2, "old 0"},
      {"text", 3, Text(3)},
      {"text-same", 7, Text(3)},
      {"text-extended", 7, Text(3) + "extension\n"},
      {"text-empty", 3, Text(0)},
  };
  for (const auto& seed : seeds) {
    const Status written = WriteFileAtomically(dir + "/" + seed.name, std::string(1, seed.mode) + seed.bytes, 0644);
    if (written.ok()) continue;
    std::fprintf(stderr, "nt_make_witness_seeds: %s\n", std::string(written.message()).c_str());
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace nodetrail::witness

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: nt_make_witness_seeds DIR\n");
    return 64;
  }
  return nodetrail::witness::Run(argv[1]);
}

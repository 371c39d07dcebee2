// SPDX-License-Identifier: Apache-2.0
//
// A corpus of good and damaged trails and bundles for two verifiers to agree
// on: directories, and cases.jsonl, one line for each with what is expected.
// Used by nt_make_trails only; trouble on disk ends the program.
#ifndef NODETRAIL_TRAIL_TESTING_CORPUS_H_
#define NODETRAIL_TRAIL_TESTING_CORPUS_H_

#include <cstdint>
#include <fstream>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "nodetrail/trail/note.h"
#include "trail/testing/test_agent.h"

namespace nodetrail::trail {

inline constexpr const char* kOrigin = "trail.example.org/acme";
inline constexpr uint64_t kAll = UINT64_MAX;

// Ends the program if something on disk fails.
void Must(const Status& status);
// Ends the program: the corpus can't be made so.
[[noreturn]] void Fail(const std::string& why);
std::string Slurp(const std::string& file);
void Spill(const std::string& file, const std::string& bytes);
std::string RecordOf(const std::string& leaf);  // as in a segment
void Flip(const std::string& file, size_t offset);
std::string BodyFile(const SealedBatch& batch);     // "/bodies/…"
std::string EvictedFile(const SealedBatch& batch);  // in its place

struct Trail {
  std::vector<SealedBatch> batches;  // an entry of the log's own: only the leaf is set
  uint64_t segment_bytes = 4096;
  uint64_t covered = kAll;  // leaves under the checkpoint
  std::string note;         // instead of a right one
};

// What a case is called, how it is verified, and what must come out.
struct Case {
  std::string name = "";
  std::string dir = "";        // of another case, if it is not `name`
  std::string expected = "0";  // exit code; "!0": any but 0; "*": any
  std::string batch = "-";     // first bad; "-": not said
  std::string reason = "-";    // of the first bad; "-": not said
  std::string ca = "ca.pem";
  std::string log_key = "log.key";      // "": none
  std::string policy = "";              // "": none
  std::vector<std::string> prior = {};  // files beside the trails
  bool require_enrolment = false;
  std::string spared = "";   // of a mutation that changes nothing under evidence: why
  std::string changed = "";  // of a mutation: the file
};

struct BundleSpec {
  std::string since = "null";  // as in the manifest, with quotes
  std::string until = "null";
  std::vector<std::string> agents = {};  // none: all
  std::vector<size_t> bodies = {};       // batches whose body is in; see all_bodies
  bool all_bodies = true;
  uint64_t in_scope = kAll;  // manifest's number of bodies; kAll: those that are in
  std::vector<std::pair<std::string, std::string>> receipts = {};      // name, content
  std::function<void(std::string* manifest)> edit_manifest = nullptr;  // before its hash is taken
};

class Corpus {
 public:
  using OnDisk = std::function<void(const std::string& trail)>;

  // `without`: features that the first verifier does not know; cases that need
  // one are left out.
  Corpus(std::string dir, std::set<std::string> without);
  [[nodiscard]] bool Has(const std::string& feature) const { return !without_.contains(feature); }
  // Of all cases from now on; "": nothing.
  void Need(const std::string& feature) { needs_ = feature; }

  // Two agents; web-1 is 0 to 6 and 11 to 13 of the log, web-2 7 to 10.
  Trail Good();
  std::string Note(const std::vector<SealedBatch>& batches, uint64_t size = kAll);
  // An entry that the log signed.
  SealedBatch Entry(const v1::LogEntry& entry, const Ed25519Key* key = nullptr) {
    return EntryOf(entry.SerializeAsString(), key);
  }
  SealedBatch EntryOf(const std::string& bytes, const Ed25519Key* key = nullptr);
  SealedBatch Enrol(const TestAgent& agent, const std::vector<v1::SigAlg>& algorithms = {});
  static v1::LogEntry EnrolOf(const std::string& agent_id, const std::string& spki_sha256);
  static v1::LogEntry RevokeOf(const std::string& agent_id, uint64_t epoch, uint64_t seq);
  // A tlog-proof of the leaf at `index` under the checkpoint `note` of `size`.
  static std::string Receipt(const std::vector<SealedBatch>& batches, uint64_t index, uint64_t size,
                             const std::string& note);
  // `note` with the cosignatures of these of the witnesses (0 to 3).
  std::string Cosigned(const std::string& note, const std::vector<size_t>& who, uint64_t time = 1'700'000'000) const;
  std::string WitnessVkey(size_t which) const;
  // A file beside the trails; returns `name`.
  std::string File(const std::string& name, const std::string& bytes) const;

  void Add(const Case& c, const Trail& trail, const OnDisk& damage = nullptr);
  // The files of c.dir, which is there already, verified in another way.
  void AddAgain(const Case& c) { List(c); }
  void AddBundle(const Case& c, const Trail& trail, const BundleSpec& spec, const OnDisk& damage = nullptr);
  // A trail that is on disk already; a copy is much faster than durable writes.
  void AddCopy(const std::string& from, const Case& c, const OnDisk& damage);

  void Plain(const std::string& name, const std::string& expected, const std::string& bad, const Trail& trail,
             const OnDisk& damage = nullptr, const std::string& older = "", const std::string& ca = "ca.pem");
  // The same leaves, changed, under the checkpoint of before.
  void Kept(const std::string& name, const std::string& bad, const std::function<void(Trail*)>& edit);
  // … and under a root that the stolen log key signed.
  void Signed(const std::string& name, const std::string& expected, const std::string& bad,
              const std::function<void(Trail*)>& edit);

  [[nodiscard]] const std::string& dir() const { return dir_; }
  [[nodiscard]] const TestCa& ca() const { return ca_; }
  [[nodiscard]] const Ed25519Key& log_key() const { return log_key_; }

 private:
  void Write(const std::string& at, const Trail& trail);
  void List(const Case& c);

  std::string dir_;
  TestCa ca_;
  Ed25519Key log_key_;
  std::vector<Ed25519Key> witnesses_;
  std::set<std::string> without_;
  std::string needs_;
  std::ofstream list_;
};

// Writes the tiles of the first `size` leaves.
void WriteTiles(const std::string& trail, const std::vector<SealedBatch>& batches, uint64_t size = kAll);

// The parts, each in a file of its own.
void AddFiles(Corpus* m);
void AddLeaves(Corpus* m);
void AddChains(Corpus* m);
void AddEvidence(Corpus* m);
void AddRetention(Corpus* m);
void AddPolicies(Corpus* m);
void AddBundles(Corpus* m);
// `seed`: of the histories that are thrown together.
void AddCoverage(Corpus* m, uint64_t seed);
// One good trail of about this many bytes of leaves, in `dir`.
void AddLarge(const std::string& dir, uint64_t bytes);
void AddMutations(Corpus* m, uint64_t seed, int count);

// Verifies every case of DIR/cases.jsonl and prints a line of JSON for each.
int VerifyCorpus(const std::string& dir);

}  // namespace nodetrail::trail

#endif  // NODETRAIL_TRAIL_TESTING_CORPUS_H_

// SPDX-License-Identifier: Apache-2.0
#include "trail/testing/corpus.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "nodetrail/base/fd.h"
#include "nodetrail/trail/merkle.h"
#include "nodetrail/trail/tile.h"
#include "nodetrail/trail/trail_store.h"

namespace nodetrail::trail {
namespace {

namespace fs = std::filesystem;
constexpr size_t kWitnesses = 4;

std::string LogEntryLeaf(const std::string& entry, const Signature& signature) {
  std::string leaf = "\x1a";
  size_t rest = entry.size();
  for (; rest >= 0x80; rest >>= 7U) leaf += static_cast<char>((rest & 0x7fU) | 0x80U);
  leaf += static_cast<char>(rest);
  return leaf + entry + "\x22\x40" + Bytes(signature);
}

// A heartbeat of an agent that has nothing to tell, with all that a header may have.
void WithoutBody(v1::BatchHeader* header) {
  header->set_type(v1::BATCH_TYPE_HEARTBEAT);
  header->set_body_codec(v1::BODY_CODEC_NONE);
  header->clear_raw_body_len();
  header->clear_stored_body_len();
  header->clear_events_root();
  header->clear_body_sha256();
  header->set_config_sha256(std::string(32, 'c'));
  header->set_program_sha256(std::string(32, 'p'));
}

void PutLe(std::string* out, uint64_t value, unsigned bytes) {
  for (unsigned i = 0; i < bytes; ++i) *out += static_cast<char>(value >> (8 * i));
}

std::string SegmentHeader(uint64_t first) {
  std::string out = "NTLEAVES";
  PutLe(&out, 1, 4);
  PutLe(&out, 0, 4);
  PutLe(&out, first, 8);
  PutLe(&out, 0, 4);
  PutLe(&out, Crc32c(out), 4);
  return out;
}

void PutFile(const std::string& file, const std::string& bytes) {
  fs::create_directories(fs::path(file).parent_path());
  Spill(file, bytes);
}

std::string Quoted(const std::vector<std::string>& names) {
  if (names.empty()) return "null";
  std::string out = "[";
  for (const std::string& name : names) out += fmt::format("{}\n    \"{}\"", out.size() > 1 ? "," : "", name);
  return out + "\n  ]";
}

}  // namespace

void Must(const Status& status) {
  if (!status.ok()) Fail(std::string(status.message()));
}
void Fail(const std::string& why) {
  fmt::print(stderr, "nt_make_trails: {}\n", why);
  std::exit(1);
}
std::string Slurp(const std::string& file) {
  auto bytes = ReadFile(file, 1U << 28);
  Must(bytes.status());
  return *std::move(bytes);
}
void Spill(const std::string& file, const std::string& bytes) {
  std::ofstream out(file, std::ios::binary);
  out << bytes;
  if (!out.flush()) Fail("can't write " + file);
}
std::string RecordOf(const std::string& leaf) {
  std::string out;
  PutLe(&out, leaf.size(), 4);
  PutLe(&out, Crc32c(leaf), 4);
  return out + leaf;
}
void Flip(const std::string& file, size_t offset) {
  std::string bytes = Slurp(file);
  bytes.at(offset) = static_cast<char>(bytes.at(offset) ^ 0x20);
  Spill(file, bytes);
}
std::string BodyFile(const SealedBatch& batch) { return "/" + BodyPath(*HashFromBytes(batch.header.body_sha256())); }
std::string EvictedFile(const SealedBatch& batch) {
  return fs::path(BodyFile(batch)).replace_extension(".evicted").string();
}

Corpus::Corpus(std::string dir, std::set<std::string> without)
    : dir_(std::move(dir)), log_key_(Ed25519Key::Generate()), without_(std::move(without)) {
  fs::create_directories(dir_);
  for (size_t i = 0; i < kWitnesses; ++i) witnesses_.push_back(Ed25519Key::Generate());
  File("ca.pem", ca_.CertPem());
  File("stranger.pem", TestCa("stranger").CertPem());
  File("log.key", NoteVerifier::Make(kOrigin, log_key_.public_key())->ToString());
  list_.open(dir_ + "/cases.jsonl");
}

std::string Corpus::File(const std::string& name, const std::string& bytes) const {
  Spill(dir_ + "/" + name, bytes);
  return name;
}

std::string Corpus::Note(const std::vector<SealedBatch>& batches, uint64_t size) {
  CompactRange tree;
  for (const SealedBatch& batch : batches) {
    if (tree.size() < size) tree.Append(LeafHash(batch.leaf));
  }
  return *SignCheckpoint({kOrigin, tree.size(), tree.Root(), {}}, log_key_);
}

SealedBatch Corpus::EntryOf(const std::string& bytes, const Ed25519Key* key) {
  SealedBatch out;
  out.leaf = LogEntryLeaf(
      bytes, (key != nullptr ? *key : log_key_).Sign(Pae("application/vnd.nodetrail.log-entry.v1", bytes)));
  return out;
}

v1::LogEntry Corpus::EnrolOf(const std::string& agent_id, const std::string& spki_sha256) {
  v1::LogEntry entry;
  entry.set_format_version(1);
  entry.set_tenant("acme");
  entry.set_wall_ns(1'700'000'000'000'000'000);
  entry.mutable_enrol()->set_agent_id(agent_id);
  entry.mutable_enrol()->set_identity_spki_sha256(spki_sha256);
  entry.mutable_enrol()->set_token_id("token-1");
  return entry;
}

SealedBatch Corpus::Enrol(const TestAgent& agent, const std::vector<v1::SigAlg>& algorithms) {
  v1::LogEntry entry = EnrolOf(agent.agent_id(), Bytes(Sha256Of(agent.identity().PublicDer())));
  for (const v1::SigAlg algorithm : algorithms) entry.mutable_enrol()->add_sig_algs(algorithm);
  return Entry(entry);
}

v1::LogEntry Corpus::RevokeOf(const std::string& agent_id, uint64_t epoch, uint64_t seq) {
  v1::LogEntry entry;
  entry.set_format_version(1);
  entry.set_tenant("acme");
  entry.set_wall_ns(1'700'000'000'000'000'000);
  entry.mutable_revoke()->set_agent_id(agent_id);
  entry.mutable_revoke()->set_epoch(epoch);
  entry.mutable_revoke()->set_effective_seq(seq);
  entry.mutable_revoke()->set_reason("stolen");
  return entry;
}

std::string Corpus::Receipt(const std::vector<SealedBatch>& batches, uint64_t index, uint64_t size,
                            const std::string& note) {
  std::vector<Hash> hashes;
  for (const SealedBatch& batch : batches) {
    if (hashes.size() < size) hashes.push_back(LeafHash(batch.leaf));
  }
  std::string out = fmt::format("c2sp.org/tlog-proof@v1\nindex {}\n", index);
  const auto path = InclusionProof(hashes, index);
  Must(path.status());
  for (const Hash& hash : *path) out += Base64Encode(View(hash)) + "\n";
  return out + "\n" + note;
}

std::string Corpus::WitnessVkey(size_t which) const {
  return CosignerVerifier::Make(fmt::format("witness.example.org/w{}", which), witnesses_.at(which).public_key())
      ->ToString();
}

std::string Corpus::Cosigned(const std::string& note, const std::vector<size_t>& who, uint64_t time) const {
  std::string out = note;
  for (const size_t which : who) {
    out += *CosignCheckpoint(note, fmt::format("witness.example.org/w{}", which), witnesses_.at(which), time);
  }
  return out;
}

Trail Corpus::Good() {
  Trail out;
  TestAgent one(ca_, "acme", "web-1");
  TestAgent two(ca_, "acme", "web-2");
  two.now_ns += 500;  // no two bodies alike
  for (int i = 0; i < 6; ++i) out.batches.push_back(one.Batch());
  out.batches.push_back(one.CleanShutdown());
  for (int i = 0; i < 4; ++i) out.batches.push_back(two.Batch());
  one.Restart();
  for (int i = 0; i < 3; ++i) out.batches.push_back(one.Batch());
  return out;
}

// Without the collector's writer, which syncs each step to disk.
void Corpus::Write(const std::string& at, const Trail& trail) {
  fs::create_directories(at + "/log");
  Spill(at + "/FORMAT", "nodetrail-trail 1\n");
  for (const SealedBatch& batch : trail.batches) {
    if (!batch.body.empty()) PutFile(at + "/" + BodyPath(Sha256Of(batch.body)), batch.body);
  }
  std::string segment;
  int number = 0;
  for (size_t i = 0; i < trail.batches.size(); ++i) {
    if (segment.empty()) segment = SegmentHeader(i);
    segment += RecordOf(trail.batches[i].leaf);
    if (segment.size() < trail.segment_bytes && i + 1 < trail.batches.size()) continue;
    Spill(fmt::format("{}/log/{:06}.leaves", at, number++), segment);
    segment.clear();
  }
  Spill(at + "/log/checkpoint", trail.note.empty() ? Note(trail.batches, trail.covered) : trail.note);
}

void Corpus::List(const Case& c) {
  if (without_.contains(needs_)) return;
  nlohmann::ordered_json line;
  line["name"] = c.name;
  line["dir"] = c.dir.empty() ? c.name : c.dir;
  line["expected"] = c.expected;
  line["batch"] = c.batch;
  line["reason"] = c.reason;
  line["ca"] = c.ca;
  line["log_key"] = c.log_key;
  line["policy"] = c.policy;
  line["prior"] = c.prior;
  line["require_enrolment"] = c.require_enrolment;
  line["changed"] = c.changed;
  line["spared"] = c.spared;
  list_ << line.dump() << "\n";
}

void Corpus::Add(const Case& c, const Trail& trail, const OnDisk& damage) {
  const std::string at = dir_ + "/" + c.name;
  Write(at, trail);
  if (damage) damage(at);
  List(c);
}

void Corpus::AddBundle(const Case& c, const Trail& trail, const BundleSpec& spec, const OnDisk& damage) {
  const std::string at = dir_ + "/" + c.name;
  Trail part = trail;
  if (!spec.all_bodies) {
    for (size_t i = 0; i < part.batches.size(); ++i) {
      if (std::find(spec.bodies.begin(), spec.bodies.end(), i) == spec.bodies.end()) part.batches[i].body.clear();
    }
  }
  uint64_t bodies = 0;
  for (const SealedBatch& batch : part.batches) bodies += batch.body.empty() ? 0U : 1U;
  Write(at, part);
  Spill(at + "/FORMAT", "nodetrail-bundle 1\n");
  const uint64_t size = std::min<uint64_t>(trail.covered, trail.batches.size());
  std::string manifest = fmt::format(
      "{{\n  \"format\": \"nodetrail-bundle 1\",\n  \"origin\": \"{}\",\n  \"tenant\": \"acme\",\n"
      "  \"checkpoint_size\": {},\n  \"since\": {},\n  \"until\": {},\n  \"agents\": {},\n  \"bodies\": {},\n"
      "  \"receipts\": {}\n}}\n",
      kOrigin, size, spec.since, spec.until, Quoted(spec.agents), spec.in_scope == kAll ? bodies : spec.in_scope,
      spec.receipts.size());
  if (spec.edit_manifest) spec.edit_manifest(&manifest);
  Spill(at + "/manifest.json", manifest);
  Spill(at + "/manifest.sha256", Hex(Sha256Of(manifest)) + "  manifest.json\n");
  if (!spec.receipts.empty()) fs::create_directories(at + "/receipts");
  for (const auto& [name, content] : spec.receipts) Spill(fmt::format("{}/receipts/{}", at, name), content);
  if (damage) damage(at);
  List(c);
}

void Corpus::AddCopy(const std::string& from, const Case& c, const OnDisk& damage) {
  fs::copy(dir_ + "/" + from, dir_ + "/" + c.name, fs::copy_options::recursive);
  damage(dir_ + "/" + c.name);
  List(c);
}

void Corpus::Plain(const std::string& name, const std::string& expected, const std::string& bad, const Trail& trail,
                   const OnDisk& damage, const std::string& older, const std::string& ca) {
  Case c{.name = name, .expected = expected, .batch = bad, .ca = ca};
  if (!older.empty()) c.prior.push_back(File(name + ".older", older));
  Add(c, trail, damage);
}

void Corpus::Kept(const std::string& name, const std::string& bad, const std::function<void(Trail*)>& edit) {
  Trail trail = Good();
  trail.note = Note(trail.batches);
  edit(&trail);
  Plain(name, "3", bad, trail);
}

void Corpus::Signed(const std::string& name, const std::string& expected, const std::string& bad,
                    const std::function<void(Trail*)>& edit) {
  Trail trail = Good();
  edit(&trail);
  Plain(name, expected, bad, trail);
}

void AddLarge(const std::string& dir, uint64_t bytes) {
  const TestCa ca;
  const Ed25519Key log_key = Ed25519Key::Generate();
  auto writer = TrailWriter::Open(dir);
  Must(writer.status());
  TestAgent agent(ca, "acme", "web-1");
  CompactRange tree;
  for (uint64_t written = 0; written < bytes;) {
    std::vector<SealedBatch> group;
    std::vector<std::string_view> leaves;
    for (int i = 0; i < 1000; ++i) {
      const bool first = tree.size() == 0 && i == 0;
      group.push_back(agent.Batch(first ? 1 : 0, first ? TestAgent::Edit() : WithoutBody));
    }
    for (const SealedBatch& batch : group) {
      if (batch.header.body_codec() == v1::BODY_CODEC_ZSTD) Must((*writer)->PutBody(Sha256Of(batch.body), batch.body));
      leaves.emplace_back(batch.leaf);
      tree.Append(LeafHash(batch.leaf));
      written += batch.leaf.size();
    }
    Must((*writer)->AppendLeaves(leaves));
  }
  Must((*writer)->WriteCheckpoint(*SignCheckpoint({kOrigin, tree.size(), tree.Root(), {}}, log_key)));
  Spill(dir + ".ca.pem", ca.CertPem());
  Spill(dir + ".log.key", NoteVerifier::Make(kOrigin, log_key.public_key())->ToString());
}

void WriteTiles(const std::string& trail, const std::vector<SealedBatch>& batches, uint64_t size) {
  TileBuilder builder;
  std::vector<Tile> tiles;
  for (const SealedBatch& batch : batches) {
    if (builder.size() < size) builder.Append(batch.leaf, LeafHash(batch.leaf), &tiles);
  }
  for (Tile& tile : builder.Edge()) tiles.push_back(std::move(tile));
  for (const Tile& tile : tiles) {
    const std::string file = trail + "/log/" + TilePath(tile.id);
    PutFile(file, tile.bytes);
  }
}

}  // namespace nodetrail::trail

// SPDX-License-Identifier: Apache-2.0
//
// A secret on a command line is found nowhere downstream: not in bodies, index,
// spool, frames or logs; raw, base64, hex or any 8-byte slice of these. The
// same search must find the harmless marker beside it, or it proves nothing.
#include <gtest/gtest.h>
#include <zstd.h>

#include <cstring>
#include <filesystem>
#include <map>
#include <random>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include "nodetrail/trail/body.h"
#include "nodetrail/trail/crypto.h"
#include "tests/e2e/capturing_ingest.h"
#include "tests/e2e/harness.h"

namespace nodetrail::e2e {
namespace {

namespace fs = std::filesystem;

std::string RandomWord(std::mt19937_64* rng, size_t length) {
  static constexpr char kAlphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
  std::string out;
  std::uniform_int_distribution<size_t> pick(0, sizeof(kAlphabet) - 2);
  for (size_t i = 0; i < length; ++i) out += kAlphabet[pick(*rng)];
  return out;
}

using Slice = uint64_t;  // 8 bytes as they lie in memory

Slice SliceAt(const std::string& text, size_t at) {
  Slice slice = 0;
  std::memcpy(&slice, text.data() + at, sizeof(slice));
  return slice;
}

// Every 8-byte slice of the word, of its hex in both cases and of its base64 at
// each of the three alignments that it can have inside a longer text.
std::unordered_set<Slice> Slices(const std::string& word) {
  std::vector<std::string> forms = {word, trail::HexEncode(word)};
  std::string upper = forms[1];
  for (char& c : upper) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  forms.push_back(upper);
  for (size_t shift = 0; shift < 3; ++shift) {
    // Only whole groups that depend on the word alone.
    const std::string part = word.substr(shift, (word.size() - shift) / 3 * 3);
    forms.push_back(trail::Base64Encode(part));
  }
  std::unordered_set<Slice> out;
  for (const std::string& form : forms) {
    for (size_t i = 0; i + sizeof(Slice) <= form.size(); ++i) out.insert(SliceAt(form, i));
  }
  return out;
}

class Haystack {
 public:
  void Add(const std::string& name, std::string bytes) { places_[name] += std::move(bytes); }
  void AddFiles(const std::string& name, const fs::path& dir) {
    for (const auto& entry : fs::recursive_directory_iterator(dir)) {
      if (entry.is_regular_file()) Add(name, ReadAll(entry.path().string()));
    }
  }
  // For each word, the places where any slice of it occurs. One pass over each place.
  [[nodiscard]] std::map<std::string, std::set<std::string>> Find(const std::vector<std::string>& words) const {
    std::unordered_map<Slice, std::string> owner;
    for (const std::string& word : words) {
      for (const Slice slice : Slices(word)) owner.emplace(slice, word);
    }
    std::map<std::string, std::set<std::string>> out;
    for (const auto& [name, bytes] : places_) {
      for (size_t i = 0; i + sizeof(Slice) <= bytes.size(); ++i) {
        const Slice slice = SliceAt(bytes, i);
        if (slice == 0) continue;  // the unwritten part of a segment
        if (const auto hit = owner.find(slice); hit != owner.end()) out[hit->second].insert(name);
      }
    }
    return out;
  }
  [[nodiscard]] size_t bytes() const {
    size_t sum = 0;
    for (const auto& [name, text] : places_) sum += text.size();
    return sum;
  }

 private:
  std::map<std::string, std::string> places_;
};

std::string Decompress(const std::string& stored) {
  const auto raw = ZSTD_getFrameContentSize(stored.data(), stored.size());
  EXPECT_LT(raw, 64U << 20);
  std::string out(raw, '\0');
  EXPECT_EQ(ZSTD_decompress(out.data(), out.size(), stored.data(), stored.size()), raw);
  return out;
}

struct Planted {
  std::vector<std::string> secrets, markers;
};

// Runs /bin/true with each shape of secret and a marker beside it.
Planted RunWithSecrets(std::mt19937_64* rng) {
  Planted planted;
  const auto secret = [&] { return planted.secrets.emplace_back(RandomWord(rng, 32)); };
  const auto marker = [&] { return planted.markers.emplace_back(RandomWord(rng, 24)); };
  std::vector<std::vector<std::string>> commands;
  const auto add = [&](std::vector<std::string> args) {
    args.insert(args.begin(), "/bin/true");
    args.push_back("--note=" + marker());
    commands.push_back(std::move(args));
  };
  add({"--password=" + secret()});
  add({"--password", secret()});
  add({"--token=" + secret()});
  add({"-H", "Authorization: Bearer " + secret()});
  add({"https://alice:" + secret() + "@example.com/x"});
  add({"DB_PASSWORD=" + secret()});
  add({"--api-key", secret()});
  add({"postgres://svc:" + secret() + "@db/prod"});
  for (const auto& argv : commands) EXPECT_EQ(RunCommand(argv).exit_code, 0);
  // As real programs spell it: mysql's glued -p (a script named mysql, no server needed).
  const std::string dir = testing::TempDir() + "nt-redact-bin";
  fs::create_directories(dir);
  fs::copy_file("/bin/true", dir + "/mysql", fs::copy_options::overwrite_existing);
  EXPECT_EQ(RunCommand({dir + "/mysql", "-uroot", "-p" + secret(), "--note=" + marker()}).exit_code, 0);
  // Inside a shell's one-string command.
  EXPECT_EQ(RunCommand({"sh", "-c", "PGPASSWORD=" + secret() + " true --note=" + marker()}).exit_code, 0);
  fs::remove_all(dir);
  return planted;
}

void ExpectClean(const Haystack& haystack, const Planted& planted, const std::vector<std::string>& marker_places) {
  EXPECT_GT(haystack.bytes(), 1'000U);
  for (const auto& [secret, places] : haystack.Find(planted.secrets)) {
    ADD_FAILURE() << secret << " leaked into " << Json(places).dump();
  }
  auto found = haystack.Find(planted.markers);
  for (const std::string& marker : planted.markers) {
    for (const std::string& place : marker_places) {
      EXPECT_TRUE(found[marker].contains(place)) << marker << " not found in " << place;
    }
  }
}

TEST(Redaction, ASecretIsNowhereAtTheCollector) {
  std::mt19937_64 rng(std::random_device{}());
  Node node("redact");
  node.StartCollector();
  node.StartAgent();
  const Planted planted = RunWithSecrets(&rng);
  ASSERT_TRUE(node.Settled());
  const auto events = node.Query({"--since", "1h", "--kind", "process.exec"});
  ASSERT_GE(events.size(), planted.markers.size());

  Haystack haystack;
  for (const auto& entry : fs::recursive_directory_iterator(node.trail_dir() + "/bodies")) {
    if (entry.is_regular_file()) haystack.Add("bodies", Decompress(ReadAll(entry.path().string())));
  }
  haystack.AddFiles("index", node.trail_dir() + "/index");
  haystack.AddFiles("log", node.trail_dir() + "/log");
  haystack.Add("agent log", ReadAll(node.log("agent")));
  haystack.Add("collector log", ReadAll(node.log("collector")));
  haystack.Add("query", Json(events).dump());
  haystack.Add("status", node.AgentStatus().dump());
  ExpectClean(haystack, planted, {"bodies", "query"});
  // The trail says where it cut.
  size_t redactions = 0;
  for (const Json& e : events) redactions += e.at("redactions").size();
  EXPECT_GE(redactions, planted.secrets.size());
}

TEST(Redaction, ASecretIsNowhereOnTheWireOrInTheSpool) {
  std::mt19937_64 rng(std::random_device{}());
  Node node("redact-wire");
  CapturingIngest ingest(ReadAll(node.pki() + "/tls-ca/ca.pem"), ReadAll(node.pki() + "/collector/tls.pem"),
                         ReadAll(node.pki() + "/collector/tls.key"));
  AgentOptions options;
  options.collector_port = ingest.port();
  options.extra_yaml = "  release: durable\n";  // it has no log
  node.StartAgent(options);
  const Planted planted = RunWithSecrets(&rng);
  const auto frames_have_all = [&] {
    Haystack frames;
    for (const auto& frame : ingest.frames()) {
      if (!frame.body().empty()) frames.Add("frames", Decompress(frame.body()));
    }
    return frames.Find(planted.markers).size() == planted.markers.size();
  };
  ASSERT_TRUE(Eventually(frames_have_all, seconds(20)));
  EXPECT_EQ(node.StopAgent(), 0);

  Haystack haystack;
  for (const std::string& message : ingest.messages()) haystack.Add("messages", message);
  for (const auto& frame : ingest.frames()) {
    if (!frame.body().empty()) haystack.Add("frames", Decompress(frame.body()));
  }
  haystack.AddFiles("spool", node.spool_dir());
  // Bodies lie in the spool as compressed frames: look into those as well.
  for (const auto& entry : fs::recursive_directory_iterator(node.spool_dir())) {
    if (!entry.is_regular_file()) continue;
    const std::string bytes = ReadAll(entry.path().string());
    static const std::string kMagic("\x28\xb5\x2f\xfd", 4);
    for (size_t at = bytes.find(kMagic); at != std::string::npos; at = bytes.find(kMagic, at + 4)) {
      const size_t length = ZSTD_findFrameCompressedSize(bytes.data() + at, bytes.size() - at);
      if (ZSTD_isError(length) == 0) haystack.Add("spool bodies", Decompress(bytes.substr(at, length)));
    }
  }
  haystack.Add("agent log", ReadAll(node.log("agent")));
  ExpectClean(haystack, planted, {"frames"});
}

}  // namespace
}  // namespace nodetrail::e2e

// SPDX-License-Identifier: Apache-2.0
#include "collector/log/sequencer.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "nodetrail/base/fd.h"
#include "trail/testing/trail_maker.h"

namespace nodetrail::collector {
namespace {

namespace fs = std::filesystem;
using trail::TrailMaker;

// One witness; it cosigns once `here` is set.
class LateWitness final : public Cosigner {
 public:
  Outcome Cosign(const Request& request) override {
    if (here) line_ = *trail::CosignCheckpoint(request.note, "witness.example.org/a", key_, 5);
    return {line_, OkStatus(), here};
  }
  bool here = false;

 private:
  trail::Ed25519Key key_ = trail::Ed25519Key::Generate();
  std::string line_;
};

class SequencerTest : public ::testing::Test {
 protected:
  SequencerTest() {
    for (int i = 0; i < 3; ++i) maker_.Batch(&maker_.one, i);
  }
  std::unique_ptr<Sequencer> Open(Cosigner* cosigner) {
    auto key = *trail::Ed25519Key::FromSeed(std::string(32, 'k'));
    auto verifier = *trail::NoteVerifier::Make(TrailMaker::kOrigin, key.public_key());
    auto sequencer = Sequencer::Open({.trail_dir = maker_.dir(), .cosigner = cosigner},
                                     {TrailMaker::kOrigin, std::move(key), std::move(verifier)});
    NT_CHECK(sequencer.ok());
    auto reader = *trail::TrailReader::Open(maker_.dir());
    const Status read = reader->ForEach(0, [&](const trail::LeafLocation&, std::string_view leaf) {
      EXPECT_TRUE((*sequencer)->Replay(leaf).ok());
      return true;
    });
    NT_CHECK(read.ok() && (*sequencer)->ReplayDone().ok());
    (*sequencer)->StartStepping();
    return std::move(*sequencer);
  }
  [[nodiscard]] std::string Path(const std::string& name) const { return maker_.dir() + "/log/" + name; }
  [[nodiscard]] bool Cosigned() const {
    return ReadFile(Path("checkpoint"), trail::kMaxNoteBytes)->find("witness.example.org/a") != std::string::npos;
  }

  TrailMaker maker_;
};

TEST_F(SequencerTest, ALateCosignatureIsPublishedThoughItsFirstWriteFailed) {
  LateWitness witness;
  const auto sequencer = Open(&witness);
  ASSERT_TRUE(sequencer->Step());
  EXPECT_EQ(sequencer->GetHead().size, 3U);
  EXPECT_FALSE(Cosigned());
  fs::create_directory(Path("checkpoint.tmp"));  // in the way of the write
  witness.here = true;
  ASSERT_TRUE(sequencer->Step());
  EXPECT_NE(sequencer->GetHead().problem, "");
  EXPECT_FALSE(Cosigned());
  fs::remove(Path("checkpoint.tmp"));
  ASSERT_TRUE(sequencer->Step());
  EXPECT_TRUE(Cosigned());
  EXPECT_EQ(sequencer->GetHead().problem, "");
}

// A disk that was full for a moment is no problem for ever, though no batch comes.
TEST_F(SequencerTest, AProblemThatIsOverIsNotToldAnyMore) {
  ASSERT_TRUE(Open(nullptr)->Step());
  fs::remove_all(Path("tile"));
  fs::create_directories(Path("tile/0/000.p/3.tmp/x"));  // in the way of the write
  const auto sequencer = Open(nullptr);
  ASSERT_TRUE(sequencer->Step());
  EXPECT_NE(sequencer->GetHead().problem, "");
  fs::remove_all(Path("tile/0/000.p/3.tmp"));
  ASSERT_TRUE(sequencer->Step());
  EXPECT_EQ(sequencer->GetHead().problem, "");
  EXPECT_TRUE(fs::exists(Path("tile/0/000.p/3")));
}

}  // namespace
}  // namespace nodetrail::collector

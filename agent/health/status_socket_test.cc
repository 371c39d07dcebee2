// SPDX-License-Identifier: Apache-2.0
#include "agent/health/status_socket.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

namespace nodetrail::agent {
namespace {

class StatusSocketTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string dir = testing::TempDir() + "/nt-status-XXXXXX";
    ASSERT_NE(::mkdtemp(dir.data()), nullptr);
    dir_ = dir;
    path_ = dir + "/agent.sock";
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }

  UniqueFd Connect() const {
    UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path_.data(), path_.size());
    EXPECT_EQ(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
    return fd;
  }

  std::string dir_, path_;
};

TEST_F(StatusSocketTest, AnswersEachConnectionWithTheWholeDocument) {
  auto socket = StatusSocket::Open(path_);
  ASSERT_TRUE(socket.ok()) << socket.status().ToString();
  const std::string document(200'000, 'x');
  std::string received;
  std::thread reader([&] {
    const UniqueFd fd = Connect();
    char chunk[4096];
    for (ssize_t n = 0; (n = ::read(fd.get(), chunk, sizeof(chunk))) > 0;)
      received.append(chunk, static_cast<size_t>(n));
  });
  pollfd waiting{.fd = (*socket)->fd(), .events = POLLIN, .revents = 0};
  ASSERT_EQ(::poll(&waiting, 1, 10'000), 1);
  (*socket)->Answer(document);
  reader.join();
  EXPECT_EQ(received, document);
}

TEST_F(StatusSocketTest, IsForItsOwnerAlone) {
  auto socket = StatusSocket::Open(path_);
  ASSERT_TRUE(socket.ok());
  struct stat st {};
  ASSERT_EQ(::stat(path_.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777U, 0600U);
}

TEST_F(StatusSocketTest, ReplacesTheSocketOfADeadAgentButNotALiveOne) {
  {
    UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path_.data(), path_.size());
    ASSERT_EQ(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  }
  auto first = StatusSocket::Open(path_);
  ASSERT_TRUE(first.ok()) << first.status().ToString();
  auto second = StatusSocket::Open(path_);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.status().code(), Code::kAlreadyExists);
}

TEST_F(StatusSocketTest, LeavesAForeignFileAlone) {
  std::ofstream(path_) << "mine";
  auto socket = StatusSocket::Open(path_);
  ASSERT_FALSE(socket.ok());
  EXPECT_EQ(socket.status().code(), Code::kFailedPrecondition);
  EXPECT_TRUE(std::filesystem::exists(path_));
}

TEST_F(StatusSocketTest, APeerThatDoesNotReadIsCutOff) {
  auto socket = StatusSocket::Open(path_);
  ASSERT_TRUE(socket.ok());
  const UniqueFd silent = Connect();
  const auto before = std::chrono::steady_clock::now();
  (*socket)->Answer(std::string(64U << 20, 'x'));
  EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(5));
}

}  // namespace
}  // namespace nodetrail::agent

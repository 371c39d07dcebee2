// SPDX-License-Identifier: Apache-2.0
//
// net.bind, net.listen, net.unix_connect, net.raw_socket, net.packet_socket.
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <optional>

#include "tests/root/expect.h"
#include "tests/root/fixture.h"

namespace nodetrail::root_test {
namespace {

constexpr nt_type kSocketTypes[] = {NT_NET_BIND, NT_NET_LISTEN, NT_NET_UNIX_CONNECT, NT_NET_RAW_SOCKET,
                                    NT_NET_PACKET_SOCKET};

class SocketTest : public RootTest {
 protected:
  // What a record says beyond what the truth says of every socket.
  struct Want {
    uint16_t type = NT_NET_BIND;
    int64_t ret = 0;
    uint32_t flags = 0;          // NT_SK_*, NONBLOCKING comes from the truth
    const char* addr = nullptr;  // "local" or "asked": the truth's keys
    int32_t backlog = 0;
    std::optional<std::string> path = {};       // NT_TAIL_PATH, absolute
    std::optional<std::string> user_path = {};  // NT_TAIL_USER_PATH
    std::optional<std::string> base = {};       // NT_TAIL_BASE, absolute
    std::optional<std::string> name = {};       // NT_TAIL_SOCKET_NAME
    std::optional<uint32_t> protocol = {};      // where SO_PROTOCOL says something else
    uint32_t ifindex = 0;
    bool peer = false, peer_lives = false;
  };

  void SetUp() override {
    RootTest::SetUp();
    if (!IsSkipped() && !HasFatalFailure()) OpenCapture();
  }

  // The ways a call is made that this run's hooks see.
  static std::vector<std::string> Ways() {
    if (Hooks() == agent::SyscallHooks::kSysExit) return {"native", "i386", "socketcall"};
    return {"native"};
  }
  static uint32_t HeaderFlags(const std::string& way) { return way == "native" ? 0 : NT_F_COMPAT32; }

  static void ExpectTail(const Record& record, nt_tail tail, const std::optional<std::string>& want) {
    ASSERT_EQ(record.event.Has(tail), want.has_value()) << "tail " << tail;
    if (!want) return;
    const bool walked = tail == NT_TAIL_PATH || tail == NT_TAIL_BASE;
    EXPECT_EQ(walked ? record.Path(tail) : std::string(record.event.Tail(tail)), *want) << "tail " << tail;
  }

  void ExpectSocket(const Outcome& run, const std::string& role, const std::string& way, const Want& want) {
    SCOPED_TRACE(role + " " + way);
    const json& truth = run.Truth(role);
    const Record* record = run.Only(truth);
    ASSERT_NE(record, nullptr);
    ASSERT_EQ(record->type(), want.type);
    EXPECT_EQ(truth.at("ret").get<int64_t>(), want.ret) << "the workload didn't do what was asked";
    const nt_socket& got = record->event.body.socket;
    ExpectTask(record->event.task, truth);
    EXPECT_EQ(record->event.header.flags, HeaderFlags(way));
    EXPECT_EQ(got.ret, want.ret);
    const auto number = [&truth](const char* key) { return truth.contains(key) ? truth.at(key).get<uint64_t>() : 0; };
    EXPECT_EQ(got.cookie, number("cookie"));
    EXPECT_EQ(got.inode, number("inode"));
    EXPECT_EQ(got.netns, truth.at("task").at("net_ns").get<uint32_t>());
    EXPECT_EQ(got.family, number("family"));
    EXPECT_EQ(got.sock_type, number("sock_type"));
    EXPECT_EQ(got.protocol, want.protocol.value_or(static_cast<uint32_t>(number("protocol"))));
    EXPECT_EQ(got.flags, want.flags | (number("nonblocking") != 0 ? NT_SK_NONBLOCKING : 0U));
    EXPECT_EQ(got.backlog, want.backlog);
    EXPECT_EQ(got.ifindex, want.ifindex);
    ExpectAddress(got, truth, want.addr);
    ExpectPeer(got, run, truth, want);
    ExpectTail(*record, NT_TAIL_PATH, want.path);
    ExpectTail(*record, NT_TAIL_USER_PATH, want.user_path);
    ExpectTail(*record, NT_TAIL_BASE, want.base);
    ExpectTail(*record, NT_TAIL_SOCKET_NAME, want.name);
    std::vector<nt_tail> tails;
    if (want.path) tails.push_back(NT_TAIL_PATH);
    if (want.user_path) tails.push_back(NT_TAIL_USER_PATH);
    if (want.base) tails.push_back(NT_TAIL_BASE);
    if (want.name) tails.push_back(NT_TAIL_SOCKET_NAME);
    ExpectTails(*record, tails);
  }

  static void ExpectAddress(const nt_socket& got, const json& truth, const char* end) {
    nt_u8 zero[16] = {};
    if (end == nullptr) {
      EXPECT_EQ(got.addr_family, AF_UNSPEC);
      EXPECT_EQ(got.local_port, 0);
      EXPECT_EQ(std::memcmp(got.local_addr, zero, sizeof zero), 0);
      return;
    }
    const std::string addr = Bytes(truth.at(std::string(end) + "_addr"));
    EXPECT_EQ(got.addr_family, addr.size() == 4 ? AF_INET : AF_INET6);
    EXPECT_EQ(std::string(reinterpret_cast<const char*>(got.local_addr), addr.size()), addr);
    EXPECT_EQ(std::memcmp(got.local_addr + addr.size(), zero, sizeof zero - addr.size()), 0);
    // A raw socket's "port" is its protocol: none.
    const bool raw = truth.at("sock_type") == SOCK_RAW && std::string(end) == "local";
    EXPECT_EQ(got.local_port, raw ? 0 : truth.at(std::string(end) + "_port").get<uint16_t>());
  }

  static void ExpectPeer(const nt_socket& got, const Outcome& run, const json& truth, const Want& want) {
    if (!want.peer) {
      EXPECT_EQ(got.peer_pid, 0U);
      EXPECT_EQ(got.peer_uid, 0U);
      EXPECT_EQ(got.peer_gid, 0U);
      EXPECT_EQ(got.peer_start_boottime_ns, 0U);
      return;
    }
    const auto pid = truth.at("peer_pid").get<uint32_t>();
    EXPECT_EQ(got.peer_pid, pid);
    EXPECT_EQ(got.peer_uid, truth.at("peer_uid").get<uint32_t>());
    EXPECT_EQ(got.peer_gid, truth.at("peer_gid").get<uint32_t>());
    EXPECT_EQ(got.peer_uid, 1234U);
    EXPECT_EQ(got.peer_gid, 1235U);
    uint64_t start = 0;  // as its own listen told it
    for (const Record* listen : run.Of(pid, NT_NET_LISTEN)) start = listen->event.task.start_boottime_ns;
    EXPECT_NE(start, 0U) << "its listen was not recorded";
    EXPECT_EQ(got.peer_start_boottime_ns, want.peer_lives ? start : 0U);
  }
};

TEST_F(SocketTest, BindTellsWhatTheKernelChose) {
  for (const std::string& way : Ways()) {
    for (const char* type : {"stream", "dgram"}) {
      for (const auto& [family, host] :
           {std::pair{"4", "127.0.0.1"}, {"4", "0.0.0.0"}, {"6", "::1"}, {"6", "::"}, {"6", "::ffff:127.0.0.1"}}) {
        SCOPED_TRACE(std::string(type) + " " + host);
        const Outcome run = DoOk({"login=4242", "sock_bind", way, family, type, "0", host, "0"});
        EXPECT_NE(run.Truth("bind").at("local_port"), 0) << "the kernel took none";
        ExpectSocket(run, "bind", way, {.addr = "local"});
      }
    }
    ExpectSocket(DoOk({"sock_bind", way, "4", "raw", "1", "127.0.0.1", "7"}), "bind", way, {.addr = "local"});
    ExpectSocket(DoOk({"netns", "sock_bind", way, "4", "stream", "0", "127.0.0.1", "80"}), "bind", way,
                 {.addr = "local"});
  }
}

TEST_F(SocketTest, BindThatFailsTellsWhatWasAsked) {
  for (const std::string& way : Ways()) {
    ExpectSocket(DoOk({"sock_bind", way, "4", "stream", "0", "192.0.2.77", "4321"}), "bind", way,
                 {.ret = -EADDRNOTAVAIL, .flags = NT_SK_USER_ADDR, .addr = "asked"});
    ExpectSocket(DoOk({"sock_bind", way, "6", "dgram", "0", "2001:db8::77", "4321"}), "bind", way,
                 {.ret = -EADDRNOTAVAIL, .flags = NT_SK_USER_ADDR, .addr = "asked"});
    ExpectSocket(DoOk({"uid=1234", "sock_bind", way, "4", "stream", "0", "127.0.0.1", "80"}), "bind", way,
                 {.ret = -EACCES, .flags = NT_SK_USER_ADDR, .addr = "asked"});
  }
}

TEST_F(SocketTest, ListenTellsThePortAndTheBacklog) {
  for (const std::string& way : Ways()) {
    for (const char* family : {"4", "6"}) {
      const Outcome run = DoOk({"sock_listen", way, family, "7"});
      EXPECT_NE(run.Truth("listen").at("local_port"), 0) << "the kernel took none";
      ExpectSocket(run, "listen", way, {.type = NT_NET_LISTEN, .addr = "local", .backlog = 7});
      ExpectSocket(run, "again", way, {.type = NT_NET_LISTEN, .addr = "local", .backlog = 8});
      const Outcome unasked = DoOk({"sock_listen_new", way, family});
      EXPECT_NE(unasked.Truth("listen").at("cookie"), 0);
      ExpectSocket(unasked, "listen", way, {.type = NT_NET_LISTEN, .addr = "local", .backlog = 5});
    }
  }
}

TEST_F(SocketTest, UnixNames) {
  for (const std::string& way : Ways()) {
    SCOPED_TRACE(way);
    const auto both = [&](const std::vector<std::string>& words, Want want) {
      std::vector<std::string> run_words = words;
      run_words.insert(run_words.end() - 2, {"sock_bind_unix", way});
      const Outcome run = DoOk(run_words);
      ExpectSocket(run, "bind", way, want);
      want.type = NT_NET_LISTEN;
      want.backlog = 3;
      ExpectSocket(run, "listen", way, want);
    };
    const std::string path = Dir(way + ".sock");
    both({"stream", path}, {.path = path, .user_path = path});
    both({"seqpacket", "whole:" + Dir(way + ".whole")},
         {.path = Dir(way + ".whole"), .user_path = Dir(way + ".whole")});
    both({"chdir=" + Dir(), "stream", "./" + way + ".rel"},
         {.path = Dir(way + ".rel"), .user_path = "./" + way + ".rel"});
    // All 108 bytes of sun_path, and no NUL.
    std::string full = "full-" + way;
    full.append(NT_SUN_PATH_MAX - full.size(), 'x');
    both({"chdir=" + Dir(), "stream", full}, {.path = Dir(full), .user_path = full});
    std::string abstract = "@nodetrail%test%" + way + "%";
    std::string name = abstract;
    for (char& c : name) c = c == '%' || c == '@' ? '\0' : c;
    both({"stream", abstract}, {.name = name});

    const Outcome chosen = DoOk({"sock_bind_unix", way, "stream", "auto"});
    const std::string made_up = Bytes(chosen.Truth("bind").at("name"));
    EXPECT_EQ(made_up.size(), 6U) << "a NUL and five hexadecimal digits";
    ExpectSocket(chosen, "bind", way, {.name = made_up});

    const Outcome dgram = DoOk({"sock_bind_unix", way, "dgram", Dir(way + ".dgram")});
    ExpectSocket(dgram, "bind", way, {.path = Dir(way + ".dgram"), .user_path = Dir(way + ".dgram")});
    ExpectSocket(dgram, "listen", way,
                 {.type = NT_NET_LISTEN,
                  .ret = -EOPNOTSUPP,
                  .backlog = 3,
                  .path = Dir(way + ".dgram"),
                  .user_path = Dir(way + ".dgram")});

    // Taken already; a folder that isn't there, relative to another.
    const Outcome taken = DoOk({"sock_bind_unix", way, "stream", path});
    ExpectSocket(taken, "bind", way, {.ret = -EADDRINUSE, .flags = NT_SK_USER_ADDR, .user_path = path});
    const Outcome nowhere = DoOk({"chdir=" + Dir(), "sock_bind_unix", way, "stream", "no/such"});
    ExpectSocket(nowhere, "bind", way,
                 {.ret = -ENOENT, .flags = NT_SK_USER_ADDR, .user_path = "no/such", .base = Dir()});
  }
}

TEST_F(SocketTest, UnixConnectTellsWhoAnswered) {
  for (const std::string& way : Ways()) {
    SCOPED_TRACE(way);
    const auto connect = [&](const std::vector<std::string>& words, Want want) {
      want.type = NT_NET_UNIX_CONNECT;
      const Outcome run = DoOk(words);
      ExpectSocket(run, "connect", way, want);
    };
    const std::string path = Dir(way + ".sock");
    connect({"sock_connect_unix", way, "stream", path, path, "ok"},
            {.flags = NT_SK_PEER, .path = path, .user_path = path, .peer = true, .peer_lives = true});
    // Bound by one relative name, reached by another that leads round about.
    connect({"chdir=" + Dir(), "sock_connect_unix", way, "seqpacket", way + ".rel",
             "./../" + Dir().substr(Dir().rfind('/') + 1) + "/" + way + ".rel", "ok"},
            {.flags = NT_SK_PEER,
             .path = Dir(way + ".rel"),
             .user_path = "./../" + Dir().substr(Dir().rfind('/') + 1) + "/" + way + ".rel",
             .peer = true,
             .peer_lives = true});
    std::string full = "full-" + way;
    full.append(NT_SUN_PATH_MAX - full.size(), 'x');
    connect({"chdir=" + Dir(), "sock_connect_unix", way, "stream", full, full, "ok"},
            {.flags = NT_SK_PEER, .path = Dir(full), .user_path = full, .peer = true, .peer_lives = true});
    const std::string name("\0nodetrail\0c", 12);
    connect({"sock_connect_unix", way, "stream", "@nodetrail%c", "@nodetrail%c", "ok"},
            {.flags = NT_SK_PEER, .name = name, .peer = true, .peer_lives = true});
    connect({"sock_connect_unix", way, "stream", Dir(way + ".gone"), Dir(way + ".gone"), "gone"},
            {.flags = NT_SK_PEER, .path = Dir(way + ".gone"), .user_path = Dir(way + ".gone"), .peer = true});
    connect({"sock_connect_unix", way, "dgram", Dir(way + ".dgram"), Dir(way + ".dgram"), "ok"},
            {.path = Dir(way + ".dgram"), .user_path = Dir(way + ".dgram")});
    connect({"sock_connect_unix", way, "stream", Dir(way + ".refused"), Dir(way + ".refused"), "refused"},
            {.ret = -ECONNREFUSED, .flags = NT_SK_USER_ADDR, .user_path = Dir(way + ".refused")});
    connect({"chdir=" + Dir(), "sock_connect_unix", way, "stream", "x", "no/such", "missing"},
            {.ret = -ENOENT, .flags = NT_SK_USER_ADDR, .user_path = "no/such", .base = Dir()});
    connect({"sock_connect_unix", way, "stream", "x", "@nobody%here", "missing"},
            {.ret = -ECONNREFUSED, .flags = NT_SK_USER_ADDR, .name = std::string("\0nobody\0here", 12)});
  }
}

TEST_F(SocketTest, ThePathIsThatOfWhoBoundIt) {
  // Reached through a bind mount: the socket's own place is another.
  const std::string real = MakeDir("real"), seen = MakeDir("seen");
  const Outcome run = DoOk({"mntns", "bind=" + real + ":" + seen, "sock_connect_unix", "native", "stream",
                            real + "/s.sock", seen + "/s.sock", "ok"});
  ExpectSocket(run, "connect", "native",
               {.type = NT_NET_UNIX_CONNECT,
                .flags = NT_SK_PEER,
                .path = real + "/s.sock",
                .user_path = seen + "/s.sock",
                .peer = true,
                .peer_lives = true});
}

TEST_F(SocketTest, RawAndPacketSockets) {
  for (const std::string& way : Ways()) {
    SCOPED_TRACE(way);
    for (const auto& [family, protocol] : {std::pair{"4", "1"}, {"4", "255"}, {"6", "58"}}) {
      const Outcome run = DoOk({"sock_socket", way, family, "raw", protocol});
      ExpectSocket(run, "socket", way, {.type = NT_NET_RAW_SOCKET});
    }
    // ETH_P_ALL and ETH_P_IP in network order.
    for (const auto& [type, protocol, host] : {std::tuple{"raw", "0x0300", 3U}, {"dgram", "0x0008", 0x800U}}) {
      const Outcome run = DoOk({"sock_socket", way, "packet", type, protocol});
      ExpectSocket(run, "socket", way, {.type = NT_NET_PACKET_SOCKET, .protocol = host});
    }
    const Outcome old = DoOk({"sock_socket", way, "4", "10", "0x0300"});
    ExpectSocket(old, "socket", way, {.type = NT_NET_PACKET_SOCKET, .protocol = 3});

    const auto denied = [&](const Outcome& run, uint16_t type, uint16_t family, uint16_t kind, uint32_t protocol) {
      const Record* record = run.Only(run.Truth("socket"));
      ASSERT_NE(record, nullptr);
      ASSERT_EQ(record->type(), type);
      nt_socket want{};
      want.ret = -EPERM;
      want.netns = run.Truth("socket").at("task").at("net_ns");
      want.family = family;
      want.sock_type = kind;
      want.protocol = protocol;
      EXPECT_EQ(std::memcmp(&record->event.body.socket, &want, sizeof want), 0);
      ExpectTask(record->event.task, run.Truth("socket"));
      ExpectTails(*record, {});
    };
    denied(DoOk({"uid=1234", "sock_socket", way, "4", "raw", "1"}), NT_NET_RAW_SOCKET, AF_INET, SOCK_RAW, 1);
    denied(DoOk({"uid=1234", "sock_socket", way, "packet", "raw", "0x0300"}), NT_NET_PACKET_SOCKET, AF_PACKET, SOCK_RAW,
           3);
    const Outcome packet = DoOk({"sock_bind_packet", way});
    ExpectSocket(packet, "bind", way, {.protocol = 0x800, .ifindex = packet.Truth("bind").at("ifindex")});
  }
}

TEST_F(SocketTest, WithoutASocketOrAnAddress) {
  const auto expect = [&](const std::string& call, const std::string& what, int32_t err, uint32_t flags,
                          uint16_t family) {
    SCOPED_TRACE(call + " " + what);
    const Outcome run = DoOk({"sock_bad", call, what});
    const json& truth = run.Truth(call);
    const Record* record = run.Only(truth);
    ASSERT_NE(record, nullptr);
    ASSERT_EQ(record->type(), call == "bind" ? NT_NET_BIND : NT_NET_LISTEN);
    EXPECT_EQ(truth.at("ret"), -err);
    EXPECT_EQ(record->event.body.socket.ret, -err);
    EXPECT_EQ(record->event.body.socket.flags, flags);
    EXPECT_EQ(record->event.body.socket.family, family);
    EXPECT_EQ(record->event.body.socket.netns, truth.at("task").at("net_ns").get<uint32_t>());
    ExpectTask(record->event.task, truth);
    ExpectTails(*record, {});
  };
  expect("bind", "file", ENOTSOCK, NT_SK_USER_ADDR, AF_INET);
  expect("bind", "closed", EBADF, NT_SK_USER_ADDR, AF_INET);
  expect("bind", "fault", EFAULT, NT_SK_USER_ADDR | NT_SK_UNREAD, AF_INET);
  expect("listen", "file", ENOTSOCK, 0, AF_UNSPEC);
  expect("listen", "closed", EBADF, 0, AF_UNSPEC);
}

TEST_F(SocketTest, WhatIsNoneOfThese) {
  const Outcome run = DoOk({"sock_quiet"});
  for (const nt_type type : kSocketTypes) EXPECT_TRUE(run.Of(static_cast<uint32_t>(run.pid), type).empty()) << type;
}

TEST_F(SocketTest, CallsOf32BitsAreSeenWhereCoverageSaysSo) {
  const size_t seen = Hooks() == agent::SyscallHooks::kSysExit ? 1 : 0;
  for (const char* way : {"i386", "socketcall"}) {
    const Outcome run = DoOk({"sock_bind", way, "4", "stream", "0", "127.0.0.1", "0"});
    EXPECT_EQ(run.Truth("bind").at("ret"), 0);
    EXPECT_EQ(run.Of(static_cast<uint32_t>(run.pid), NT_NET_BIND).size(), seen) << way;
  }
}

}  // namespace
}  // namespace nodetrail::root_test

// SPDX-License-Identifier: Apache-2.0
//
// net.connect, net.accept, net.close. Loopback only.
#include <arpa/inet.h>
#include <sys/socket.h>

#include <cstring>

#include "tests/root/expect.h"
#include "tests/root/fixture.h"

namespace nodetrail::root_test {
namespace {

class NetworkTest : public RootTest {
 protected:
  void SetUp() override {
    RootTest::SetUp();
    if (!IsSkipped() && !HasFatalFailure()) OpenCapture();
  }

  static std::string Addr(const nt_u8 (&addr)[16], uint16_t family) {
    return {reinterpret_cast<const char*>(addr), family == AF_INET ? size_t{4} : size_t{16}};
  }
  static bool RestIsZero(const nt_u8 (&addr)[16], uint16_t family) {
    for (size_t i = family == AF_INET ? 4 : 16; i < 16; ++i) {
      if (addr[i] != 0) return false;
    }
    return true;
  }

  // Records of one socket.
  static std::vector<const Record*> OfSocket(const Outcome& run, uint64_t cookie, uint16_t type) {
    std::vector<const Record*> found;
    for (const Record* r : run.records) {
      if (r->type() == type && r->event.body.net.cookie == cookie) found.push_back(r);
    }
    return found;
  }

  // A close may come a moment after its process is gone.
  const Record* AwaitClose(Outcome* run, uint64_t cookie) {
    const bool came = DrainUntil([&] {
      Refresh(run);
      return !OfSocket(*run, cookie, NT_NET_CLOSE).empty();
    });
    EXPECT_TRUE(came) << "no close of the socket";
    const auto closes = OfSocket(*run, cookie, NT_NET_CLOSE);
    EXPECT_LE(closes.size(), 1u);
    return closes.empty() ? nullptr : closes[0];
  }

  // What is the same in all three types.
  void ExpectBoth(const nt_net& net, const json& truth, bool inbound, int32_t err) {
    const auto family = truth.at("family").get<uint16_t>();
    EXPECT_EQ(net.family, family);
    EXPECT_EQ(net.protocol, IPPROTO_TCP);
    EXPECT_EQ(net.cookie, truth.at("cookie").get<uint64_t>());
    EXPECT_EQ(net.netns, truth.at("task").at("net_ns").get<uint32_t>());
    EXPECT_EQ(Addr(net.local_addr, family), Bytes(truth.at("local_addr")));
    EXPECT_EQ(net.local_port, truth.at("local_port").get<uint16_t>());
    EXPECT_EQ(Addr(net.remote_addr, family), Bytes(truth.at("remote_addr")));
    EXPECT_EQ(net.remote_port, truth.at("remote_port").get<uint16_t>());
    EXPECT_TRUE(RestIsZero(net.local_addr, family));
    EXPECT_TRUE(RestIsZero(net.remote_addr, family));
    EXPECT_EQ(net.inbound, inbound ? 1u : 0u);
    EXPECT_EQ(net.err, err);
  }

  void ExpectWithin(uint64_t t, const json& truth) {
    EXPECT_GE(t, truth.at("before_ns").get<uint64_t>());
    EXPECT_LE(t, truth.at("after_ns").get<uint64_t>());
  }

  // A connect whose first SYN went out.
  void ExpectConnect(const Outcome& run, json truth, int32_t err) {
    const Record* record = run.Only(truth);
    ASSERT_NE(record, nullptr);
    ASSERT_EQ(record->type(), NT_NET_CONNECT);
    const nt_net& net = record->event.body.net;
    EXPECT_EQ(truth.at("outcome").get<int32_t>(), err);
    if (err != 0) {
      // The kernel has forgotten the ends by the time it can be asked; on
      // loopback both are the address that was asked for.
      truth["local_addr"] = truth.at("asked_addr");
      truth["remote_addr"] = truth.at("asked_addr");
      truth["remote_port"] = truth.at("asked_port");
    }
    ExpectTask(record->event.task, truth, NT_T_SNAPSHOT);
    ExpectBoth(net, truth, false, err);
    ExpectWithin(net.opened_boot_ns, truth);
    EXPECT_EQ(net.nonblocking, truth.at("nonblocking").get<uint32_t>());
    EXPECT_EQ(net.bytes_sent, 0u);
    EXPECT_EQ(net.bytes_received, 0u);
    EXPECT_EQ(net.reset, 0u);
    EXPECT_EQ(net.addr_from_user, 0u);
    EXPECT_EQ(record->event.header.flags, 0u);
    ExpectTails(*record, {});
  }

  // A connect that failed before it.
  void ExpectConnectFromUser(const Outcome& run, const json& truth, int32_t err, bool has_cookie) {
    const Record* record = run.Only(truth);
    ASSERT_NE(record, nullptr);
    ASSERT_EQ(record->type(), NT_NET_CONNECT);
    const nt_net& net = record->event.body.net;
    json ends = truth;
    ends["remote_addr"] = truth.at("asked_addr");
    ends["remote_port"] = truth.at("asked_port");
    // The kernel makes a cookie when it is first asked for one.
    if (!has_cookie) ends["cookie"] = 0;
    ExpectTask(record->event.task, truth);
    ExpectBoth(net, ends, false, err);
    ExpectWithin(net.opened_boot_ns, truth);
    EXPECT_EQ(net.addr_from_user, 1u);
    EXPECT_EQ(net.nonblocking, truth.at("nonblocking").get<uint32_t>());
    EXPECT_EQ(net.reset, 0u);
    ExpectTails(*record, {});
  }

  // A whole connection of the act "tcp"; `up` and `down` as the client sees it.
  void ExpectTcp(const std::string& family, const std::string& accept, const std::string& ender, const std::string& how,
                 uint64_t up, uint64_t down) {
    SCOPED_TRACE("tcp " + family + " " + accept + " " + ender + " " + how);
    Outcome run = DoOk({"login=4242", "tcp", family, accept, ender, how, std::to_string(up), std::to_string(down)});
    const json& client = run.Truth("client");
    const json& accepted = run.Truth("accepted");
    const json& server = run.Truth("server");
    ASSERT_TRUE(client.contains("cookie") && accepted.contains("cookie") && server.contains("cookie"))
        << run.standard_error;
    const auto client_cookie = client.at("cookie").get<uint64_t>();
    const auto server_cookie = server.at("cookie").get<uint64_t>();

    const auto connects = OfSocket(run, client_cookie, NT_NET_CONNECT);
    ASSERT_EQ(connects.size(), 1u);
    ExpectTask(connects[0]->event.task, client, NT_T_SNAPSHOT);
    ExpectBoth(connects[0]->event.body.net, client, false, 0);
    ExpectWithin(connects[0]->event.header.ktime_boot_ns, client);

    const auto accepts = OfSocket(run, server_cookie, NT_NET_ACCEPT);
    ASSERT_EQ(accepts.size(), 1u);
    const nt_net& in = accepts[0]->event.body.net;
    ExpectTask(accepts[0]->event.task, accepted);
    ExpectBoth(in, accepted, true, 0);
    ExpectWithin(accepts[0]->event.header.ktime_boot_ns, accepted);
    ExpectWithin(in.opened_boot_ns, accepted);
    EXPECT_EQ(in.nonblocking, accepted.at("nonblocking").get<uint32_t>());
    EXPECT_EQ(in.bytes_sent, 0u);
    EXPECT_EQ(in.bytes_received, 0u);
    EXPECT_EQ(in.reset, 0u);
    EXPECT_EQ(in.addr_from_user, 0u);
    ExpectTails(*accepts[0], {});

    const bool client_ends = ender == "client";
    for (const bool is_client : {true, false}) {
      SCOPED_TRACE(is_client ? "the client's close" : "the server's close");
      const json& truth = is_client ? client : server;
      const Record* close = AwaitClose(&run, is_client ? client_cookie : server_cookie);
      ASSERT_NE(close, nullptr);
      const nt_net& net = close->event.body.net;
      const bool ends = is_client == client_ends;
      const uint32_t exiting = ends && how == "exit" ? NT_T_EXITING : 0;
      // A parent that ended it by its exit is the parent no more. A reset ends
      // it without the client: that is told as it was at connect().
      const bool orphaned = is_client && !client_ends && how == "exit";
      ExpectTask(close->event.task, orphaned ? run.Truth("orphan") : truth, NT_T_SNAPSHOT | exiting);
      ExpectBoth(net, truth, !is_client, 0);
      EXPECT_EQ(net.bytes_sent, truth.at("bytes_sent").get<uint64_t>());
      EXPECT_EQ(net.bytes_received, truth.at("bytes_received").get<uint64_t>());
      EXPECT_EQ(net.reset, how == "rst" && !ends ? 1u : 0u);
      EXPECT_GE(close->event.header.ktime_boot_ns, truth.at("after_ns").get<uint64_t>());
      EXPECT_EQ(net.opened_boot_ns, is_client ? connects[0]->event.body.net.opened_boot_ns : in.opened_boot_ns);
      EXPECT_EQ(net.addr_from_user, 0u);
      ExpectTails(*close, {});
    }
  }
};

TEST_F(NetworkTest, ConnectSucceeds) {
  for (const char* family : {"4", "6", "mapped"}) {
    for (const bool nonblock : {false, true}) {
      SCOPED_TRACE(std::string(family) + (nonblock ? " nonblock" : ""));
      const Outcome run = DoOk({"login=4242", "connect", family, "ok", nonblock ? "nonblock" : "block"});
      ExpectConnect(run, run.Truth("client"), 0);
    }
  }
}

TEST_F(NetworkTest, ConnectIsRefused) {
  for (const char* family : {"4", "6", "mapped"}) {
    for (const bool nonblock : {false, true}) {
      SCOPED_TRACE(std::string(family) + (nonblock ? " nonblock" : ""));
      const Outcome run = DoOk({"connect", family, "refused", nonblock ? "nonblock" : "block"});
      ExpectConnect(run, run.Truth("client"), ECONNREFUSED);
      EXPECT_TRUE(run.Of(static_cast<uint32_t>(run.pid), NT_NET_CLOSE).empty()) << "what never opened doesn't close";
    }
  }
}

TEST_F(NetworkTest, ConnectWithoutARoute) {
  const Outcome v4 = DoOk({"netns", "connect_to", "4", "192.0.2.1", "9"});
  ExpectConnectFromUser(v4, v4.Truth("client"), ENETUNREACH, /*has_cookie=*/false);
  const Outcome v6 = DoOk({"netns", "connect_to", "6", "2001:db8::1", "9"});
  ExpectConnectFromUser(v6, v6.Truth("client"), ENETUNREACH, /*has_cookie=*/false);
}

TEST_F(NetworkTest, ConnectWithoutAPort) {
  const Outcome run = DoOk({"netns", "connect_no_port"});
  if (run.truths.size() == 1 && run.truths[0].at("role") == "unsupported") {
    GTEST_SKIP() << "this kernel has no IP_LOCAL_PORT_RANGE (6.3): no way to run out of ports";
  }
  ExpectConnectFromUser(run, run.Truth("client"), EADDRNOTAVAIL, /*has_cookie=*/true);
  const auto connects = run.Of(static_cast<uint32_t>(run.pid), NT_NET_CONNECT);
  EXPECT_EQ(connects.size(), 2u) << "the one that took the port, the one that found none";
}

TEST_F(NetworkTest, AskingAgainIsNoSecondConnect) {
  const Outcome run = DoOk({"connect_again", "4"});
  ExpectConnect(run, run.Truth("client"), 0);
  const auto connects = OfSocket(run, run.Truth("client").at("cookie").get<uint64_t>(), NT_NET_CONNECT);
  // connect(2) on a connected socket: 0 once (the answer), then EISCONN.
  uint32_t succeeded = 0;
  for (const Record* r : connects) succeeded += r->event.body.net.err == 0 ? 1 : 0;
  EXPECT_EQ(succeeded, 1u);
}

TEST_F(NetworkTest, OtherSocketsAreNoTcp) {
  for (const char* kind : {"unix", "datagram"}) {
    SCOPED_TRACE(kind);
    const Outcome run = DoOk({"connect_other", kind});
    EXPECT_EQ(run.Truth("client").at("ret"), 0);
    for (const uint16_t type : {NT_NET_CONNECT, NT_NET_ACCEPT, NT_NET_CLOSE}) {
      EXPECT_TRUE(run.Of(static_cast<uint32_t>(run.pid), type).empty());
    }
  }
}

TEST_F(NetworkTest, WholeConnections) {
  ExpectTcp("4", "accept", "client", "close", 10, 5000);
  ExpectTcp("4", "accept4", "server", "close", 100'000, 1);
  ExpectTcp("6", "accept4_nonblock", "client", "close", 1, 100'000);
  ExpectTcp("6", "accept", "server", "close", 0, 0);
  ExpectTcp("mapped", "accept", "client", "close", 3, 4);
}

TEST_F(NetworkTest, ClosedByExit) {
  ExpectTcp("4", "accept", "client", "exit", 10, 20);
  ExpectTcp("6", "accept", "server", "exit", 10, 20);
}

TEST_F(NetworkTest, ClosedByReset) {
  ExpectTcp("4", "accept", "client", "rst", 10, 20);
  ExpectTcp("6", "accept", "client", "rst", 10, 20);
  ExpectTcp("4", "accept", "server", "rst", 10, 20);
}

TEST_F(NetworkTest, InANamespaceOfItsOwn) {
  const Outcome run = DoOk({"netns", "connect", "4", "ok"});
  const json& client = run.Truth("client");
  ExpectConnect(run, client, 0);
  EXPECT_NE(client.at("task").at("net_ns"), DoOk({"connect", "4", "ok"}).Truth("client").at("task").at("net_ns"));
}

TEST_F(NetworkTest, BothEndsInOneProcess) {
  Outcome run = DoOk({"self_tcp", "4"});
  const auto pid = static_cast<uint32_t>(run.pid);
  EXPECT_TRUE(DrainUntil([&] {
    Refresh(&run);
    return run.Of(pid, NT_NET_CLOSE).size() >= 2;
  }));
  EXPECT_EQ(run.Of(pid, NT_NET_CONNECT).size(), 1u);
  EXPECT_EQ(run.Of(pid, NT_NET_ACCEPT).size(), 1u);
  EXPECT_EQ(run.Of(pid, NT_NET_CLOSE).size(), 2u);
}

}  // namespace
}  // namespace nodetrail::root_test

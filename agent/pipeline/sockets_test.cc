// SPDX-License-Identifier: Apache-2.0
#include <sys/socket.h>

#include <algorithm>
#include <string>

#include "agent/pipeline/pipeline_fixture.h"

namespace nodetrail::agent {
namespace {

using event::v1::Event;

using SocketsTest = PipelineFixture;

TEST_F(SocketsTest, TellTheKernelsEndAndWhoAnswered) {
  Start();
  const nt_task task = Spawn(200, "/bin/nc", {"nc"});
  const nt_task server = Spawn(201, "/usr/bin/dockerd", {"dockerd"});
  const auto socket = [](uint16_t family, uint16_t type) {
    nt_socket s{};
    s.family = family;
    s.sock_type = type;
    s.inode = 4711;
    return s;
  };
  nt_socket listen = socket(AF_INET6, SOCK_STREAM);
  listen.addr_family = AF_INET6;
  listen.protocol = 6;
  listen.local_port = 8443;
  listen.backlog = -1;
  source.Push(RecordBuilder(NT_NET_LISTEN).Task(task).Body(listen));
  nt_socket bind = socket(AF_INET, SOCK_DGRAM);
  bind.addr_family = AF_INET;
  bind.protocol = 17;
  bind.ret = -13;
  bind.flags = NT_SK_USER_ADDR;
  source.Push(RecordBuilder(NT_NET_BIND).Task(task).Body(bind));
  nt_socket local = socket(AF_UNIX, SOCK_STREAM);
  local.flags = NT_SK_PEER | NT_SK_DETACHED;
  local.peer_pid = 201;
  local.peer_start_boottime_ns = server.start_boottime_ns;
  local.peer_gid = 999;
  source.Push(RecordBuilder(NT_NET_UNIX_CONNECT)
                  .Task(task)
                  .Body(local)
                  .Path(NT_TAIL_PATH, "/run/docker.sock")
                  .Tail(NT_TAIL_USER_PATH, "../run/docker.sock"));
  local.flags = NT_SK_PEER;
  local.peer_start_boottime_ns = 0;  // the one that listened has ended: whoever has its pid is another
  source.Push(RecordBuilder(NT_NET_UNIX_CONNECT)
                  .Task(task)
                  .Body(local)
                  .Tail(NT_TAIL_SOCKET_NAME, std::string_view("\0x\0", 3)));
  nt_socket failed = socket(AF_UNIX, SOCK_STREAM);
  failed.ret = -2;
  failed.flags = NT_SK_USER_ADDR;
  source.Push(RecordBuilder(NT_NET_UNIX_CONNECT)
                  .Task(task)
                  .Body(failed)
                  .Tail(NT_TAIL_USER_PATH, "s.sock")
                  .Path(NT_TAIL_BASE, "/srv"));
  nt_socket packet = socket(AF_PACKET, SOCK_RAW);
  packet.protocol = 3;
  source.Push(RecordBuilder(NT_NET_PACKET_SOCKET).Task(task).Body(packet));
  Stop();
  const auto lacks = [](const Event& event, std::string_view what) {
    return std::any_of(event.gaps().begin(), event.gaps().end(), [&](const auto& gap) { return gap.what() == what; });
  };
  const Event listening = sink.Events(event::v1::KIND_NET_LISTEN)[0];
  EXPECT_TRUE(listening.outcome().success());
  EXPECT_EQ(listening.net().family(), "inet6");
  EXPECT_EQ(listening.net().protocol(), "tcp");
  EXPECT_EQ(listening.net().socket_type(), "stream");
  EXPECT_EQ(listening.net().local().port(), 8443U);
  EXPECT_EQ(listening.net().local().ip().size(), 16U);
  EXPECT_EQ(listening.net().backlog(), -1);
  EXPECT_EQ(listening.net().socket_inode(), 4711U);
  EXPECT_FALSE(listening.net().has_remote());
  EXPECT_FALSE(lacks(listening, "resource.address"));
  const Event bound = sink.Events(event::v1::KIND_NET_BIND)[0];
  EXPECT_EQ(bound.outcome().error(), 13);
  EXPECT_EQ(bound.net().protocol(), "udp");
  EXPECT_TRUE(lacks(bound, "resource.address")) << "the caller's word";
  const auto connects = sink.Events(event::v1::KIND_NET_UNIX_CONNECT);
  ASSERT_EQ(connects.size(), 3U);
  EXPECT_EQ(connects[0].net().path().path(), "/run/docker.sock");
  EXPECT_EQ(connects[0].net().path().user_string(), "../run/docker.sock");
  EXPECT_EQ(connects[0].net().path().source(), event::v1::PATH_SOURCE_KERNEL_OBJECT);
  EXPECT_TRUE(lacks(connects[0], "resource.path")) << "it lies outside the actor's root";
  EXPECT_EQ(connects[0].net().peer().pid(), 201U);
  EXPECT_EQ(connects[0].net().peer().gid(), 999U);
  EXPECT_EQ(connects[0].net().peer().exe(), "/usr/bin/dockerd");
  EXPECT_EQ(connects[0].net().peer().proc_uid().size(), 16U);
  EXPECT_EQ(connects[0].net().direction(), "outbound");
  EXPECT_EQ(connects[1].net().abstract_name(), std::string("\0x\0", 3));
  EXPECT_TRUE(connects[1].net().peer().exe().empty());
  EXPECT_TRUE(lacks(connects[1], "resource.peer.exe"));
  EXPECT_EQ(connects[2].outcome().error(), 2);
  EXPECT_EQ(connects[2].net().path().path(), "/srv/s.sock");
  EXPECT_FALSE(connects[2].net().has_peer());
  EXPECT_FALSE(lacks(connects[2], "resource.peer")) << "nobody answered";
  const Event overhears = sink.Events(event::v1::KIND_NET_PACKET_SOCKET)[0];
  EXPECT_EQ(overhears.net().protocol(), "0x0003");
  EXPECT_EQ(overhears.net().family(), "packet");
}

}  // namespace
}  // namespace nodetrail::agent

// SPDX-License-Identifier: Apache-2.0
#include "agent/enrich/socket_names.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>

namespace nodetrail::agent {

std::string FamilyName(uint16_t family) {
  switch (family) {
    case AF_UNSPEC: return {};
    case AF_UNIX: return "unix";
    case AF_INET: return "inet";
    case AF_INET6: return "inet6";
    case AF_NETLINK: return "netlink";
    case AF_PACKET: return "packet";
    case AF_ALG: return "alg";
    case AF_VSOCK: return "vsock";
    default: return fmt::format("{}", family);
  }
}

std::string SocketTypeName(uint16_t type) {
  switch (type) {
    case 0: return {};
    case SOCK_STREAM: return "stream";
    case SOCK_DGRAM: return "dgram";
    case SOCK_RAW: return "raw";
    case SOCK_SEQPACKET: return "seqpacket";
    case SOCK_PACKET: return "packet";
    default: return fmt::format("{}", type);
  }
}

std::string ProtocolName(uint16_t family, uint32_t protocol) {
  if (family == AF_PACKET) return fmt::format("0x{:04x}", protocol);
  switch (protocol) {
    case 0: return {};
    case IPPROTO_ICMP: return "icmp";
    case IPPROTO_TCP: return "tcp";
    case IPPROTO_UDP: return "udp";
    case IPPROTO_ICMPV6: return "icmpv6";
    case IPPROTO_SCTP: return "sctp";
    case IPPROTO_UDPLITE: return "udplite";
    case IPPROTO_RAW: return "raw";
    case 262: return "mptcp";  // IPPROTO_MPTCP, 5.6
    default: return fmt::format("{}", protocol);
  }
}

}  // namespace nodetrail::agent

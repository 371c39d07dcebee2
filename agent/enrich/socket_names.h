// SPDX-License-Identifier: Apache-2.0
//
// Short names of what socket(2) takes, as ss(8) and the protocols' numbers in
// /etc/protocols have them.
#ifndef NODETRAIL_AGENT_ENRICH_SOCKET_NAMES_H_
#define NODETRAIL_AGENT_ENRICH_SOCKET_NAMES_H_

#include <cstdint>
#include <string>

namespace nodetrail::agent {

// "inet", "unix"; "40" for an AF_* without a name here.
[[nodiscard]] std::string FamilyName(uint16_t family);

// "stream" for SOCK_STREAM; a number without a name as it is.
[[nodiscard]] std::string SocketTypeName(uint16_t type);

// Of the internet families an IPPROTO_* ("tcp", "132"), of packet sockets an
// ETH_P_* ("0x0003"); "" where 0 says that the family has one only.
[[nodiscard]] std::string ProtocolName(uint16_t family, uint32_t protocol);

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_ENRICH_SOCKET_NAMES_H_

// SPDX-License-Identifier: Apache-2.0
//
// Which container a cgroup path belongs to. Pure.
#ifndef NODETRAIL_AGENT_ATTRIBUTE_CONTAINER_H_
#define NODETRAIL_AGENT_ATTRIBUTE_CONTAINER_H_

#include <string>
#include <string_view>

namespace nodetrail::agent {

struct ContainerRef {
  std::string id;       // as spelled in the path; empty: no container
  std::string runtime;  // containerd, docker, cri-o, podman, lxc, nspawn; empty if the path does not say
  std::string pod_uid;  // Kubernetes, with dashes; empty if none

  friend bool operator==(const ContainerRef&, const ContainerRef&) = default;
};

// One cgroup directory, shared by the processes in it.
struct CgroupPlace {
  std::string path;
  ContainerRef container;
};

// The innermost container of `path` ("/system.slice/docker-<64 hex>.scope").
// Reads the spellings of containerd, Docker, CRI-O, Podman, LXC and
// systemd-nspawn, with the cgroupfs and the systemd driver, alone and under
// kubepods, v1 and v2, nested ones included. Monitors that run on the host
// (conmon, lxc.monitor) are no containers.
[[nodiscard]] ContainerRef ParseContainer(std::string_view path);

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_ATTRIBUTE_CONTAINER_H_

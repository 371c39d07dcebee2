// SPDX-License-Identifier: Apache-2.0
#include "agent/attribute/container.h"

#include <gtest/gtest.h>

#include "agent/attribute/cgroup_map.h"

namespace nodetrail::agent {
namespace {

#define ID_A "3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a"
#define ID_B "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define POD "0f2b1c3d-4e5f-6789-abcd-ef0123456789"
#define POD_ "0f2b1c3d_4e5f_6789_abcd_ef0123456789"

struct Case {
  const char *path, *id, *runtime, *pod;
};

constexpr Case kCases[] = {
    // Docker: cgroupfs, systemd, build, rootless, in Docker.
    {"/docker/" ID_A, ID_A, "docker", ""},
    {"/system.slice/docker-" ID_A ".scope", ID_A, "docker", ""},
    {"/docker/buildkit/" ID_A, ID_A, "", ""},
    {"/user.slice/user-1000.slice/user@1000.service/app.slice/docker-" ID_A ".scope", ID_A, "docker", ""},
    {"/docker/" ID_A "/docker/" ID_B, ID_B, "docker", ""},
    {"/docker/" ID_A "/init.scope", ID_A, "docker", ""},
    {"/docker/" ID_A "/system.slice/ssh.service", ID_A, "docker", ""},
    // Kubernetes, cgroupfs driver.
    {"/kubepods/burstable/pod" POD "/" ID_A, ID_A, "", POD},
    {"/kubepods/besteffort/pod" POD "/" ID_A, ID_A, "", POD},
    {"/kubepods/pod" POD "/" ID_A, ID_A, "", POD},
    {"/kubepods/pod" POD "/crio-" ID_A, ID_A, "cri-o", POD},
    {"/kubepods/burstable/pod0123456789abcdef0123456789abcdef/" ID_A, ID_A, "", "0123456789abcdef0123456789abcdef"},
    // Kubernetes, systemd driver.
    {"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" POD_ ".slice/cri-containerd-" ID_A ".scope",
     ID_A, "containerd", POD},
    {"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" POD_ ".slice/crio-" ID_A ".scope", ID_A,
     "cri-o", POD},
    {"/kubepods.slice/kubepods-pod" POD_ ".slice/docker-" ID_A ".scope", ID_A, "docker", POD},
    {"/kubepods.slice/kubepods-pod" POD_ ".slice/crio-" ID_A ".scope/container", ID_A, "cri-o", POD},
    {"/system.slice/containerd.service/kubepods-burstable-pod" POD_ ".slice:cri-containerd:" ID_A, ID_A, "containerd",
     POD},
    {"/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod" POD_
     ".slice/cri-containerd-" ID_A ".scope",
     ID_A, "containerd", POD},
    // kind: a node is a Docker container with pods in it.
    {"/docker/" ID_B "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod" POD_ ".slice/cri-containerd-" ID_A
     ".scope",
     ID_A, "containerd", POD},
    {"/docker/" ID_B "/kubepods/burstable/pod" POD "/" ID_A, ID_A, "", POD},
    // A pod's own directory: no container yet.
    {"/kubepods/burstable/pod" POD, "", "", POD},
    {"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" POD_ ".slice", "", "", POD},
    // containerd by itself, nerdctl.
    {"/default/" ID_A, ID_A, "containerd", ""},
    {"/k8s.io/" ID_A, ID_A, "containerd", ""},
    {"/system.slice/nerdctl-" ID_A ".scope", ID_A, "containerd", ""},
    // Podman.
    {"/machine.slice/libpod-" ID_A ".scope", ID_A, "podman", ""},
    {"/machine.slice/libpod-" ID_A ".scope/container", ID_A, "podman", ""},
    {"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" ID_A ".scope/container", ID_A, "podman", ""},
    {"/machine.slice/machine-libpod_pod_" ID_B ".slice/libpod-" ID_A ".scope", ID_A, "podman", ""},
    {"/libpod_parent/libpod-" ID_A, ID_A, "podman", ""},
    {"/libpod_parent/" ID_A, ID_A, "podman", ""},
    // Monitors of containers run on the host.
    {"/machine.slice/libpod-conmon-" ID_A ".scope", "", "", ""},
    {"/kubepods.slice/kubepods-pod" POD_ ".slice/crio-conmon-" ID_A ".scope", "", "", POD},
    {"/lxc.monitor.web", "", "", ""},
    // LXC, LXD, Proxmox.
    {"/lxc/web", "web", "lxc", ""},
    {"/lxc/101/ns", "101", "lxc", ""},
    {"/lxc/101/ns/system.slice/ssh.service", "101", "lxc", ""},
    {"/lxc.payload.web", "web", "lxc", ""},
    {"/lxc.payload.web/system.slice/nginx.service", "web", "lxc", ""},
    {"/lxc.payload/web", "web", "lxc", ""},
    // systemd-nspawn, and what shares its slice.
    {"/machine.slice/systemd-nspawn@web.service/payload", "web", "nspawn", ""},
    {"/machine.slice/systemd-nspawn@web\\x2d1.service/supervisor", "web-1", "nspawn", ""},
    {"/machine.slice/machine-web\\x2d1.scope", "web-1", "nspawn", ""},
    {"/machine.slice/machine-qemu\\x2d1\\x2dvm.scope", "", "", ""},
    // Amazon ECS.
    {"/ecs/0123456789abcdef0123456789abcdef/0123456789abcdef0123456789abcdef-1234567890",
     "0123456789abcdef0123456789abcdef-1234567890", "", ""},
    {"/ecs/web/0123456789abcdef0123456789abcdef/" ID_A, ID_A, "", ""},
    // Hosts.
    {"/", "", "", ""},
    {"", "", "", ""},
    {"/init.scope", "", "", ""},
    {"/system.slice/docker.service", "", "", ""},
    {"/system.slice/containerd.service", "", "", ""},
    {"/system.slice/ssh.service", "", "", ""},
    {"/user.slice/user-1000.slice/session-3.scope", "", "", ""},
    {"/user.slice/user-1000.slice/user@1000.service/app.slice/app-gnome-terminal-1234.scope", "", "", ""},
    {"/system.slice/system-getty.slice/getty@tty1.service", "", "", ""},
    {"/docker", "", "", ""},
    {"/kubepods.slice", "", "", ""},
    {"/podman", "", "", ""},
    {"/docker/" ID_A "x", "", "", ""},
    {"/docker/3B4C5D6E7F8091A2B3C4D5E6F708192A3B4C5D6E7F8091A2B3C4D5E6F708192A", "", "", ""},
    {"/job_runner/eebed52b0dbe3792143702d82f81e1cb", "", "", ""},
    // Relative to a cgroup namespace.
    {"/../" ID_A, ID_A, "", ""},
    {"/../cri-containerd-" ID_A ".scope", ID_A, "containerd", ""},
};

TEST(Container, RealPaths) {
  for (const Case& c : kCases) {
    const ContainerRef got = ParseContainer(c.path);
    EXPECT_EQ(got.id, c.id) << c.path;
    EXPECT_EQ(got.runtime, c.runtime) << c.path;
    EXPECT_EQ(got.pod_uid, c.pod) << c.path;
  }
}

TEST(CgroupMap, TheHierarchyThatSaysMoreWins) {
  CgroupMap map;
  map.Put(0, 1, "/");
  map.Put(8, 188, "/docker/" ID_A);
  map.Put(0, 5, "/system.slice/ssh.service");
  EXPECT_EQ(map.Find(1, 8, 188)->container.id, ID_A);
  EXPECT_EQ(map.Find(5, 8, 188)->container.id, ID_A);
  EXPECT_EQ(map.Find(5, 0, 0)->path, "/system.slice/ssh.service");
  EXPECT_EQ(map.Find(1, 0, 0)->path, "/");
  EXPECT_EQ(map.Find(5, 7, 188)->path, "/system.slice/ssh.service");  // an id counts within its hierarchy
  EXPECT_EQ(map.Find(6, 0, 0), nullptr);
  map.Put(0, 5, "/system.slice/other.service");  // told again after a move
  EXPECT_EQ(map.Find(5, 0, 0)->path, "/system.slice/other.service");
}

TEST(CgroupMap, IsBounded) {
  CgroupMap map(10);
  for (uint64_t id = 1; id <= 100; ++id) map.Put(0, id, "/x");
  EXPECT_EQ(map.size(), 10U);
  EXPECT_EQ(map.Find(90, 0, 0), nullptr);
  EXPECT_NE(map.Find(91, 0, 0), nullptr);
}

TEST(CgroupMap, FromProcTakesTheSameChoice) {
  EXPECT_EQ(CgroupMap::FromProc({{8, "pids", "/docker/" ID_A}, {0, "", "/"}})->container.id, ID_A);
  EXPECT_EQ(CgroupMap::FromProc({{8, "pids", "/"}, {0, "", "/a/b"}})->path, "/a/b");
  EXPECT_EQ(CgroupMap::FromProc({}), nullptr);
}

}  // namespace
}  // namespace nodetrail::agent

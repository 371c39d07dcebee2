// SPDX-License-Identifier: Apache-2.0
#include "agent/capture/own_links.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/perf_event.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <system_error>
#include <thread>
#include <utility>

namespace nodetrail::agent {
namespace {

// What the descriptor leads to, as a number of its own; 0: to nothing of this kind.
uint64_t Identify(const bpf_link* link) {
  const int fd = bpf_link__fd(link);
  bpf_link_info info{};
  uint32_t size = sizeof info;
  if (bpf_obj_get_info_by_fd(fd, &info, &size) == 0) return (uint64_t{1} << 63U) | info.id;
  // Kernels before 5.15 hang the program on the event itself.
  uint64_t event = 0;
  return ::ioctl(fd, PERF_EVENT_IOC_ID, &event) == 0 ? event : 0;
}

}  // namespace

void LinkDeleter::operator()(bpf_link* link) const { bpf_link__destroy(link); }

void OwnLinks::Add(size_t plan, LinkPtr link) {
  const uint64_t id = Identify(link.get());
  entries_.push_back({plan, std::move(link), id});
}

std::vector<size_t> OwnLinks::TakeLost() {
  std::vector<size_t> lost;
  std::erase_if(entries_, [&](Entry& entry) {
    if (Identify(entry.link.get()) == entry.id) return false;
    lost.push_back(entry.plan);
    bpf_link__disconnect(entry.link.get());  // destroyed without a close
    return true;
  });
  return lost;
}

void OwnLinks::Detach(const std::set<size_t>& plans) {
  constexpr size_t kThreads = 16;
  std::vector<LinkPtr> going;
  std::erase_if(entries_, [&](Entry& entry) {
    if (plans.count(entry.plan) == 0) return false;
    going.push_back(std::move(entry.link));
    return true;
  });
  std::vector<std::jthread> threads;
  for (size_t first = 0; first < std::min(kThreads, going.size()); ++first) {
    try {
      threads.emplace_back([&going, first] {
        for (size_t i = first; i < going.size(); i += kThreads) going[i].reset();
      });
    } catch (const std::system_error&) {
      break;  // no more threads to be had: what is left is detached below
    }
  }
  threads.clear();
  going.clear();
}

OwnLinks::~OwnLinks() {
  std::set<size_t> all;
  for (const Entry& entry : entries_) all.insert(entry.plan);
  Detach(all);
}

}  // namespace nodetrail::agent

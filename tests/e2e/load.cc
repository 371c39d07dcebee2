// SPDX-License-Identifier: Apache-2.0
//
// The oracle's workload: does acts that it counts, until SIGTERM or --count,
// and prints the truth as one JSON line. Acts of one round: create DIR/load-N,
// delete it, and a setfsuid there and back each tenth round.
//
//   nt_e2e_load DIR [--count N] [--rate ROUNDS_PER_SECOND] [--threads N]
#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

namespace {

std::atomic<bool> g_stop{false};
std::atomic<uint64_t> g_created{0}, g_deleted{0}, g_cred_changes{0}, g_failed{0};

void Work(const std::string& dir, uint64_t first, uint64_t step, uint64_t count, double rate) {
  timespec next{};
  clock_gettime(CLOCK_MONOTONIC, &next);
  for (uint64_t i = first; i < count && !g_stop.load(std::memory_order_relaxed); i += step) {
    const std::string path = dir + "/load-" + std::to_string(i);
    const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
      ++g_failed;
      continue;
    }
    ++g_created;
    ::close(fd);
    if (::unlink(path.c_str()) == 0) ++g_deleted;
    if (i % 10 == 0) {
      ::syscall(SYS_setfsuid, 12345);
      ::syscall(SYS_setfsuid, 0);
      g_cred_changes += 2;
    }
    if (rate > 0) {
      next.tv_nsec += static_cast<long>(1e9 / rate);
      while (next.tv_nsec >= 1'000'000'000) {
        next.tv_nsec -= 1'000'000'000;
        ++next.tv_sec;
      }
      clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, nullptr);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: nt_e2e_load DIR [--count N] [--rate R] [--threads N]\n");
    return 64;
  }
  uint64_t count = UINT64_MAX;
  double rate = 0;
  uint64_t threads = 1;
  for (int i = 2; i + 1 < argc; i += 2) {
    if (std::strcmp(argv[i], "--count") == 0) count = std::strtoull(argv[i + 1], nullptr, 10);
    if (std::strcmp(argv[i], "--rate") == 0) rate = std::strtod(argv[i + 1], nullptr);
    if (std::strcmp(argv[i], "--threads") == 0) threads = std::strtoull(argv[i + 1], nullptr, 10);
  }
  struct sigaction stop {};
  stop.sa_handler = [](int) { g_stop = true; };
  sigaction(SIGTERM, &stop, nullptr);
  std::vector<std::thread> workers;
  for (uint64_t t = 0; t < threads; ++t) workers.emplace_back(Work, std::string(argv[1]), t, threads, count, rate);
  for (std::thread& w : workers) w.join();
  std::printf("{\"pid\":%d,\"created\":%llu,\"deleted\":%llu,\"cred_changes\":%llu,\"failed\":%llu}\n", ::getpid(),
              static_cast<unsigned long long>(g_created), static_cast<unsigned long long>(g_deleted),
              static_cast<unsigned long long>(g_cred_changes), static_cast<unsigned long long>(g_failed));
  return 0;
}

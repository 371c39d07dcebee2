// SPDX-License-Identifier: Apache-2.0
#include "tests/fault/injection.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <string_view>
#include <utility>

#include "nodetrail/base/fd.h"
#include "nodetrail/base/last_words.h"
#include "nodetrail/base/status.h"
#include "tests/fault/shim/alloc_page.h"

namespace nodetrail::fault {
namespace {

std::string Library(const char* name) { return fmt::format("{}/lib/nt_{}_shim.so", NT_BINARY_DIR, name); }

// The end of what a program said: its last lines.
std::string_view LastLines(std::string_view log, int lines) {
  while (!log.empty() && log.back() == '\n') log.remove_suffix(1);
  size_t at = log.size();
  for (int i = 0; i < lines && at != std::string_view::npos && at > 0; ++i) at = log.rfind('\n', at - 1);
  return at == std::string_view::npos ? log : log.substr(at);
}

// A file of zeros that is a Page, shared.
template <typename Page>
class SharedPage {
 public:
  explicit SharedPage(std::string path) : path_(std::move(path)) {
    const UniqueFd fd(::open(path_.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    NT_CHECK(fd.valid() && ::ftruncate(fd.get(), sizeof(Page)) == 0);
    void* at = ::mmap(nullptr, sizeof(Page), PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
    NT_CHECK(at != MAP_FAILED);
    page_ = static_cast<Page*>(at);
  }
  ~SharedPage() { ::munmap(page_, sizeof(Page)); }
  SharedPage(const SharedPage&) = delete;
  SharedPage& operator=(const SharedPage&) = delete;

  Page* operator->() { return page_; }
  const Page* operator->() const { return page_; }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
  Page* page_ = nullptr;
};

class Kill final : public Injection {
 public:
  Kill(const std::string& path, const std::vector<Phase>& phases, Point point)
      : page_(path), phases_(phases), point_(point) {
    page_->kill_at = point.n;
    if (point.phase == 0) return;
    const Phase& phase = phases.at(point.phase - 1);
    NT_CHECK(phase.match.size() < sizeof(page_->match));
    phase.match.copy(page_->match, sizeof(page_->match) - 1);
    page_->match_mark = static_cast<uint64_t>(phase.mark);
  }

  [[nodiscard]] std::map<std::string, std::string> Environment(const std::string& dirs) const override {
    return {{"LD_PRELOAD", Library("kill")}, {"NT_KILL_PAGE", page_.path()}, {"NT_KILL_DIRS", dirs}};
  }
  void Mark(fault_mark mark) override { page_->mark = mark; }
  [[nodiscard]] bool loaded() const override { return page_->loaded == 1; }
  [[nodiscard]] uint64_t points() const override { return 2 * page_->calls; }
  [[nodiscard]] std::string Where() const override {
    if (point_.n == 0) return "no point";
    return fmt::format("{} {}", point_.n % 2 == 1 ? "before" : "after", page_->killed_at);
  }
  [[nodiscard]] std::map<std::string, uint64_t> InPhases() const override {
    std::map<std::string, uint64_t> out;
    for (uint64_t i = 0; i < std::min<uint64_t>(page_->calls, KILL_ENTRIES); ++i) {
      for (const Phase& phase : phases_) {
        if (!phase.Has(page_->entries[i], page_->marks[i])) continue;
        uint64_t& points = out[phase.name];
        if (phase.first == 0 || points < 2 * phase.first) points += 2;
      }
    }
    return out;
  }
  [[nodiscard]] bool Reached(int status) const override { return status == 128 + SIGKILL; }
  [[nodiscard]] std::string Ended(int /*status*/) const override {
    const std::string where = Where();
    return "killed " + where.substr(0, where.find(' ', where.find(' ') + 1));
  }
  [[nodiscard]] std::string Judge(int status, const std::string& /*log*/) const override {
    return Reached(status) || status == 0 ? "" : fmt::format("it ended with {}", status);
  }

 private:
  SharedPage<kill_page> page_;
  const std::vector<Phase>& phases_;
  const Point point_;
};

class Memory final : public Injection {
 public:
  Memory(const std::string& path, uint64_t point) : page_(path), point_(point) { page_->fail_at = point; }

  [[nodiscard]] std::map<std::string, std::string> Environment(const std::string& /*dirs*/) const override {
    return {{"LD_PRELOAD", Library("alloc")}, {"NT_ALLOC_PAGE", page_.path()}};
  }
  void Mark(fault_mark /*mark*/) override { page_->armed = 1; }
  [[nodiscard]] bool loaded() const override { return page_->loaded == 1; }
  [[nodiscard]] uint64_t points() const override { return page_->calls; }
  [[nodiscard]] std::string Where() const override {
    return fmt::format("allocation {}, by {}", point_, page_->caller);
  }
  [[nodiscard]] bool Reached(int /*status*/) const override { return page_->failed == 1; }
  [[nodiscard]] std::string Ended(int status) const override {
    if (status == 0) return "went on without it";
    if (status == 128 + SIGABRT) return "aborted";
    return status == 128 + SIGSEGV ? "crashed" : fmt::format("exit {}", status);
  }
  // operator new ends the program with its own status; a library may abort, crash, or tell us that it found none: then
  // the program says that and ends, or goes on. Never: a crash of our own, a hang, an end without a word.
  [[nodiscard]] std::string Judge(int status, const std::string& log) const override {
    // Another thread may have been in the middle of a line of its own.
    const std::string_view end = LastLines(log, 3);
    const auto says = [&](std::string_view words) {
      return end.find(words) != std::string_view::npos ? ""
                                                       : fmt::format("exit {}, and does not say why: {}", status, end);
    };
    if (status == 0) return "";
    if (!Reached(status)) return fmt::format("nothing was refused, it ended with {}: {}", status, end);
    if (status == kNoMemoryExitCode) return says("no memory is left");
    if (std::string_view(page_->caller).starts_with("libstdc++"))
      return fmt::format("operator new: ended with {}", status);
    if (status == 128 + SIGABRT) return says("aborted: ");
    if (status == 128 + SIGSEGV && std::string_view(page_->caller).starts_with("lib")) return says("crashed: ");
    if (status == static_cast<int>(ExitCode::kStorage)) return says(": ");
    return fmt::format("it ended with {}: {}", status, end);
  }

 private:
  SharedPage<alloc_page> page_;
  const uint64_t point_;
};

}  // namespace

std::unique_ptr<Injection> MakeInjection(Fault fault, const std::string& path, const std::vector<Phase>& phases,
                                         Point point) {
  if (fault == Fault::kKill) return std::make_unique<Kill>(path, phases, point);
  return std::make_unique<Memory>(path, point.n);
}

}  // namespace nodetrail::fault

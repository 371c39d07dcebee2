// SPDX-License-Identifier: Apache-2.0
#include "agent/enrich/nss_name_resolver.h"

#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <deque>
#include <mutex>
#include <optional>
#include <stop_token>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "nodetrail/base/log.h"

namespace nodetrail::agent {
namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr size_t kMaxCached = 65536;  // answers of NSS, per kind
constexpr size_t kMaxBuffer = size_t{1} << 20U;
constexpr auto kFileCheckInterval = std::chrono::seconds(1);

enum class IdKind : uint8_t { kUser, kGroup };

struct Question {
  IdKind kind;
  uint32_t id;
};
struct Answer {
  Question question;
  std::optional<std::string> name;
};

// A name is a string field of the schema, and a database may hold any bytes.
std::string Sanitise(const char* name) {
  std::string out(name);
  for (char& c : out) {
    if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) >= 0x7f) c = '?';
  }
  return out;
}

// One of the two files, whole.
class NameFile {
 public:
  NameFile(IdKind kind, std::string path) : kind_(kind), path_(std::move(path)) { Reload(); }

  // True if the file was read anew.
  bool Check() {
    struct stat st {};
    if (::stat(path_.c_str(), &st) != 0) return false;
    if (st.st_mtim.tv_sec == stamp_.st_mtim.tv_sec && st.st_mtim.tv_nsec == stamp_.st_mtim.tv_nsec &&
        st.st_ino == stamp_.st_ino && st.st_size == stamp_.st_size) {
      return false;
    }
    Reload();
    return true;
  }
  [[nodiscard]] const std::string* Find(uint32_t id) const {
    const auto it = names_.find(id);
    return it == names_.end() ? nullptr : &it->second;
  }

 private:
  void Reload() {
    // Opened before it is stat'ed: a change in between is seen at the next check.
    std::FILE* file = std::fopen(path_.c_str(), "re");
    if (file == nullptr) return;
    if (::fstat(::fileno(file), &stamp_) != 0) stamp_ = {};
    std::unordered_map<uint32_t, std::string> names;
    std::vector<char> buffer(4096);
    while (true) {
      int error = 0;
      if (kind_ == IdKind::kUser) {
        passwd entry{};
        passwd* found = nullptr;
        error = ::fgetpwent_r(file, &entry, buffer.data(), buffer.size(), &found);
        if (error == 0) names.emplace(entry.pw_uid, Sanitise(entry.pw_name));
      } else {
        group entry{};
        group* found = nullptr;
        error = ::fgetgrent_r(file, &entry, buffer.data(), buffer.size(), &found);
        if (error == 0) names.emplace(entry.gr_gid, Sanitise(entry.gr_name));
      }
      if (error == ERANGE && buffer.size() < kMaxBuffer) {
        buffer.resize(buffer.size() * 2);  // a group with many members
      } else if (error != 0) {
        break;
      }
    }
    std::fclose(file);
    names_ = std::move(names);
  }

  IdKind kind_;
  std::string path_;
  struct stat stamp_ {};
  std::unordered_map<uint32_t, std::string> names_;
};

std::optional<std::string> AskNss(const Question& question, std::vector<char>* buffer) {
  while (true) {
    int error = 0;
    std::optional<std::string> name;
    if (question.kind == IdKind::kUser) {
      passwd entry{};
      passwd* found = nullptr;
      error = ::getpwuid_r(question.id, &entry, buffer->data(), buffer->size(), &found);
      if (found != nullptr) name = Sanitise(entry.pw_name);
    } else {
      group entry{};
      group* found = nullptr;
      error = ::getgrgid_r(question.id, &entry, buffer->data(), buffer->size(), &found);
      if (found != nullptr) name = Sanitise(entry.gr_name);
    }
    if (error != ERANGE || buffer->size() >= kMaxBuffer) return name;
    buffer->resize(buffer->size() * 2);
  }
}

class Resolver final : public NssNameResolver {
 public:
  explicit Resolver(const NssOptions& options)
      : ttl_(options.ttl_s),
        files_{NameFile(IdKind::kUser, options.passwd_file), NameFile(IdKind::kGroup, options.group_file)},
        thread_([this](const std::stop_token& stop) { Work(stop); }) {}

  ~Resolver() override {
    thread_.request_stop();
    wake_.notify_all();
  }

  NameAnswer User(uint32_t uid) override { return Look({IdKind::kUser, uid}); }
  NameAnswer Group(uint32_t gid) override { return Look({IdKind::kGroup, gid}); }
  [[nodiscard]] uint64_t Generation() const override { return generation_; }

  void Poll() override {
    const auto now = SteadyClock::now();
    if (now >= next_check_) {
      next_check_ = now + kFileCheckInterval;
      for (NameFile& file : files_) {
        if (file.Check()) ++generation_;
      }
      Expire(now);
    }
    if (!answered_.load(std::memory_order_acquire)) return;
    std::vector<Answer> answers;
    {
      const std::lock_guard lock(mutex_);
      answers.swap(answers_);
      answered_.store(false, std::memory_order_relaxed);
    }
    for (Answer& answer : answers) {
      Cached& cached = Cache(answer.question.kind)[answer.question.id];
      cached.state = answer.name ? NameState::kKnown : NameState::kAbsent;
      cached.name = answer.name.value_or("");
      cached.expires = now + ttl_;
    }
    if (!answers.empty()) ++generation_;
  }

 private:
  struct Cached {
    NameState state = NameState::kPending;
    std::string name;
    SteadyClock::time_point expires{};
  };

  std::unordered_map<uint32_t, Cached>& Cache(IdKind kind) { return caches_[static_cast<size_t>(kind)]; }

  NameAnswer Look(const Question& question) {
    NameFile& file = files_[static_cast<size_t>(question.kind)];
    if (const std::string* name = file.Find(question.id)) return {NameState::kKnown, *name};
    auto& cache = Cache(question.kind);
    if (const auto it = cache.find(question.id); it != cache.end()) return {it->second.state, it->second.name};
    // New to us: a user made a moment ago is in the file already.
    if (file.Check()) {
      ++generation_;
      if (const std::string* name = file.Find(question.id)) return {NameState::kKnown, *name};
    }
    if (cache.size() >= kMaxCached) {
      cache.clear();
      ++generation_;
    }
    cache.emplace(question.id, Cached{});
    {
      const std::lock_guard lock(mutex_);
      questions_.push_back(question);
    }
    wake_.notify_one();
    return {NameState::kPending, {}};
  }

  void Expire(SteadyClock::time_point now) {
    for (auto& cache : caches_) {
      if (std::erase_if(cache, [now](const auto& entry) {
            return entry.second.state != NameState::kPending && entry.second.expires <= now;
          }) > 0) {
        ++generation_;
      }
    }
  }

  void Work(const std::stop_token& stop) {
    std::vector<char> buffer(4096);
    while (true) {
      Question question{};
      {
        std::unique_lock lock(mutex_);
        wake_.wait(lock, stop, [this] { return !questions_.empty(); });
        if (stop.stop_requested()) return;
        question = questions_.front();
        questions_.pop_front();
      }
      Answer answer{question, AskNss(question, &buffer)};
      const std::lock_guard lock(mutex_);
      answers_.push_back(std::move(answer));
      answered_.store(true, std::memory_order_release);
    }
  }

  // Pipeline thread.
  std::chrono::seconds ttl_;
  NameFile files_[2];
  std::unordered_map<uint32_t, Cached> caches_[2];
  uint64_t generation_ = 1;
  SteadyClock::time_point next_check_{};

  std::mutex mutex_;
  std::condition_variable_any wake_;
  std::deque<Question> questions_;  // guarded by mutex_
  std::vector<Answer> answers_;     // guarded by mutex_
  std::atomic<bool> answered_{false};
  std::jthread thread_;  // last: ends first
};

}  // namespace

Result<std::unique_ptr<NssNameResolver>> NssNameResolver::Create(const NssOptions& options) {
  struct stat st {};
  if (::stat(options.passwd_file.c_str(), &st) != 0) {
    log::Warn("names: " + options.passwd_file + " can't be read; user names come from other sources only");
  }
  return std::unique_ptr<NssNameResolver>(std::make_unique<Resolver>(options));
}

}  // namespace nodetrail::agent

// SPDX-License-Identifier: Apache-2.0
#include <curl/curl.h>
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "collector/witness/http_poster.h"
#include "nodetrail/base/version.h"

namespace nodetrail::collector {
namespace {

using std::chrono::milliseconds;
using Steady = std::chrono::steady_clock;

// A connection to a black hole is given up after this, so that the next try is
// a new one; the caller's deadline may be earlier.
constexpr long kTransferTimeoutMs = 60'000;

struct EasyFree {
  void operator()(CURL* easy) const { curl_easy_cleanup(easy); }
};
struct MultiFree {
  void operator()(CURLM* multi) const { curl_multi_cleanup(multi); }
};
struct ListFree {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};

class CurlPoster final : public HttpPoster {
 public:
  CurlPoster(CURLM* multi, std::string ca_file) : multi_(multi), ca_file_(std::move(ca_file)) {
    headers_.reset(curl_slist_append(nullptr, "Content-Type: text/plain; charset=utf-8"));
    if (headers_ == nullptr) return;
    // No wait for "100 Continue" before a body of a few hundred bytes.
    if (curl_slist* more = curl_slist_append(headers_.get(), "Expect:"); more != headers_.get()) {
      static_cast<void>(headers_.release());
      headers_.reset(more);
    }
  }
  ~CurlPoster() override { Cancel(); }
  CurlPoster(const CurlPoster&) = delete;
  CurlPoster& operator=(const CurlPoster&) = delete;

  void Start(size_t id, const std::string& url, std::string body) override {
    auto call = std::make_unique<Call>();
    call->reply.id = id;
    call->body = std::move(body);
    call->easy.reset(curl_easy_init());
    CURL* easy = call->easy.get();
    if (easy == nullptr) {
      call->reply.transport = Internal("libcurl has no memory");
      done_.push_back(std::move(call->reply));
      return;
    }
    curl_easy_setopt(easy, CURLOPT_URL, url.c_str());
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, kTransferTimeoutMs);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, user_agent_.c_str());
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers_.get());
    curl_easy_setopt(easy, CURLOPT_POST, 1L);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(call->body.size()));
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, call->body.data());
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, &CurlPoster::OnBody);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, &call->reply.body);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, call->error);
    curl_easy_setopt(easy, CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
    if (!ca_file_.empty()) curl_easy_setopt(easy, CURLOPT_CAINFO, ca_file_.c_str());
    if (curl_multi_add_handle(multi_.get(), easy) != CURLM_OK) {
      call->reply.transport = Internal("libcurl does not take the request");
      done_.push_back(std::move(call->reply));
      return;
    }
    calls_.emplace(easy, std::move(call));
  }

  std::optional<HttpReply> Next(TimePoint deadline) override {
    for (;;) {
      int running = 0;
      curl_multi_perform(multi_.get(), &running);
      Collect();
      if (!done_.empty()) {
        HttpReply reply = std::move(done_.front());
        done_.erase(done_.begin());
        return reply;
      }
      const auto left = std::chrono::ceil<milliseconds>(deadline - Steady::now()).count();
      if (calls_.empty() || left <= 0) return std::nullopt;
      curl_multi_poll(multi_.get(), nullptr, 0, static_cast<int>(std::min<int64_t>(left, 1000)), nullptr);
    }
  }

  void Cancel() override {
    for (auto& [easy, call] : calls_) curl_multi_remove_handle(multi_.get(), easy);
    calls_.clear();
    done_.clear();
  }

 private:
  struct Call {
    HttpReply reply;
    std::string body;
    char error[CURL_ERROR_SIZE] = {};
    std::unique_ptr<CURL, EasyFree> easy;
  };

  static size_t OnBody(const char* data, size_t one, size_t count, void* to) {
    auto* body = static_cast<std::string*>(to);
    const size_t size = one * count;
    if (body->size() + size > kMaxReplyBytes) return 0;  // gives the transfer up
    body->append(data, size);
    return size;
  }

  void Collect() {
    int left = 0;
    while (CURLMsg* message = curl_multi_info_read(multi_.get(), &left)) {
      if (message->msg != CURLMSG_DONE) continue;
      const auto found = calls_.find(message->easy_handle);
      if (found == calls_.end()) continue;
      const CURLcode code = message->data.result;
      const std::unique_ptr<Call> call = std::move(found->second);
      calls_.erase(found);
      curl_multi_remove_handle(multi_.get(), call->easy.get());
      if (code == CURLE_WRITE_ERROR) {
        call->reply.transport = ResourceExhausted(fmt::format("the answer is longer than {} bytes", kMaxReplyBytes));
      } else if (code != CURLE_OK) {
        call->reply.transport = Unavailable(call->error[0] != '\0' ? call->error : curl_easy_strerror(code));
      } else {
        long status = 0;
        curl_easy_getinfo(call->easy.get(), CURLINFO_RESPONSE_CODE, &status);
        call->reply.status = static_cast<int>(status);
      }
      done_.push_back(std::move(call->reply));
    }
  }

  std::unique_ptr<CURLM, MultiFree> multi_;
  const std::string ca_file_;
  const std::string user_agent_ = fmt::format("nodetrail-collector/{}", kVersion);
  std::unique_ptr<curl_slist, ListFree> headers_;
  std::map<CURL*, std::unique_ptr<Call>> calls_;
  std::vector<HttpReply> done_;
};

}  // namespace

Result<std::unique_ptr<HttpPoster>> MakeCurlPoster(const std::string& ca_file) {
  static std::once_flag once;
  static CURLcode global = CURLE_OK;
  std::call_once(once, [] { global = curl_global_init(CURL_GLOBAL_DEFAULT); });
  CURLM* multi = global == CURLE_OK ? curl_multi_init() : nullptr;
  if (multi == nullptr) return Internal("libcurl can't be initialised");
  return std::unique_ptr<HttpPoster>(std::make_unique<CurlPoster>(multi, ca_file));
}

}  // namespace nodetrail::collector

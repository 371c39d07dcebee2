// SPDX-License-Identifier: Apache-2.0
#include "agent/attribute/proc_uid.h"

#include <openssl/evp.h>

#include <cstring>

#include "nodetrail/base/status.h"

namespace nodetrail::agent {

struct ProcUidMaker::State {
  std::unique_ptr<EVP_MD, decltype(&EVP_MD_free)> md{EVP_MD_fetch(nullptr, "SHA256", nullptr), &EVP_MD_free};
  // `prefix` has taken in what is the same in every identity; `work` starts from it.
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> prefix{EVP_MD_CTX_new(), &EVP_MD_CTX_free};
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> work{EVP_MD_CTX_new(), &EVP_MD_CTX_free};
};

ProcUidMaker::ProcUidMaker(std::string_view boot_id) : state_(std::make_unique<State>()) {
  constexpr std::string_view kDomain = "nodetrail-proc\n";
  NT_CHECK(state_->md && state_->prefix && state_->work);
  NT_CHECK(EVP_DigestInit_ex2(state_->prefix.get(), state_->md.get(), nullptr) == 1);
  NT_CHECK(EVP_DigestUpdate(state_->prefix.get(), kDomain.data(), kDomain.size()) == 1);
  NT_CHECK(EVP_DigestUpdate(state_->prefix.get(), boot_id.data(), boot_id.size()) == 1);
}

ProcUidMaker::~ProcUidMaker() = default;

ProcUid ProcUidMaker::Make(uint32_t tgid, uint64_t start_boot_ns) {
  std::array<uint8_t, 12> tail;
  for (size_t i = 0; i < 4; ++i) tail[i] = static_cast<uint8_t>(tgid >> (8 * i));
  for (size_t i = 0; i < 8; ++i) tail[4 + i] = static_cast<uint8_t>(start_boot_ns >> (8 * i));
  std::array<uint8_t, EVP_MAX_MD_SIZE> digest;
  NT_CHECK(EVP_MD_CTX_copy_ex(state_->work.get(), state_->prefix.get()) == 1);
  NT_CHECK(EVP_DigestUpdate(state_->work.get(), tail.data(), tail.size()) == 1);
  NT_CHECK(EVP_DigestFinal_ex(state_->work.get(), digest.data(), nullptr) == 1);
  ProcUid uid;
  std::memcpy(uid.data(), digest.data(), uid.size());
  return uid;
}

}  // namespace nodetrail::agent

// SPDX-License-Identifier: Apache-2.0
#include "nodetrail/base/revocation.h"

#include <fmt/format.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <sys/stat.h>

#include <array>
#include <ctime>
#include <utility>
#include <vector>

#include "nodetrail/base/fd.h"
#include "nodetrail/base/log.h"

namespace nodetrail {
namespace {

constexpr size_t kMaxListBytes = 16U << 20;
constexpr size_t kMaxCaBytes = 1U << 20;

template <auto Free>
struct Deleter {
  template <typename T>
  void operator()(T* p) const {
    Free(p);
  }
};
void FreeStack(STACK_OF(X509) * stack) { sk_X509_pop_free(stack, X509_free); }
using BioPtr = std::unique_ptr<BIO, Deleter<BIO_free_all>>;
using X509Ptr = std::unique_ptr<X509, Deleter<X509_free>>;
using CrlPtr = std::unique_ptr<X509_CRL, Deleter<X509_CRL_free>>;
using StorePtr = std::unique_ptr<X509_STORE, Deleter<X509_STORE_free>>;
using StoreCtxPtr = std::unique_ptr<X509_STORE_CTX, Deleter<X509_STORE_CTX_free>>;
using StackPtr = std::unique_ptr<STACK_OF(X509), Deleter<FreeStack>>;

BioPtr MemoryBio(std::string_view bytes) {
  return BioPtr(BIO_new_mem_buf(bytes.data(), static_cast<int>(bytes.size())));
}

// Never asks a terminal for a passphrase.
int NoPassphrase(char* /*buf*/, int /*size*/, int /*rwflag*/, void* /*user*/) { return -1; }

// True at the end of what PEM can be read from; false: what follows is damaged.
bool AtEnd() {
  const unsigned long error = ERR_peek_last_error();
  const bool end = ERR_GET_LIB(error) == ERR_LIB_PEM && ERR_GET_REASON(error) == PEM_R_NO_START_LINE;
  ERR_clear_error();
  return end;
}

std::vector<X509Ptr> Certificates(std::string_view pem) {
  std::vector<X509Ptr> certs;
  const BioPtr bio = MemoryBio(pem);
  ERR_clear_error();
  while (X509* cert = PEM_read_bio_X509(bio.get(), nullptr, NoPassphrase, nullptr)) certs.emplace_back(cert);
  ERR_clear_error();
  return certs;
}

std::string NameText(const X509_NAME* name) {
  std::array<char, 256> text{};
  X509_NAME_oneline(name, text.data(), static_cast<int>(text.size()));
  return text.data();
}

std::string SerialText(const X509* cert) {
  const ASN1_INTEGER* serial = X509_get0_serialNumber(cert);
  std::string out;
  for (int i = 0; i < ASN1_STRING_length(serial); ++i) {
    out += fmt::format("{:02x}", ASN1_STRING_get0_data(serial)[i]);
  }
  return out;
}

// An authority of the file is trusted because it is there: to take it out is
// how it is revoked, so it needs no list of who issued it.
int TrustAnchors(int ok, X509_STORE_CTX* ctx) {
  if (ok == 1 || X509_STORE_CTX_get_error(ctx) != X509_V_ERR_UNABLE_TO_GET_CRL) return ok;
  const int depth = X509_STORE_CTX_get_error_depth(ctx);
  return depth > 0 && depth == sk_X509_num(X509_STORE_CTX_get0_chain(ctx)) - 1 ? 1 : 0;
}

// The list must be of one of the authorities, if it names one of them.
bool Genuine(X509_CRL* list, const std::vector<X509Ptr>& authorities) {
  bool named = false;
  for (const X509Ptr& ca : authorities) {
    if (X509_NAME_cmp(X509_get_subject_name(ca.get()), X509_CRL_get_issuer(list)) != 0) continue;
    named = true;
    const bool signed_by = X509_CRL_verify(list, X509_get0_pubkey(ca.get())) == 1;
    ERR_clear_error();
    if (signed_by) return true;
  }
  return !named;
}

}  // namespace

struct RevocationFile::Lists {
  StorePtr store;
  size_t revoked = 0;
};

// Of both files.
struct RevocationFile::Stamp {
  static Stamp Of(const std::string& crl_file, const std::string& ca_file) {
    Stamp out;
    for (const auto& [path, into] : {std::pair(&crl_file, &out.crl), std::pair(&ca_file, &out.ca)}) {
      struct stat st {};
      if (::stat(path->c_str(), &st) != 0) continue;
      *into = {static_cast<int64_t>(st.st_dev),
               static_cast<int64_t>(st.st_ino),
               st.st_size,
               st.st_mtim.tv_sec,
               static_cast<int64_t>(st.st_mtim.tv_nsec),
               st.st_ctim.tv_sec,
               st.st_ctim.tv_nsec};
    }
    return out;
  }
  bool operator==(const Stamp&) const = default;
  std::array<int64_t, 7> crl{}, ca{};  // zeros: not there
};

RevocationFile::RevocationFile(std::string crl_file, std::string ca_file)
    : crl_file_(std::move(crl_file)), ca_file_(std::move(ca_file)) {}
RevocationFile::~RevocationFile() = default;

Result<std::shared_ptr<RevocationFile::Lists>> RevocationFile::Load() const {
  NT_ASSIGN_OR_RETURN(const std::string pem, ReadFile(crl_file_, kMaxListBytes));
  NT_ASSIGN_OR_RETURN(const std::string ca_pem, ReadFile(ca_file_, kMaxCaBytes));
  const std::vector<X509Ptr> authorities = Certificates(ca_pem);
  if (authorities.empty()) return InvalidArgument(fmt::format("{}: no PEM certificate in it", ca_file_));
  auto out = std::make_shared<Lists>();
  out->store.reset(X509_STORE_new());
  NT_CHECK(out->store != nullptr);
  for (const X509Ptr& ca : authorities) X509_STORE_add_cert(out->store.get(), ca.get());
  const BioPtr bio = MemoryBio(pem);
  ERR_clear_error();
  size_t count = 0;
  while (const CrlPtr list{PEM_read_bio_X509_CRL(bio.get(), nullptr, NoPassphrase, nullptr)}) {
    ++count;
    if (!Genuine(list.get(), authorities)) {
      return InvalidArgument(
          fmt::format("{}: list {}: not signed by {}, which it names; get the list from that authority again",
                      crl_file_, count, NameText(X509_CRL_get_issuer(list.get()))));
    }
    const STACK_OF(X509_REVOKED)* revoked = X509_CRL_get_REVOKED(list.get());
    if (revoked != nullptr) out->revoked += static_cast<size_t>(sk_X509_REVOKED_num(revoked));
    if (X509_STORE_add_crl(out->store.get(), list.get()) != 1) {
      ERR_clear_error();
      return InvalidArgument(fmt::format("{}: list {} can't be used", crl_file_, count));
    }
    ERR_clear_error();
  }
  if (!AtEnd()) return InvalidArgument(fmt::format("{}: damaged after {} lists; install it whole", crl_file_, count));
  if (count == 0) {
    return InvalidArgument(
        fmt::format("{}: no PEM revocation list in it; put the authority's list there, an empty one if it revoked "
                    "nobody",
                    crl_file_));
  }
  return out;
}

Status RevocationFile::RefreshLocked() {
  if (crl_file_.empty()) return OkStatus();
  Stamp now = Stamp::Of(crl_file_, ca_file_);
  if (tried_ && *tried_ == now) return lists_ ? OkStatus() : problem_;
  auto loaded = Load();
  tried_ = std::make_unique<Stamp>(now);
  problem_ = loaded.ok() ? OkStatus() : Annotate(loaded.status(), "crl_file");
  if (loaded.ok()) {
    lists_ = *std::move(loaded);
    ++generation_;
    log::Info(fmt::format("crl_file: {}: {} certificates are revoked", crl_file_, lists_->revoked));
    return OkStatus();
  }
  if (!lists_) return problem_;
  log::Error(fmt::format("{}; the lists read before are used", problem_.message()));
  return OkStatus();
}

Status RevocationFile::Refresh() {
  const std::lock_guard lock(mutex_);
  return RefreshLocked();
}

uint64_t RevocationFile::Generation() {
  const std::lock_guard lock(mutex_);
  RefreshLocked().Ignore();
  return generation_;
}

Status RevocationFile::Check(std::string_view cert_pem, std::string_view chain_pem, uint64_t wall_ns) {
  if (crl_file_.empty()) return OkStatus();
  std::shared_ptr<Lists> lists;
  {
    const std::lock_guard lock(mutex_);
    NT_RETURN_IF_ERROR(RefreshLocked());
    lists = lists_;
  }
  const std::vector<X509Ptr> leaf = Certificates(cert_pem);
  if (leaf.empty()) return FailedPrecondition("crl_file: the peer's certificate can't be read");
  StackPtr between(sk_X509_new_null());
  for (X509Ptr& cert : Certificates(chain_pem)) {
    if (sk_X509_push(between.get(), cert.get()) > 0) (void)cert.release();
  }
  const StoreCtxPtr ctx(X509_STORE_CTX_new());
  NT_CHECK(ctx != nullptr && X509_STORE_CTX_init(ctx.get(), lists->store.get(), leaf[0].get(), between.get()) == 1);
  X509_STORE_CTX_set_flags(ctx.get(), X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL | X509_V_FLAG_PARTIAL_CHAIN);
  X509_STORE_CTX_set_time(ctx.get(), 0, static_cast<time_t>(wall_ns / 1'000'000'000U));
  X509_STORE_CTX_set_verify_cb(ctx.get(), TrustAnchors);
  const bool good = X509_verify_cert(ctx.get()) == 1;
  const int error = X509_STORE_CTX_get_error(ctx.get());
  ERR_clear_error();
  if (good) return OkStatus();
  const X509* cert = X509_STORE_CTX_get_current_cert(ctx.get());
  if (cert == nullptr) cert = leaf[0].get();
  const std::string issuer = NameText(X509_get_issuer_name(cert));
  switch (error) {
    case X509_V_ERR_CERT_REVOKED:
      return PermissionDenied(
          fmt::format("the certificate {} (serial {}) is revoked by its authority, says the revocation list of {}; it "
                      "needs a new certificate and key",
                      NameText(X509_get_subject_name(cert)), SerialText(cert), issuer));
    case X509_V_ERR_CRL_HAS_EXPIRED:
      return FailedPrecondition(
          fmt::format("crl_file: {}: the list of {} is out of date, so nobody is accepted; install a newer one",
                      crl_file_, issuer));
    case X509_V_ERR_CRL_NOT_YET_VALID:
      return FailedPrecondition(
          fmt::format("crl_file: {}: the list of {} is not valid yet; check this node's clock", crl_file_, issuer));
    case X509_V_ERR_UNABLE_TO_GET_CRL:
      return FailedPrecondition(
          fmt::format("crl_file: {}: no list of {}; add it, an empty one if it revoked nobody", crl_file_, issuer));
    default:
      return FailedPrecondition(fmt::format("the certificate {} does not hold under {}: {}",
                                            NameText(X509_get_subject_name(cert)), ca_file_,
                                            X509_verify_cert_error_string(error)));
  }
}

}  // namespace nodetrail

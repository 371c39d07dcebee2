// SPDX-License-Identifier: Apache-2.0
#include "nodetrail/base/tls_files.h"

#include <fmt/format.h>
#include <netdb.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <ctime>
#include <memory>
#include <string_view>
#include <vector>

#include "nodetrail/base/fd.h"

namespace nodetrail {
namespace {

constexpr size_t kMaxPemBytes = 1U << 20;

template <auto Free>
struct Deleter {
  template <typename T>
  void operator()(T* p) const {
    Free(p);
  }
};
using BioPtr = std::unique_ptr<BIO, Deleter<BIO_free_all>>;
using X509Ptr = std::unique_ptr<X509, Deleter<X509_free>>;
using KeyPtr = std::unique_ptr<EVP_PKEY, Deleter<EVP_PKEY_free>>;
using CtxPtr = std::unique_ptr<SSL_CTX, Deleter<SSL_CTX_free>>;
using SslPtr = std::unique_ptr<SSL, Deleter<SSL_free>>;

BioPtr MemoryBio(std::string_view bytes) {
  return BioPtr(BIO_new_mem_buf(bytes.data(), static_cast<int>(bytes.size())));
}

// Never asks a terminal for a passphrase.
int NoPassphrase(char* /*buf*/, int /*size*/, int /*rwflag*/, void* /*user*/) { return -1; }

std::vector<X509Ptr> ParseCertificates(std::string_view pem) {
  std::vector<X509Ptr> certs;
  BioPtr bio = MemoryBio(pem);
  while (X509* cert = PEM_read_bio_X509(bio.get(), nullptr, NoPassphrase, nullptr)) certs.emplace_back(cert);
  ERR_clear_error();  // the end of the file is an error to the PEM reader
  return certs;
}

std::string TimeText(const ASN1_TIME* time) {
  std::tm tm{};
  if (ASN1_TIME_to_tm(time, &tm) != 1) return "an unreadable time";
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour,
                     tm.tm_min, tm.tm_sec);
}

Result<std::string> ReadPem(const std::string& path) {
  auto text = ReadFile(path, kMaxPemBytes);
  if (!text.ok()) return Status(text.status().code(), fmt::format("tls: {}", text.status().message()));
  return text;
}

// A key that others can read is a key that others have.
Status CheckKeyMode(const std::string& path) {
  struct stat st {};
  if (stat(path.c_str(), &st) != 0) return ErrnoStatus(errno, fmt::format("tls: stat {}", path));
  if ((st.st_mode & 077) != 0) {
    return PermissionDenied(fmt::format("tls: {}: the key is readable by others (mode {:04o}); chmod 0600 {}", path,
                                        st.st_mode & 07777, path));
  }
  return OkStatus();
}

Status CheckValidity(const X509* cert, const std::string& path, uint64_t wall_ns) {
  time_t now = static_cast<time_t>(wall_ns / 1'000'000'000U);
  if (X509_cmp_time(X509_get0_notAfter(cert), &now) < 0) {
    return FailedPrecondition(
        fmt::format("tls: {}: the certificate expired at {}; renew it", path, TimeText(X509_get0_notAfter(cert))));
  }
  if (X509_cmp_time(X509_get0_notBefore(cert), &now) > 0) {
    return FailedPrecondition(fmt::format("tls: {}: the certificate is not valid before {}; check this node's clock",
                                          path, TimeText(X509_get0_notBefore(cert))));
  }
  return OkStatus();
}

struct HostPort {
  std::string host;
  std::string port;
};

Result<HostPort> SplitEndpoint(const std::string& endpoint) {
  size_t colon = endpoint.rfind(':');
  if (colon == std::string::npos || colon == 0 || colon + 1 == endpoint.size()) {
    return InvalidArgument(fmt::format("{}: an endpoint is host:port", endpoint));
  }
  HostPort out{endpoint.substr(0, colon), endpoint.substr(colon + 1)};
  if (out.host.size() > 2 && out.host.front() == '[' && out.host.back() == ']') {
    out.host = out.host.substr(1, out.host.size() - 2);
  }
  return out;
}

using Deadline = std::chrono::steady_clock::time_point;

// poll(2) for `events` until the deadline. False: the deadline is over.
bool WaitFor(int fd, short events, Deadline deadline) {
  for (;;) {
    auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now()).count();
    if (left <= 0) return false;
    pollfd p{fd, events, 0};
    int n = poll(&p, 1, static_cast<int>(std::min<int64_t>(left, 60'000)));
    if (n > 0) return true;
    if (n < 0 && errno != EINTR) return false;
  }
}

Result<UniqueFd> Connect(const HostPort& to, const std::string& endpoint, Deadline deadline) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  if (int rc = getaddrinfo(to.host.c_str(), to.port.c_str(), &hints, &list); rc != 0) {
    return Unavailable(
        fmt::format("{}: cannot resolve the name: {}; check the endpoint and DNS", endpoint, gai_strerror(rc)));
  }
  std::unique_ptr<addrinfo, Deleter<freeaddrinfo>> owner(list);
  int last_error = ETIMEDOUT;
  for (const addrinfo* a = list; a != nullptr; a = a->ai_next) {
    UniqueFd fd(socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a->ai_protocol));
    if (!fd.valid()) {
      last_error = errno;
      continue;
    }
    if (connect(fd.get(), a->ai_addr, a->ai_addrlen) == 0) return fd;
    if (errno != EINPROGRESS) {
      last_error = errno;
      continue;
    }
    if (!WaitFor(fd.get(), POLLOUT, deadline)) {
      last_error = ETIMEDOUT;
      break;
    }
    int err = 0;
    socklen_t len = sizeof(err);
    getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &err, &len);
    if (err == 0) return fd;
    last_error = err;
  }
  return Unavailable(fmt::format("{}: connect: {}; is the collector running there?", endpoint, ErrnoName(last_error)));
}

// OpenSSL writes to sockets without MSG_NOSIGNAL: hold SIGPIPE off this thread
// meanwhile, and take the one that we caused.
class NoSigPipe {
 public:
  NoSigPipe() {
    sigemptyset(&pipe_);
    sigaddset(&pipe_, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_, &before_);
  }
  ~NoSigPipe() {
    if (sigismember(&before_, SIGPIPE) == 1) return;
    const timespec none{};
    while (sigtimedwait(&pipe_, nullptr, &none) == SIGPIPE) {
    }
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  NoSigPipe(const NoSigPipe&) = delete;
  NoSigPipe& operator=(const NoSigPipe&) = delete;

 private:
  sigset_t pipe_{};
  sigset_t before_{};
};

// What the peer or our own check said, as a cause and a fix.
// `judged`: our side of the handshake was done, the peer had our certificate.
Status HandshakeError(const SSL* ssl, const std::string& endpoint, const std::string& name, bool judged) {
  long verify = SSL_get_verify_result(ssl);
  unsigned long err = ERR_peek_last_error();
  int reason = ERR_GET_REASON(err);
  if (verify != X509_V_OK) {
    const char* text = X509_verify_cert_error_string(verify);
    switch (verify) {
      case X509_V_ERR_CERT_HAS_EXPIRED:
        return FailedPrecondition(
            fmt::format("{}: the collector's certificate expired; renew it at the collector", endpoint));
      case X509_V_ERR_CERT_NOT_YET_VALID:
        return FailedPrecondition(
            fmt::format("{}: the collector's certificate is not yet valid; check both clocks", endpoint));
      case X509_V_ERR_HOSTNAME_MISMATCH:
      case X509_V_ERR_IP_ADDRESS_MISMATCH:
        return FailedPrecondition(
            fmt::format("{}: the collector's certificate is for another name than {}; set server_name or reissue it",
                        endpoint, name));
      default:
        return FailedPrecondition(
            fmt::format("{}: the collector's certificate is not trusted: {}; check ca_file", endpoint, text));
    }
  }
  if (ERR_GET_LIB(err) == ERR_LIB_SSL && reason >= SSL_AD_REASON_OFFSET) {
    switch (reason - SSL_AD_REASON_OFFSET) {
      case SSL_AD_CERTIFICATE_EXPIRED:
        return FailedPrecondition(
            fmt::format("{}: the collector says our certificate expired; renew it, check both clocks", endpoint));
      case SSL_AD_UNKNOWN_CA:
        return FailedPrecondition(
            fmt::format("{}: the collector does not trust the authority of our certificate; it must be in the "
                        "collector's ca_file",
                        endpoint));
      case SSL_AD_CERTIFICATE_REVOKED:
        return FailedPrecondition(
            fmt::format("{}: the collector says our certificate is revoked; enrol again", endpoint));
      default:
        return FailedPrecondition(fmt::format("{}: the collector refuses our certificate: {}; check cert_file",
                                              endpoint, SSL_alert_desc_string_long(reason - SSL_AD_REASON_OFFSET)));
    }
  }
  if (judged) {
    return FailedPrecondition(fmt::format(
        "{}: the collector closed the connection once it had our certificate: is it from an authority in the "
        "collector's ca_file, valid by the collector's clock, and not revoked?",
        endpoint));
  }
  if (err != 0) {
    const char* text = ERR_reason_error_string(err);
    return Unavailable(fmt::format("{}: TLS handshake: {}; is it the collector's port?", endpoint,
                                   text != nullptr ? text : "unknown"));
  }
  return Unavailable(fmt::format("{}: the peer closed the connection in the TLS handshake", endpoint));
}

}  // namespace

Result<TlsMaterial> LoadTlsFiles(const TlsPaths& paths, uint64_t wall_ns) {
  TlsMaterial material;
  NT_RETURN_IF_ERROR(CheckKeyMode(paths.key_file));
  NT_ASSIGN_OR_RETURN(material.ca_pem, ReadPem(paths.ca_file));
  NT_ASSIGN_OR_RETURN(material.cert_pem, ReadPem(paths.cert_file));
  NT_ASSIGN_OR_RETURN(material.key_pem, ReadPem(paths.key_file));
  if (ParseCertificates(material.ca_pem).empty()) {
    return InvalidArgument(
        fmt::format("tls: {}: no PEM certificate in it; put the authority's certificate there", paths.ca_file));
  }
  std::vector<X509Ptr> chain = ParseCertificates(material.cert_pem);
  if (chain.empty()) {
    return InvalidArgument(fmt::format("tls: {}: no PEM certificate in it", paths.cert_file));
  }
  KeyPtr key(PEM_read_bio_PrivateKey(MemoryBio(material.key_pem).get(), nullptr, NoPassphrase, nullptr));
  ERR_clear_error();
  if (!key) {
    return InvalidArgument(fmt::format("tls: {}: no PEM private key without passphrase in it", paths.key_file));
  }
  const bool pair = X509_check_private_key(chain.front().get(), key.get()) == 1;
  ERR_clear_error();
  if (!pair) {
    return InvalidArgument(fmt::format("tls: {} is not the key of {}; install the pair that belongs together",
                                       paths.key_file, paths.cert_file));
  }
  NT_RETURN_IF_ERROR(CheckValidity(chain.front().get(), paths.cert_file, wall_ns));
  return material;
}

Status CheckServerName(std::string_view cert_pem, const std::string& endpoint, const std::string& server_name) {
  NT_ASSIGN_OR_RETURN(const HostPort to, SplitEndpoint(endpoint));
  const std::string name = server_name.empty() ? to.host : server_name;
  const std::vector<X509Ptr> certs = ParseCertificates(cert_pem);
  if (certs.empty()) return FailedPrecondition(fmt::format("{}: its certificate can't be read", endpoint));
  X509* cert = certs.front().get();
  const bool is_ip = X509_check_ip_asc(cert, name.c_str(), 0) == 1;
  const bool is_host =
      X509_check_host(cert, name.data(), name.size(),
                      X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, nullptr) == 1;
  ERR_clear_error();
  if (is_ip || is_host) return OkStatus();
  return FailedPrecondition(fmt::format(
      "{}: the collector's certificate is for another name than {}; set server_name or reissue it", endpoint, name));
}

Status ProbeTls(const std::string& endpoint, const std::string& server_name, const TlsMaterial& material,
                std::chrono::milliseconds timeout) {
  const NoSigPipe no_sigpipe;
  const Deadline deadline = std::chrono::steady_clock::now() + timeout;
  NT_ASSIGN_OR_RETURN(HostPort to, SplitEndpoint(endpoint));
  const std::string name = server_name.empty() ? to.host : server_name;
  NT_ASSIGN_OR_RETURN(UniqueFd fd, Connect(to, endpoint, deadline));

  ERR_clear_error();
  CtxPtr ctx(SSL_CTX_new(TLS_client_method()));
  NT_CHECK(ctx != nullptr);
  SSL_CTX_set_min_proto_version(ctx.get(), TLS1_2_VERSION);
  SSL_CTX_set_verify(ctx.get(), SSL_VERIFY_PEER, nullptr);
  for (const X509Ptr& ca : ParseCertificates(material.ca_pem)) {
    X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx.get()), ca.get());
  }
  std::vector<X509Ptr> chain = ParseCertificates(material.cert_pem);
  KeyPtr key(PEM_read_bio_PrivateKey(MemoryBio(material.key_pem).get(), nullptr, NoPassphrase, nullptr));
  if (chain.empty() || !key || SSL_CTX_use_certificate(ctx.get(), chain.front().get()) != 1 ||
      SSL_CTX_use_PrivateKey(ctx.get(), key.get()) != 1) {
    ERR_clear_error();
    return InvalidArgument("tls: certificate or key unusable");
  }
  for (size_t i = 1; i < chain.size(); ++i) SSL_CTX_add1_chain_cert(ctx.get(), chain[i].get());
  static constexpr unsigned char kAlpn[] = {2, 'h', '2'};
  SSL_CTX_set_alpn_protos(ctx.get(), kAlpn, sizeof(kAlpn));

  SslPtr ssl(SSL_new(ctx.get()));
  NT_CHECK(ssl != nullptr);
  X509_VERIFY_PARAM* param = SSL_get0_param(ssl.get());
  if (X509_VERIFY_PARAM_set1_ip_asc(param, name.c_str()) != 1) {
    ERR_clear_error();
    X509_VERIFY_PARAM_set1_host(param, name.c_str(), name.size());
    // The macro SSL_set_tlsext_host_name, without its C cast.
    SSL_ctrl(ssl.get(), SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name, const_cast<char*>(name.c_str()));
  }
  SSL_set_fd(ssl.get(), fd.get());
  // In TLS 1.3 the client is done before the server has judged its
  // certificate, so read once: the alert, or the first bytes of HTTP/2.
  bool connected = false;
  for (;;) {
    ERR_clear_error();
    char byte = 0;
    int rc = connected ? SSL_peek(ssl.get(), &byte, 1) : SSL_connect(ssl.get());
    if (rc == 1) {
      if (connected) return OkStatus();
      connected = true;
      continue;
    }
    const int want = SSL_get_error(ssl.get(), rc);
    if (want != SSL_ERROR_WANT_READ && want != SSL_ERROR_WANT_WRITE) {
      Status status = HandshakeError(ssl.get(), endpoint, name, connected);
      ERR_clear_error();
      return status;
    }
    if (!WaitFor(fd.get(), want == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT, deadline)) {
      ERR_clear_error();
      return Status(
          Code::kDeadlineExceeded,
          fmt::format("{}: no answer to the TLS handshake; is something between that drops packets?", endpoint));
    }
  }
}

}  // namespace nodetrail

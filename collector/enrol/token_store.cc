// SPDX-License-Identifier: Apache-2.0
#include "collector/enrol/token_store.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>

#include "nodetrail/base/fd.h"
#include "nodetrail/base/guard.h"

namespace nodetrail::collector {
namespace {

constexpr std::string_view kPrefix = "nt1-";
constexpr size_t kIdDigits = 16;
constexpr std::string_view kTemp = ".tmp";
constexpr size_t kSecretDigits = 64;
constexpr size_t kMaxFileBytes = 4096;
// An expired token is listed for so long.
constexpr uint64_t kKeepNs = 7ULL * 24 * 3600 * 1'000'000'000;

struct TokenText {
  std::string_view id;
  std::string_view secret;
};

std::optional<TokenText> Split(std::string_view token) {
  if (token.size() != kPrefix.size() + kIdDigits + 1 + kSecretDigits || !token.starts_with(kPrefix)) return {};
  token.remove_prefix(kPrefix.size());
  if (token[kIdDigits] != '-') return {};
  return TokenText{token.substr(0, kIdDigits), token.substr(kIdDigits + 1)};
}

template <size_t N>
std::string RandomHex() {
  std::array<uint8_t, N> bytes{};
  trail::RandomBytes(bytes);
  std::string hex = trail::Hex(bytes);
  trail::SecureErase(bytes.data(), bytes.size());
  return hex;
}

Status No(std::string_view why) { return PermissionDenied(std::string(why)); }

}  // namespace

bool ValidAgentPattern(std::string_view pattern) {
  if (pattern.empty() || pattern.size() > 64) return false;
  std::string id(pattern);
  for (char& c : id) {
    if (c == '*') c = 'x';
  }
  return trail::ValidId(id);
}

bool MatchesAgentPattern(std::string_view pattern, std::string_view agent_id) {
  size_t p = 0;
  size_t a = 0;
  size_t star = std::string_view::npos;
  size_t star_at = 0;
  while (a < agent_id.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      star_at = a;
    } else if (p < pattern.size() && pattern[p] == agent_id[a]) {
      ++p;
      ++a;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      a = ++star_at;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

Result<std::unique_ptr<TokenStore>> TokenStore::Open(const std::string& dir, const Clock* clock) {
  NT_RETURN_IF_ERROR(MakeDirectories(dir, 0700));
  std::unique_ptr<TokenStore> store(new TokenStore(dir, clock));
  NT_RETURN_IF_ERROR(store->Load());
  store->Prune();
  return store;
}

Status TokenStore::Load() {
  std::error_code error;
  for (std::filesystem::directory_iterator it(dir_, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    const auto hex = trail::HexDecode(name);
    // Of a write that did not end.
    if (name.size() == kIdDigits + kTemp.size() && name.ends_with(kTemp)) ::unlink(it->path().c_str());
    if (name.size() != kIdDigits || !hex.ok()) continue;
    NT_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(it->path().string(), kMaxFileBytes));
    enrol::v1::StoredToken token;
    if (!token.ParseFromString(bytes) || token.info().id() != name || token.secret_sha256().size() != 32) {
      return DataLoss(fmt::format("enrol: {}/{}: not a token; remove the file, and make a new token", dir_, name));
    }
    tokens_.emplace(name, std::move(token));
  }
  if (error) return ErrnoStatus(error.value(), fmt::format("enrol: list {}", dir_));
  return OkStatus();
}

Status TokenStore::Write(const enrol::v1::StoredToken& token) const {
  return Annotate(WriteFileAtomically(dir_ + "/" + token.info().id(), token.SerializeAsString(), 0600), "enrol");
}

void TokenStore::Prune() {
  const uint64_t now = clock_->WallNs();
  for (auto it = tokens_.begin(); it != tokens_.end();) {
    if (now < kKeepNs || it->second.info().expires_wall_ns() > now - kKeepNs) {
      ++it;
      continue;
    }
    ::unlink((dir_ + "/" + it->first).c_str());  // else it is pruned at the next start
    it = tokens_.erase(it);
  }
}

Result<enrol::v1::CreateTokenResponse> TokenStore::Create(const std::string& pattern, uint32_t ttl_seconds) {
  if (!ValidAgentPattern(pattern)) {
    return InvalidArgument(fmt::format(
        "agent '{}': an agent id, or a pattern of one such as 'web-*' (letters, digits, '.', '_', '-', '*')", pattern));
  }
  if (ttl_seconds == 0 || ttl_seconds > kMaxTokenTtlSeconds) {
    return InvalidArgument(fmt::format("ttl: {} s, 1 to {} allowed", ttl_seconds, kMaxTokenTtlSeconds));
  }
  const std::lock_guard lock(mutex_);
  Prune();
  if (tokens_.size() >= kMaxTokens) {
    return Status(Code::kResourceExhausted,
                  fmt::format("{} tokens are kept already, expired ones for a week", kMaxTokens));
  }
  std::string secret = RandomHex<kSecretDigits / 2>();
  enrol::v1::StoredToken token;
  enrol::v1::Token* info = token.mutable_info();
  info->set_id(RandomHex<kIdDigits / 2>());
  info->set_agent_pattern(pattern);
  info->set_created_wall_ns(clock_->WallNs());
  info->set_expires_wall_ns(info->created_wall_ns() + uint64_t{ttl_seconds} * 1'000'000'000);
  token.set_secret_sha256(trail::Bytes(trail::Sha256Of(secret)));
  NT_RETURN_IF_ERROR(Write(token));
  enrol::v1::CreateTokenResponse out;
  out.set_token(fmt::format("{}{}-{}", kPrefix, info->id(), secret));
  *out.mutable_info() = *info;
  trail::SecureErase(secret.data(), secret.size());
  const std::string id = info->id();
  tokens_.emplace(id, std::move(token));
  return out;
}

std::vector<enrol::v1::Token> TokenStore::List() const {
  const std::lock_guard lock(mutex_);
  std::vector<enrol::v1::Token> out;
  for (const auto& [id, token] : tokens_) out.push_back(token.info());
  return out;
}

Status TokenStore::Revoke(const std::string& id) {
  const std::lock_guard lock(mutex_);
  const auto it = tokens_.find(id);
  if (it == tokens_.end()) return NotFound(fmt::format("no token {}; token list shows them", id));
  enrol::v1::StoredToken revoked = it->second;
  revoked.mutable_info()->set_revoked(true);
  NT_RETURN_IF_ERROR(Write(revoked));
  it->second = std::move(revoked);
  return OkStatus();
}

Result<const enrol::v1::StoredToken*> TokenStore::Admit(std::string_view text, std::string_view agent_id,
                                                        const trail::Hash* identity_spki) const {
  const auto split = Split(text);
  if (!split) return No("not a token");
  const auto it = tokens_.find(split->id);
  // The same work for an id that nobody has.
  static const std::string kNobody(32, '\0');
  const std::string& expected = it == tokens_.end() ? kNobody : it->second.secret_sha256();
  const bool same = trail::ConstantTimeEqual(trail::View(trail::Sha256Of(split->secret)), expected);
  if (it == tokens_.end()) return No("no such token");
  const enrol::v1::StoredToken& token = it->second;
  const enrol::v1::Token& info = token.info();
  if (NT_GUARD(token_secret, !same)) return No(fmt::format("token {}: wrong secret", info.id()));
  if (NT_GUARD(token_revoked, info.revoked())) return No(fmt::format("token {}: revoked", info.id()));
  if (NT_GUARD(token_expired, clock_->WallNs() >= info.expires_wall_ns())) {
    return No(fmt::format("token {}: expired", info.id()));
  }
  if (NT_GUARD(token_pattern, !MatchesAgentPattern(info.agent_pattern(), agent_id))) {
    return No(fmt::format("token {}: for {}, not for this agent", info.id(), info.agent_pattern()));
  }
  const bool same_key = identity_spki == nullptr || token.used_spki_sha256() == trail::View(*identity_spki);
  if (NT_GUARD(token_spent, !info.used_by().empty() && (info.used_by() != agent_id || !same_key))) {
    return No(fmt::format("token {}: used by {} already", info.id(), info.used_by()));
  }
  return &token;
}

Status TokenStore::Check(std::string_view text, std::string_view agent_id) const {
  const std::lock_guard lock(mutex_);
  return Admit(text, agent_id, nullptr).status();
}

Result<TokenStore::Grant> TokenStore::Spend(std::string_view text, const std::string& agent_id,
                                            const trail::Hash& identity_spki) {
  const std::lock_guard lock(mutex_);
  NT_ASSIGN_OR_RETURN(const enrol::v1::StoredToken* token, Admit(text, agent_id, &identity_spki));
  Grant grant{token->info().id(), token->info().agent_pattern() == agent_id};
  if (!token->info().used_by().empty()) return grant;
  enrol::v1::StoredToken spent = *token;
  spent.mutable_info()->set_used_by(agent_id);
  spent.mutable_info()->set_used_wall_ns(clock_->WallNs());
  spent.set_used_spki_sha256(trail::Bytes(identity_spki));
  NT_RETURN_IF_ERROR(Write(spent));
  tokens_.find(grant.id)->second = std::move(spent);
  return grant;
}

}  // namespace nodetrail::collector

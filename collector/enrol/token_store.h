// SPDX-License-Identifier: Apache-2.0
//
// One-time tokens: who may enrol, for how long. A file for each, which holds
// the SHA-256 of the secret and never the secret; what is written is durable
// before anybody acts on it, so that a token is spent once across any crash.
#ifndef NODETRAIL_COLLECTOR_ENROL_TOKEN_STORE_H_
#define NODETRAIL_COLLECTOR_ENROL_TOKEN_STORE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "nodetrail/base/clock.h"
#include "nodetrail/base/status.h"
#include "nodetrail/enrol/v1/enrol.pb.h"
#include "nodetrail/trail/crypto.h"

namespace nodetrail::collector {

inline constexpr uint32_t kMaxTokenTtlSeconds = 3600;
inline constexpr size_t kMaxTokens = 1000;

// Ids with '*' for any run of characters; 1 to 64 characters.
bool ValidAgentPattern(std::string_view pattern);
bool MatchesAgentPattern(std::string_view pattern, std::string_view agent_id);

// Thread-safe.
class TokenStore {
 public:
  // Creates `dir` (0700) if need be. DataLoss if a token's file does not parse.
  // `clock` outlives it.
  static Result<std::unique_ptr<TokenStore>> Open(const std::string& dir, const Clock* clock);
  TokenStore(const TokenStore&) = delete;
  TokenStore& operator=(const TokenStore&) = delete;

  // The text is "nt1-<id>-<secret>". InvalidArgument: pattern or time;
  // ResourceExhausted: kMaxTokens are kept.
  Result<enrol::v1::CreateTokenResponse> Create(const std::string& pattern, uint32_t ttl_seconds);
  [[nodiscard]] std::vector<enrol::v1::Token> List() const;
  // NotFound: there is none of that id.
  Status Revoke(const std::string& id);

  struct Grant {
    std::string id;
    bool exact = false;  // the pattern is this very agent's id
  };
  // Whether the token could let this agent in, now, with some key. PermissionDenied
  // says why not: for our own log, the peer must not learn which it was.
  [[nodiscard]] Status Check(std::string_view token, std::string_view agent_id) const;
  // Spends it, durably. Of several that race one wins; the same agent with the
  // same key may come again until the token expires.
  Result<Grant> Spend(std::string_view token, const std::string& agent_id, const trail::Hash& identity_spki);

 private:
  TokenStore(std::string dir, const Clock* clock) : dir_(std::move(dir)), clock_(clock) {}
  Status Load();
  Status Write(const enrol::v1::StoredToken& token) const;
  void Prune();
  [[nodiscard]] Result<const enrol::v1::StoredToken*> Admit(std::string_view token, std::string_view agent_id,
                                                            const trail::Hash* identity_spki) const;

  const std::string dir_;
  const Clock* const clock_;
  mutable std::mutex mutex_;
  std::map<std::string, enrol::v1::StoredToken, std::less<>> tokens_;  // by id
};

}  // namespace nodetrail::collector

#endif  // NODETRAIL_COLLECTOR_ENROL_TOKEN_STORE_H_

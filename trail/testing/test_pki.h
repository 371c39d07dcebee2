// SPDX-License-Identifier: Apache-2.0
//
// Throw-away certificates for tests, made in memory.
#ifndef NODETRAIL_TRAIL_TESTING_TEST_PKI_H_
#define NODETRAIL_TRAIL_TESTING_TEST_PKI_H_

#include <cstdint>
#include <memory>
#include <string>

namespace nodetrail::trail {

// Certificates are valid around this time instead of now; for data that must
// be the same bytes each time.
void FixPkiTime(int64_t unix_seconds);

// An authority with a P-256 key.
class TestCa {
 public:
  explicit TestCa(const std::string& name = "test enrolment authority");
  ~TestCa();
  TestCa(TestCa&&) noexcept;
  TestCa& operator=(TestCa&&) noexcept;

  [[nodiscard]] std::string CertPem() const;

  struct Identity {
    std::string cert_pem;
    std::string key_pem;  // P-256, PKCS#8
  };
  // A certificate with this URI as its one SAN; none if empty. A second URI
  // makes it one that verifiers must refuse. `expired`: ended yesterday.
  [[nodiscard]] Identity Issue(const std::string& uri, const std::string& second_uri = "", bool expired = false) const;
  [[nodiscard]] Identity IssueAgent(const std::string& tenant, const std::string& agent) const {
    return Issue("spiffe://example.org/t/" + tenant + "/a/" + agent);
  }
  // An authority below this one.
  [[nodiscard]] TestCa IssueCa(const std::string& name) const;

 private:
  struct Rep;
  explicit TestCa(std::unique_ptr<Rep> rep);
  std::unique_ptr<Rep> rep_;
};

}  // namespace nodetrail::trail

#endif  // NODETRAIL_TRAIL_TESTING_TEST_PKI_H_

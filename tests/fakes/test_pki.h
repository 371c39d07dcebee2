// SPDX-License-Identifier: Apache-2.0
//
// Certificates of a test, made by packaging/dev-pki.
#ifndef NODETRAIL_TESTS_FAKES_TEST_PKI_H_
#define NODETRAIL_TESTS_FAKES_TEST_PKI_H_

#include <cstdlib>
#include <string>

#include "nodetrail/base/status.h"
#include "nodetrail/base/tls_files.h"
#include "tests/fakes/temp_dir.h"

namespace nodetrail::testing {

class TestPki {
 public:
  TestPki() {
    Run("collector", "localhost 127.0.0.1");
    Run("log-key", "trail.example.com/default");
  }
  // dev-pki OPTIONS COMMAND DIR ARGS. The arguments are ours: no quoting.
  void Run(const std::string& command, const std::string& args, const std::string& options = "") const {
    const std::string line =
        std::string(NT_SOURCE_DIR) + "/packaging/dev-pki " + options + " " + command + " " + dir() + " " + args;
    NT_CHECK(std::system(line.c_str()) == 0);
  }
  [[nodiscard]] const std::string& dir() const { return dir_.path(); }
  [[nodiscard]] std::string File(const std::string& name) const { return dir() + "/" + name; }
  [[nodiscard]] TlsPaths Agent(const std::string& id) const {
    return {File("tls-ca/ca.pem"), File("agents/" + id + "/tls.pem"), File("agents/" + id + "/tls.key")};
  }
  [[nodiscard]] TlsPaths Reader(const std::string& name) const {
    return {File("tls-ca/ca.pem"), File("readers/" + name + "/tls.pem"), File("readers/" + name + "/tls.key")};
  }

 private:
  TempDir dir_;
};

}  // namespace nodetrail::testing

#endif  // NODETRAIL_TESTS_FAKES_TEST_PKI_H_

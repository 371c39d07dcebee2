// SPDX-License-Identifier: Apache-2.0
#ifndef NODETRAIL_BASE_VERSION_H_
#define NODETRAIL_BASE_VERSION_H_

namespace nodetrail {

// "0.1.0": the version of CMakeLists.txt's project().
extern const char* const kVersion;

}  // namespace nodetrail

#endif  // NODETRAIL_BASE_VERSION_H_

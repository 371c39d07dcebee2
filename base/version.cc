// SPDX-License-Identifier: Apache-2.0
#include "nodetrail/base/version.h"

namespace nodetrail {

const char* const kVersion = NODETRAIL_VERSION;

}  // namespace nodetrail

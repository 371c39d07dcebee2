#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# usage: selftest.sh ROOT   each check is right about a clean tree, and each
#                           planted violation is found: a check that finds
#                           nothing is no check
# shellcheck disable=SC2016 # the planted text is not for this shell
set -euo pipefail
lint=$1/tests/lint
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

plant() { # FILE TEXT
  mkdir -p "$work/tree/$(dirname "$1")"
  printf '%b' "$2" >"$work/tree/$1"
}

fresh() {
  rm -rf "$work/tree"
  mkdir -p "$work/tree"
  git -C "$work/tree" init -q
  plant agent/decode/decode.cc '// SPDX-License-Identifier: Apache-2.0\n#include "nodetrail/base/status.h"\n'
  plant agent/spool/spool.cc '// SPDX-License-Identifier: Apache-2.0\n#include "agent/seal/seal.h"\n'
  plant agent/agent.cc '// SPDX-License-Identifier: Apache-2.0\n#include "agent/capture/capture.h"\n#include "agent/ship/ship.h"\n'
  plant dev '#!/bin/bash\n# SPDX-License-Identifier: Apache-2.0\necho "$1"\n'
  cp "$1/.clang-format" "$work/tree/" 2>/dev/null || true
}

run() { # CHECK
  git -C "$work/tree" add -A
  "$lint/$1.sh" "$work/tree" >"$work/out" 2>&1
}

clean() { # CHECK
  fresh "$root"
  run "$1" || {
    failed=1
    echo "$1 complains of a clean tree:"
    cat "$work/out"
  }
}

finds() { # CHECK FILE TEXT EXPECTED_IN_OUTPUT
  fresh "$root"
  plant "$2" "$3"
  if run "$1" || ! grep -qF -- "$4" "$work/out"; then
    failed=1
    printf '%s does not find: %s in %s\n' "$1" "$3" "$2"
    cat "$work/out"
  fi
}

root=$1
spdx='// SPDX-License-Identifier: Apache-2.0\n'
available() { command -v "$1" >/dev/null || { echo "left out: no $1 here" && return 1; }; }

clean layers
finds layers agent/decode/x.cc "$spdx#include \"agent/spool/spool.h\"\n" 'decode comes before spool'
finds layers agent/redact/x.h "$spdx#include \"agent/batch/batcher.h\"\n" 'redact comes before batch'
finds layers agent/batch/x.cc "$spdx#include \"agent/capture/capture.h\"\n" 'only the composition root'
finds layers agent/seal/x.cc "$spdx#include <bpf/libbpf.h>\n" 'libbpf'
finds layers agent/spool/x.cc "$spdx#include <grpcpp/grpcpp.h>\n" 'gRPC'
finds layers trail/x.cc "$spdx#include \"nodetrail/ingest/v1/ingest.grpc.pb.h\"\n" 'gRPC'
finds layers trail/x.cc "$spdx#include \"agent/spool/spool.h\"\n" 'stands alone'
finds layers trail/CMakeLists.txt 'nt_library(nt_trail DEPS gRPC::grpc++)\n' 'neither libbpf nor gRPC'
finds layers peer/x.cc "$spdx#include \"agent/ship/shipper.h\"\n" 'knows none of them'
finds layers base/x.cc "$spdx#include \"trail/log.h\"\n" 'base includes no one'
finds layers cli/x.cc "$spdx#include \"agent/decode/decode.h\"\n" "don't include each other"
finds layers witness/x.cc "$spdx#include \"collector/log/sequencer.h\"\n" 'stands apart'
finds layers collector/log/x.cc "$spdx#include <curl/curl.h>\n" 'libcurl'
finds layers collector/log/x.cc "$spdx#include <spdlog/spdlog.h>\n" 'spdlog'
finds layers agent/batch/x.cc "${spdx}auto f = Open(\"/proc/\");\n" '/proc is read by'
clean licence
finds licence base/x.cc 'int x;\n' 'base/x.cc'
finds licence bpf/x.bpf.c "$spdx" 'bpf/x.bpf.c'
clean sizes
finds sizes base/x.cc "$(printf '%.0s\\n' {1..801})" '801 lines'
clean words
finds words base/x.cc "$spdx// TO""DO: later\n" 'unfinished work'
finds words base/x.cc "${spdx}void F() { throw 1; }\n" "don't throw"
finds words base/x_test.cc "${spdx}void F() { std::this_thread::sleep_for(1s); }\n" 'sleeps'
finds words base/x_test.cc "${spdx}void F() { GTEST_SKIP(); }\n" 'skips without'
finds words docs/x.md '-----BEGIN PRIVATE'' KEY-----\n' 'a secret'
if available shellcheck; then
  clean shell
  finds shell tests/x.sh '#!/bin/bash\n# SPDX-License-Identifier: Apache-2.0\nrm $1\n' SC2086
fi
if available clang-format-14; then
  clean format
  finds format base/x.cc "${spdx}int   x ;\n" 'base/x.cc'
fi
exit "$failed"

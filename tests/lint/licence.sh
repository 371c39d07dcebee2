#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# usage: licence.sh ROOT    each source file says its licence in its first lines
set -euo pipefail
cd "$1"
bad=
while read -r file; do
  [[ -f $file ]] || continue
  case $file in
    bpf/*.c | bpf/*.h) want='GPL-2.0 OR BSD-2-Clause' ;;
    *) want='(Apache-2.0|.*OR Apache-2.0|GPL-2.0 OR BSD-2-Clause|Apache-2.0 OR .*)' ;;
  esac
  head -n 4 "$file" | grep -qE "SPDX-License-Identifier: \(?$want" || bad+="$file"$'\n'
done < <(git ls-files '*.cc' '*.h' '*.c' '*.proto' '*.cmake' '*CMakeLists.txt' '*.sh' '*.ts' dev .ci/run packaging/dev-pki)
[[ -z $bad ]] || {
  echo "no SPDX-License-Identifier line, or not this folder's licence:"
  printf '%s' "$bad"
  exit 1
}

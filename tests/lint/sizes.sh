#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# usage: sizes.sh ROOT      a source file holds one idea: at most 800 lines
set -euo pipefail
cd "$1"
bad=
while read -r file; do
  [[ -f $file ]] || continue
  lines=$(wc -l <"$file")
  ((lines <= 800)) || bad+="$file: $lines lines"$'\n'
done < <(git ls-files '*.cc' '*.h' '*.c' '*.proto' '*.sh' '*.ts' dev | grep -vE '(^|/)vmlinux[^/]*\.h$')
[[ -z $bad ]] || {
  echo "longer than 800 lines; split by idea:"
  printf '%s' "$bad"
  exit 1
}

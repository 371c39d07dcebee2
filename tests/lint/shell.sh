#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# usage: shell.sh ROOT      shellcheck on every shell script
set -euo pipefail
cd "$1"
mapfile -t scripts < <(git ls-files | while read -r file; do
  [[ -f $file ]] || continue
  case $file in
    *.sh | packaging/deb/*.postinst | packaging/deb/*.prerm | packaging/deb/*.postrm) echo "$file" ;;
    *) head -c 64 "$file" | head -n 1 | grep -aqE '^#!.*\b(ba|da)?sh\b' && echo "$file" ;;
  esac
done)
shellcheck -x "${scripts[@]}"

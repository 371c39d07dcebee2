#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# In a guest: the ground-truth tests. NT_… stand on the kernel's command line,
# which gives init what it doesn't know itself as environment.
echo 1 >/sys/kernel/rcu_expedited # attaching waits for grace periods, long ones in emulation
cd /tmp || exit 1
echo "== release $(uname -r)"
export NODETRAIL_TEST_HOOKS="$NT_HOOKS"
"$NT_PROGRAM" --gtest_color=no --gtest_filter="$NT_FILTER" --gtest_output=json:/tmp/result.json
code=$?
echo
echo "== json"
cat /tmp/result.json
echo
echo "== end"
exit $code

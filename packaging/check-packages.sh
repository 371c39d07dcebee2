#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# usage: check-packages.sh DIR      the packages in DIR, unpacked into an empty
#                                   folder: what should be there is, and runs
set -euo pipefail
dir=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() {
  echo "check-packages: $*" >&2
  exit 1
}

for package in nodetrail nodetrail-agent nodetrail-collector nodetrail-witness; do
  file=$(find "$dir" -name "${package}_*.deb")
  [[ -n $file ]] || fail "no package $package in $dir"
  dpkg-deb -x "$file" "$work/root"
  dpkg-deb -f "$file" Package Version Depends
done
dpkg-deb -f "$(find "$dir" -name 'nodetrail-agent_*.deb')" Suggests | grep -qw libengine-pkcs11-openssl ||
  fail "nodetrail-agent does not suggest libengine-pkcs11-openssl, which identity.key_uri needs"
for path in usr/bin/nodetrail usr/sbin/nodetrail-agent usr/libexec/nodetrail/nodetrail-canary usr/sbin/nodetrail-collector \
  lib/systemd/system/nodetrail-agent.service lib/systemd/system/nodetrail-collector.service \
  usr/lib/sysusers.d/nodetrail.conf usr/lib/tmpfiles.d/nodetrail-agent.conf \
  etc/nodetrail/agent.yaml etc/nodetrail/collector.yaml etc/nodetrail/cli.yaml \
  usr/share/bash-completion/completions/nodetrail usr/share/man/man8/nodetrail-agent.8.gz usr/sbin/nodetrail-witness \
  lib/systemd/system/nodetrail-witness.service usr/lib/sysusers.d/nodetrail-witness.conf \
  usr/lib/tmpfiles.d/nodetrail-witness.conf etc/nodetrail/witness.yaml usr/share/man/man8/nodetrail-witness.8.gz usr/share/man/man1/nodetrail.1.gz; do
  [[ -e $work/root/$path ]] || fail "no $path in the packages"
done

"$work/root/usr/bin/nodetrail" --version
"$work/root/usr/sbin/nodetrail-agent" --version
"$work/root/usr/sbin/nodetrail-collector" --version
"$work/root/usr/sbin/nodetrail-witness" --version

# The packaged configurations lack nothing but the certificates that an
# administrator adds.
pki=$work/pki
tool=$(dirname "${BASH_SOURCE[0]}")/dev-pki
"$tool" agent "$pki" change-me
"$tool" collector "$pki" localhost
"$tool" log-key "$pki" trail.example.com/default
etc=$work/root/etc/nodetrail
mkdir "$etc/pki"
cp "$pki/tls-ca/ca.pem" "$etc/pki/tls-ca.pem"
cp "$pki/identity-ca/ca.pem" "$etc/pki/identity-ca.pem"
for kind in tls identity; do cp "$pki/agents/change-me/$kind".{pem,key} "$etc/pki/"; done
for end in pem key; do cp "$pki/collector/tls.$end" "$etc/pki/collector.$end"; done
cp "$pki/log/log.key" "$etc/pki/"
cp "$pki/log/policy" "$etc/pki/log.policy"
"$work/root/usr/sbin/nodetrail-agent" --config "$etc/agent.yaml" --check-config
"$work/root/usr/sbin/nodetrail-collector" --config "$etc/collector.yaml" --check-config
"$work/root/usr/sbin/nodetrail-witness" keygen --name trail.example.com/default --out "$etc/pki/witness.key" >/dev/null
# Any verifier key of a log will do.
echo 'trail.example.org/acme+ed6dfb0a+Ae1JKMYo0cLG6ukDOJBZlWEpWSc6XGP5NjbBRhSshzfR' >"$etc/pki/log.vkey"
"$work/root/usr/sbin/nodetrail-witness" --config "$etc/witness.yaml" --check-config

# Without them, each says so in lines that name the file, and exits with 2.
rm "$etc/pki/tls-ca.pem"
for daemon in agent collector; do
  code=0
  "$work/root/usr/sbin/nodetrail-$daemon" --config "$etc/$daemon.yaml" --check-config 2>"$work/err" || code=$?
  { [[ $code == 2 ]] && grep -q tls-ca.pem "$work/err"; } || fail "nodetrail-$daemon without a certificate: exit $code: $(<"$work/err")"
done
echo "packages are good"

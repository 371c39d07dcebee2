// SPDX-License-Identifier: Apache-2.0
//
// Section 4, who may open an epoch: the certificate of an agent, and its path
// to an enrolment authority. Times are not looked at: what was signed while a
// certificate was good stays signed.
import { equal, fromBase64, hex, latin1 } from './bytes.js';
import type { Crypto, HashName } from './crypto.js';
import { type Der, elements, only } from './der.js';

const maxIntermediates = 8;
const maxCertificateBytes = 65_536;

const basicConstraints = '551d13';
const keyUsage = '551d0f';
const subjectAltName = '551d11';
// Critical extensions that are judged here, or say nothing about signing (extended key usage).
const known = new Set([basicConstraints, keyUsage, subjectAltName, '551d25']);
const hashes = new Map<string, HashName>([
  ['2a8648ce3d040302', 'sha256'],
  ['2a8648ce3d040303', 'sha384'],
  ['2a8648ce3d040304', 'sha512'],
  ['2a864886f70d01010b', 'sha256'],
  ['2a864886f70d01010c', 'sha384'],
  ['2a864886f70d01010d', 'sha512'],
]);
// id-ecPublicKey with prime256v1.
const p256 = '301306072a8648ce3d020106082a8648ce3d030107';

export class Certificate {
  readonly tbs: Uint8Array;
  readonly issuer: Uint8Array;
  readonly subject: Uint8Array;
  readonly spki: Uint8Array;
  readonly algorithm: string;
  readonly signature: Uint8Array;
  readonly uris: string[] = [];
  isCa = false;
  pathLength = Infinity;
  maySignCertificates = true;
  unknownCritical = false;

  constructor(readonly der: Uint8Array) {
    if (der.length > maxCertificateBytes) throw new Error('certificate: longer than 64 KiB');
    const [tbs, algorithm, signature, ...more] = elements(only(der, 0x30).content);
    if (!tbs || !algorithm || signature?.tag !== 3 || signature.content[0] !== 0 || more.length > 0) {
      throw new Error('certificate: not of X.509');
    }
    this.tbs = tbs.whole;
    this.algorithm = hex(elements(algorithm.content)[0]?.content ?? new Uint8Array(0));
    this.signature = signature.content.subarray(1);
    const parts = elements(tbs.content);
    if (parts[0]?.tag !== 0xa0) throw new Error('certificate: not of version 3');
    const [, , inner, issuer, , subject, spki, ...rest] = parts;
    if (!inner || !issuer || !subject || !spki || !equal(inner.whole, algorithm.whole)) {
      throw new Error('certificate: not of X.509');
    }
    this.issuer = issuer.whole;
    this.subject = subject.whole;
    this.spki = spki.whole;
    const extensions = rest.find((part) => part.tag === 0xa3);
    if (extensions) for (const extension of elements(only(extensions.content, 0x30).content)) this.take(extension);
  }

  private take(extension: Der): void {
    const [oid, ...rest] = elements(extension.content);
    const critical = rest[0]?.tag === 1 && rest[0].content[0] !== 0;
    const value = rest.at(-1);
    if (!oid || value?.tag !== 4) throw new Error('certificate: a bad extension');
    const name = hex(oid.content);
    if (critical && !known.has(name)) this.unknownCritical = true;
    if (name === basicConstraints) {
      for (const part of elements(only(value.content, 0x30).content)) {
        if (part.tag === 1) this.isCa = part.content[0] !== 0;
        if (part.tag === 2) this.pathLength = part.content.length === 1 ? part.content[0]! : Infinity;
      }
    }
    if (name === keyUsage) this.maySignCertificates = ((only(value.content, 3).content[1] ?? 0) & 4) !== 0;
    if (name === subjectAltName) {
      for (const part of elements(only(value.content, 0x30).content)) {
        if (part.tag === 0x86) this.uris.push(latin1(part.content));
      }
    }
  }

  get isP256(): boolean {
    return hex(this.spki).startsWith('3059' + p256);
  }
}

export function parsePem(text: string): Certificate[] {
  const out: Certificate[] = [];
  for (const match of text.matchAll(/-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]*)-----END CERTIFICATE-----/g)) {
    const der = fromBase64(match[1]!.replace(/\s/g, ''));
    if (der === undefined) throw new Error('a certificate is not in PEM form');
    out.push(new Certificate(der));
  }
  if (out.length === 0) throw new Error('no certificate in PEM form');
  return out;
}

async function signedBy(crypto: Crypto, certificate: Certificate, issuer: Certificate): Promise<boolean> {
  const hash = hashes.get(certificate.algorithm);
  if (hash === undefined || !equal(certificate.issuer, issuer.subject)) return false;
  return crypto.spki(issuer.spki, hash, certificate.tbs, certificate.signature);
}

// Depth first over the intermediates. `below` counts those between the agent and here.
async function reaches(
  crypto: Crypto,
  certificate: Certificate,
  intermediates: Certificate[],
  authorities: Certificate[],
  below: number,
): Promise<boolean> {
  const maySign = (issuer: Certificate) =>
    issuer.isCa && issuer.maySignCertificates && !issuer.unknownCritical && issuer.pathLength >= below;
  for (const issuer of authorities) {
    if (maySign(issuer) && (await signedBy(crypto, certificate, issuer))) return true;
  }
  for (const issuer of intermediates) {
    if (!maySign(issuer) || !(await signedBy(crypto, certificate, issuer))) continue;
    const rest = intermediates.filter((other) => other !== issuer);
    if (await reaches(crypto, issuer, rest, authorities, below + 1)) return true;
  }
  return false;
}

async function chainsTo(
  crypto: Crypto,
  certificate: Certificate,
  intermediates: Certificate[],
  authorities: Certificate[],
): Promise<boolean> {
  return !certificate.unknownCritical && reaches(crypto, certificate, intermediates, authorities, 0);
}

// The certificate with which `owner` may sign, by one of the authorities. Throws what is wrong.
export async function checkIdentity(
  crypto: Crypto,
  owner: { tenant: string; agent: string },
  der: Uint8Array,
  intermediateDers: Uint8Array[],
  authorities: Certificate[],
): Promise<Certificate> {
  if (intermediateDers.length > maxIntermediates) throw new Error('more than 8 intermediates');
  const identity = new Certificate(der);
  const intermediates = intermediateDers.map((one) => new Certificate(one));
  if (!identity.isP256) throw new Error('the identity key is not of P-256');
  const who = identity.uris.length === 1 ? agentOf(identity.uris[0]!) : undefined;
  if (who?.tenant !== owner.tenant || who.agent !== owner.agent) throw new Error('the certificate is not of this agent');
  if (!(await chainsTo(crypto, identity, intermediates, authorities))) {
    throw new Error('the certificate does not chain to an enrolment authority');
  }
  return identity;
}

// The ids in spiffe://<domain>/t/<tenant>/a/<agent>.
export function agentOf(uri: string): { tenant: string; agent: string } | undefined {
  const id = '([A-Za-z0-9_-][A-Za-z0-9._-]{0,63})';
  const match = new RegExp(`^spiffe://[a-z0-9._-]{1,255}/t/${id}/a/${id}$`).exec(uri);
  return match ? { tenant: match[1]!, agent: match[2]! } : undefined;
}

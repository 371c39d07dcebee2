// SPDX-License-Identifier: Apache-2.0
//
// Section 2: what the log itself writes between the batches: who was enrolled, who was revoked, who read.
import { type Crypto, pae, verifyEd25519 } from './crypto.js';
import { maxLeafBytes, text, validId } from './leaf.js';
import type { VerifierKey } from './note.js';
import { Message, strictFields, varints } from './wire.js';

const maxIndex = (1n << 53n) - 1n;
const entryPayloadType = 'application/vnd.nodetrail.log-entry.v1';

export interface Enrol {
  agent: string;
  identity: Uint8Array; // SHA-256 of the SubjectPublicKeyInfo
  sigAlgs: number[];
}

export interface Revoke {
  agent: string;
  epoch: bigint;
  seq: bigint;
  why: string;
}

export interface Hold {
  id: string;
  agents: string[]; // none: all
  since: bigint;
  until: bigint; // 0: open
}

export interface Release {
  id: string;
  requestedBy: string;
  confirmedBy: string;
}

export interface Retire {
  maxAge: bigint;
  notBefore: bigint;
  holdsCheckedAt: bigint;
  bodies: { index: number; sha256: Uint8Array }[];
}

export interface Retired {
  retireIndex: bigint;
  bodies: bigint;
}

export interface LogEntry {
  bytes: Uint8Array;
  signature: Uint8Array;
  tenant: string;
  enrol: Enrol | undefined;
  revoke: Revoke | undefined;
  hold: Hold | undefined;
  release: Release | undefined;
  retire: Retire | undefined;
  retired: Retired | undefined;
  wallNs: bigint;
  unknownFields: boolean;
}

// Every leaf that begins so is meant as an entry of the log's own.
export function isEntry(leaf: Uint8Array): boolean {
  return leaf[0] === 0x1a;
}

function id(bytes: Uint8Array): string {
  const out = text(bytes);
  if (!validId(out)) throw new Error('entry: tenant or agent is not a legal id');
  return out;
}

// Throws what is wrong.
export function parseEntry(leaf: Uint8Array): LogEntry {
  if (leaf.length === 0 || leaf.length > maxLeafBytes) throw new Error(`entry: ${leaf.length} bytes`);
  const [entry, signature, ...more] = strictFields(leaf);
  if (entry?.number !== 3 || entry.type !== 2 || signature?.number !== 4 || signature.type !== 2 || more.length > 0) {
    throw new Error('entry: not exactly an entry and a signature');
  }
  if (signature.bytes.length !== 64) throw new Error('entry: the signature is not 64 bytes');
  const message = new Message(entry.bytes);
  if (message.u32(1) !== 1) throw new Error(`entry: format version ${message.u32(1)}`);
  const kinds = [4, 5, 6, 7, 8, 9, 10].map((number) => message.optionalBytes(number));
  if (kinds.filter((kind) => kind !== undefined).length !== 1) throw new Error('entry: not exactly one kind');
  const [enrol, revoke, access, hold, release, retire, retired] = kinds;
  const out: LogEntry = {
    bytes: entry.bytes,
    signature: signature.bytes,
    tenant: id(message.bytes(2)),
    enrol: undefined,
    revoke: undefined,
    hold: hold && parseHold(hold),
    release: release && parseRelease(new Message(release)),
    retire: retire && parseRetire(new Message(retire)),
    retired: retired && parseRetired(new Message(retired)),
    wallNs: message.u64(3),
    unknownFields: message.all.some((field) => field.number > 10),
  };
  if (enrol !== undefined) {
    const e = new Message(enrol);
    const identity = e.bytes(2);
    if (identity.length !== 32) throw new Error('entry: identity_spki_sha256 is not 32 bytes');
    text(e.bytes(3));
    out.enrol = { agent: id(e.bytes(1)), identity, sigAlgs: varints(e.bytes(4)).map((alg) => Number(alg & 0xffffffffn)) };
  }
  if (revoke !== undefined) {
    const r = new Message(revoke);
    if (r.u64(2) === 0n) throw new Error('entry: revokes epoch 0');
    out.revoke = { agent: id(r.bytes(1)), epoch: r.u64(2), seq: r.u64(3), why: text(r.bytes(4)) };
  }
  if (access !== undefined) checkAccess(new Message(access));
  return out;
}

function filled(bytes: Uint8Array): string {
  const out = text(bytes);
  if (out.length === 0) throw new Error('entry: a text is missing');
  return out;
}

function checkAccess(access: Message): void {
  filled(access.bytes(1));
  filled(access.bytes(3));
  text(access.bytes(4));
  for (const number of [2, 5]) if (access.bytes(number).length !== 32) throw new Error(`entry: field ${number} is not 32 bytes`);
}

function parseHold(bytes: Uint8Array): Hold {
  const hold = new Message(bytes, 2);
  const agents = hold.all.filter((field) => field.number === 2 && field.type === 2).map((field) => id(field.bytes));
  const out = { id: id(hold.bytes(1)), agents, since: hold.u64(3), until: hold.u64(4) };
  if (out.until !== 0n && out.until < out.since) throw new Error('entry: the hold ends before it begins');
  filled(hold.bytes(5));
  filled(hold.bytes(6));
  return out;
}

function parseRelease(release: Message): Release {
  text(release.bytes(4));
  return { id: id(release.bytes(1)), requestedBy: filled(release.bytes(2)), confirmedBy: filled(release.bytes(3)) };
}

function parseRetire(retire: Message): Retire {
  id(retire.bytes(1)); // the policy
  const steps = varints(retire.bytes(5));
  const hashes = retire.bytes(6);
  if (steps.length === 0 || hashes.length !== 32 * steps.length) throw new Error('entry: no leaf, or not one hash for each');
  let at = 0n;
  const bodies = steps.map((step, i) => {
    at += step;
    if ((i > 0 && step === 0n) || at > maxIndex) throw new Error('entry: leaves that do not ascend, or beyond 2^53');
    return { index: Number(at), sha256: hashes.subarray(32 * i, 32 * (i + 1)) };
  });
  return { maxAge: retire.u64(2), notBefore: retire.u64(3), holdsCheckedAt: retire.u64(4), bodies };
}

function parseRetired(retired: Message): Retired {
  return { retireIndex: retired.u64(1), bodies: retired.u64(2) };
}

export function verifyEntry(crypto: Crypto, entry: LogEntry, logKey: VerifierKey): Promise<boolean> {
  return verifyEd25519(crypto, logKey.key, pae(entryPayloadType, entry.bytes), entry.signature);
}

// SPDX-License-Identifier: Apache-2.0
//
// Section 2: what the log itself writes between the batches: who was enrolled, who was revoked.
import { type Crypto, pae, verifyEd25519 } from './crypto.js';
import { maxLeafBytes, text, validId } from './leaf.js';
import type { VerifierKey } from './note.js';
import { Message, strictFields, varints } from './wire.js';

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

export interface LogEntry {
  bytes: Uint8Array;
  signature: Uint8Array;
  tenant: string;
  enrol: Enrol | undefined;
  revoke: Revoke | undefined;
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
  const [enrol, revoke] = [message.optionalBytes(4), message.optionalBytes(5)];
  if ((enrol === undefined) === (revoke === undefined)) throw new Error('entry: not exactly one of enrol and revoke');
  const out: LogEntry = {
    bytes: entry.bytes,
    signature: signature.bytes,
    tenant: id(message.bytes(2)),
    enrol: undefined,
    revoke: undefined,
    unknownFields: message.all.some((field) => field.number > 5),
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
  return out;
}

export function verifyEntry(crypto: Crypto, entry: LogEntry, logKey: VerifierKey): Promise<boolean> {
  return verifyEd25519(crypto, logKey.key, pae(entryPayloadType, entry.bytes), entry.signature);
}

// SPDX-License-Identifier: Apache-2.0
//
// Section 2: a leaf taken apart, and refused if it is malformed.
import { latin1, utf8 } from './bytes.js';
import { type Crypto, pae, verifyEd25519 } from './crypto.js';
import { verifyP256 } from './p256.js';
import { Message, strictFields } from './wire.js';

export const maxLeafBytes = 65_534;
export const maxBodyBytes = 8 << 20;
const headerPayloadType = 'application/vnd.nodetrail.batch-header.v1';

export const enum BatchType {
  events = 1,
  heartbeat = 2,
  epochOpen = 3,
  cleanShutdown = 4,
}
export const enum BodyCodec {
  none = 1,
  zstd = 2,
}
export const enum SigAlg {
  ed25519 = 1,
  p256 = 2,
}
// Length of a public key of each algorithm.
const keyBytes: Record<number, number> = { [SigAlg.ed25519]: 32, [SigAlg.p256]: 33 };

export interface Statement {
  tenant: string;
  agent: string;
  epoch: bigint;
  firstKey: Uint8Array;
  bootId: string;
  prevEpoch: bigint;
  prevKnown: boolean;
  prevLastSeq: bigint;
  prevLastHash: Uint8Array;
  prevClean: boolean;
}

export interface EpochOpen {
  identityCert: Uint8Array;
  statementBytes: Uint8Array;
  statement: Statement;
  signature: Uint8Array;
  intermediates: Uint8Array[];
}

export interface Leaf {
  headerBytes: Uint8Array;
  signature: Uint8Array;
  batchHash: Uint8Array;
  unknownFields: boolean;

  type: BatchType;
  sigAlg: SigAlg;
  bodyCodec: BodyCodec;
  tenant: string;
  agent: string;
  bootId: string;
  epoch: bigint;
  seq: bigint;
  prevHash: Uint8Array;
  signerKey: Uint8Array;
  nextKey: Uint8Array;
  firstEventSeq: bigint;
  lastEventSeq: bigint;
  eventCount: bigint;
  rawBodyLen: bigint;
  storedBodyLen: bigint;
  eventsRoot: Uint8Array;
  bodySha256: Uint8Array;
  firstWallNs: bigint;
  lastWallNs: bigint;
  sealedWallNs: bigint;
  // The last checkpoint that the agent verified; 0: none.
  seenSize: bigint;
  seenRoot: Uint8Array;
  // ring, map, decode, limited, evicted_batches, evicted_events, probe
  losses: bigint[];
  open: EpochOpen | undefined;
}

export function validId(id: string): boolean {
  return /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$/.test(id);
}

export function text(bytes: Uint8Array): string {
  if (bytes.some((byte) => byte < 0x20 || byte > 0x7e)) throw new Error('a text is not printable ASCII');
  return latin1(bytes);
}

function parseStatement(bytes: Uint8Array): Statement {
  const s = new Message(bytes);
  return {
    tenant: text(s.bytes(1)),
    agent: text(s.bytes(2)),
    epoch: s.u64(3),
    firstKey: s.bytes(4),
    bootId: text(s.bytes(5)),
    prevEpoch: s.u64(6),
    prevKnown: s.bool(7),
    prevLastSeq: s.u64(8),
    prevLastHash: s.bytes(9),
    prevClean: s.bool(10),
  };
}

function parseOpen(bytes: Uint8Array): EpochOpen {
  const open = new Message(bytes, 4);
  const statementBytes = open.bytes(2);
  return {
    identityCert: open.bytes(1),
    statementBytes,
    statement: parseStatement(statementBytes),
    signature: open.bytes(3),
    intermediates: open.all.filter((field) => field.number === 4 && field.type === 2).map((field) => field.bytes),
  };
}

function parseLosses(bytes: Uint8Array): bigint[] {
  const losses = new Message(bytes);
  return [1, 2, 3, 4, 5, 6, 7].map((number) => losses.u64(number));
}

function check(leaf: Leaf, formatVersion: number, hashes: Uint8Array[]): void {
  const refuse = (condition: boolean, why: string) => {
    if (condition) throw new Error(`leaf: ${why}`);
  };
  refuse(formatVersion !== 1, `format version ${formatVersion}`);
  refuse(leaf.type < BatchType.events || leaf.type > BatchType.cleanShutdown, `unknown batch type ${leaf.type}`);
  refuse(!validId(leaf.tenant) || !validId(leaf.agent), 'tenant or agent is not a legal id');
  refuse(leaf.epoch === 0n, 'epoch 0');
  refuse(leaf.prevHash.length !== 32, 'prev_hash is not 32 bytes');
  const keyLength = keyBytes[leaf.sigAlg];
  if (keyLength === undefined) throw new Error(`leaf: unknown signature algorithm ${leaf.sigAlg as number}`);
  refuse(leaf.signerKey.length !== keyLength, 'signer_key has the wrong length');
  refuse(leaf.nextKey.length !== (leaf.type === BatchType.cleanShutdown ? 0 : keyLength), 'next_key has the wrong length');
  refuse((leaf.type === BatchType.epochOpen) !== (leaf.seq === 0n), 'an epoch is opened by seq 0 and nothing else');
  refuse((leaf.open !== undefined) !== (leaf.seq === 0n), 'epoch_open belongs in seq 0');
  const end = leaf.lastEventSeq + 1n;
  refuse(leaf.firstEventSeq === 0n || end < leaf.firstEventSeq || end >= 1n << 64n, 'event numbers out of range');
  refuse(leaf.eventCount > end - leaf.firstEventSeq, 'more events than numbers');
  refuse(leaf.rawBodyLen > maxBodyBytes || leaf.storedBodyLen > maxBodyBytes, 'a body above 8 MiB');
  if (leaf.bodyCodec === BodyCodec.none) {
    const described =
      leaf.rawBodyLen !== 0n ||
      leaf.storedBodyLen !== 0n ||
      leaf.eventCount !== 0n ||
      leaf.eventsRoot.length !== 0 ||
      leaf.bodySha256.length !== 0;
    refuse(described, 'describes a body, and has none');
  } else {
    refuse(leaf.bodyCodec !== BodyCodec.zstd, `unknown body codec ${leaf.bodyCodec as number}`);
    refuse(leaf.eventsRoot.length !== 32 || leaf.bodySha256.length !== 32, 'a hash of the body is not 32 bytes');
    refuse(leaf.storedBodyLen === 0n, 'an empty stored body');
  }
  refuse(leaf.seenRoot.length !== (leaf.seenSize > 0n ? 32 : 0), 'seen_root has the wrong length');
  for (const hash of hashes) refuse(hash.length !== 0 && hash.length !== 32, 'a digest is not 32 bytes');
}

// Throws what is wrong.
export function parseLeaf(crypto: Crypto, bytes: Uint8Array): Leaf {
  if (bytes.length === 0 || bytes.length > maxLeafBytes) throw new Error(`leaf: ${bytes.length} bytes`);
  const [header, signature, ...more] = strictFields(bytes);
  if (header?.number !== 1 || header.type !== 2 || signature?.number !== 2 || signature.type !== 2 || more.length > 0) {
    throw new Error('leaf: not exactly a header and a signature');
  }
  const h = new Message(header.bytes);
  const losses = h.optionalBytes(28);
  const open = h.optionalBytes(31);
  const leaf: Leaf = {
    headerBytes: header.bytes,
    signature: signature.bytes,
    batchHash: crypto.sha256(utf8('nodetrail-batch\n'), bytes),
    unknownFields: h.all.some((field) => field.number > 34),
    type: h.u32(2),
    sigAlg: h.u32(3),
    bodyCodec: h.u32(4),
    tenant: text(h.bytes(6)),
    agent: text(h.bytes(7)),
    bootId: text(h.bytes(8)),
    epoch: h.u64(9),
    seq: h.u64(10),
    prevHash: h.bytes(11),
    signerKey: h.bytes(12),
    nextKey: h.bytes(13),
    firstEventSeq: h.u64(14),
    lastEventSeq: h.u64(15),
    eventCount: h.u64(16),
    rawBodyLen: h.u64(17),
    storedBodyLen: h.u64(18),
    eventsRoot: h.bytes(19),
    bodySha256: h.bytes(20),
    firstWallNs: h.u64(23),
    lastWallNs: h.u64(24),
    sealedWallNs: h.u64(32),
    seenSize: h.u64(33),
    seenRoot: h.bytes(34),
    losses: losses === undefined ? [0n, 0n, 0n, 0n, 0n, 0n, 0n] : parseLosses(losses),
    open: open === undefined ? undefined : parseOpen(open),
  };
  check(leaf, h.u32(1), [h.bytes(29), h.bytes(30)]);
  return leaf;
}

export function verifyLeaf(crypto: Crypto, leaf: Leaf): Promise<boolean> {
  const signed = pae(headerPayloadType, leaf.headerBytes);
  return leaf.sigAlg === SigAlg.p256
    ? verifyP256(crypto, leaf.signerKey, signed, leaf.signature)
    : verifyEd25519(crypto, leaf.signerKey, signed, leaf.signature);
}

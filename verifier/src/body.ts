// SPDX-License-Identifier: Apache-2.0
//
// Section 3: the body of a batch, and what its events declare.
import { equal, fromUtf8 } from './bytes.js';
import { type Crypto, Tree } from './crypto.js';
import { type Leaf, maxBodyBytes } from './leaf.js';
import { type Field, fields, strictFields } from './wire.js';
import { unpack } from './zstd.js';

const kindLoss = 904n;
const kindGap = 905n;

// An agent.loss or agent.gap.
export interface Declaration {
  gap: boolean;
  clean: boolean;
  stage: string;
  count: bigint;
  seqFrom: bigint;
  seqTo: bigint;
  lastEpoch: bigint;
  lastBatchSeq: bigint;
  bodyOnly: boolean; // the leaves are there
  fromWallNs: bigint;
  toWallNs: bigint;
}

interface Batch {
  host: Uint8Array;
  processes: Uint8Array[];
  events: Uint8Array[];
  absent: Uint8Array[];
}

function parseBatch(raw: Uint8Array): Batch {
  const batch: Batch = { host: new Uint8Array(0), processes: [], events: [], absent: [] };
  for (const { number, type, bytes } of fields(raw)) {
    if (type !== 2) continue;
    if (number === 3) batch.host = bytes;
    if (number === 4) batch.processes.push(bytes);
    if (number === 5) batch.events.push(bytes);
    if (number === 6) batch.absent.push(bytes);
  }
  return batch;
}

// The last of the varints with this number.
function varint(all: Field[], number: number): bigint {
  let value = 0n;
  for (const field of all) if (field.number === number && field.type === 0) value = field.varint;
  return value;
}

function checkNumbers(batch: Batch, leaf: Leaf): Field[][] {
  let next = leaf.firstEventSeq;
  let absent = 0;
  const takeAbsent = () => {
    for (; absent < batch.absent.length; ++absent) {
      const range = fields(batch.absent[absent]!);
      const first = varint(range, 1);
      const last = varint(range, 2);
      if (first !== next) return;
      if (last < first || last > leaf.lastEventSeq) throw new Error(`body: absent[${absent}]: bad range`);
      next = last + 1n;
    }
  };
  const parsed = batch.events.map((record, i) => {
    takeAbsent();
    const event = strictFields(record);
    const seq = varint(event, 2);
    if (seq !== next) throw new Error(`body: events[${i}] has number ${seq}, expected ${next}`);
    next += 1n;
    return event;
  });
  takeAbsent();
  if (absent !== batch.absent.length) throw new Error(`body: absent[${absent}] does not join`);
  if (next !== leaf.lastEventSeq + 1n) throw new Error('body: the event numbers do not end where the header says');
  return parsed;
}

function declaration(event: Field[], kind: bigint): Declaration {
  const agent: Field[] = [];
  for (const field of event) if (field.number === 36 && field.type === 2) agent.push(...fields(field.bytes));
  let stage = '';
  for (const field of agent) if (field.number === 4 && field.type === 2) stage = fromUtf8(field.bytes) ?? '';
  return {
    gap: kind === kindGap,
    clean: varint(agent, 2) !== 0n,
    stage,
    count: varint(agent, 9),
    seqFrom: varint(agent, 7),
    seqTo: varint(agent, 8),
    lastEpoch: varint(agent, 14),
    lastBatchSeq: varint(agent, 15),
    bodyOnly: varint(agent, 24) !== 0n,
    fromWallNs: varint(agent, 12),
    toWallNs: varint(agent, 13),
  };
}

// Throws what is wrong. `stored` is longer than 8 MiB only if the file is.
export function openBody(crypto: Crypto, stored: Uint8Array, leaf: Leaf): Declaration[] {
  if (BigInt(stored.length) !== leaf.storedBodyLen) {
    throw new Error(`body: ${stored.length} stored bytes, the header says ${leaf.storedBodyLen}`);
  }
  if (!equal(crypto.sha256(stored), leaf.bodySha256)) throw new Error("body: SHA-256 differs from the header's");
  const batch = parseBatch(unpack(stored, Number(leaf.rawBodyLen), maxBodyBytes));
  const tree = new Tree(crypto);
  if (batch.host.length > 0) tree.append(batch.host);
  for (const record of [...batch.processes, ...batch.events, ...batch.absent]) tree.append(record);
  if (!tree.hasRoot(leaf.eventsRoot)) throw new Error("body: events_root differs from the header's");
  if (BigInt(batch.events.length) !== leaf.eventCount) {
    throw new Error(`body: ${batch.events.length} events, the header says ${leaf.eventCount}`);
  }
  const out: Declaration[] = [];
  for (const event of checkNumbers(batch, leaf)) {
    const kind = varint(event, 3);
    if (kind === kindLoss || kind === kindGap) out.push(declaration(event, kind));
  }
  return out;
}

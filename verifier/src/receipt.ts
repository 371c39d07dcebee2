// SPDX-License-Identifier: Apache-2.0
//
// Receipts (C2SP tlog-proof): an inclusion proof and the checkpoint it leads to.
import { equal, fromBase64, fromUtf8, utf8 } from './bytes.js';
import type { Crypto } from './crypto.js';
import { Refusal } from './refusal.js';

const magic = 'c2sp.org/tlog-proof@v1\n';
export const maxReceiptBytes = 1 << 20;
const maxPath = 64;

export interface Receipt {
  index: number;
  path: Uint8Array[];
  note: Uint8Array;
}

export function isReceipt(bytes: Uint8Array): boolean {
  return equal(bytes.subarray(0, magic.length), utf8(magic));
}

// Throws a Refusal.
export function parseReceipt(bytes: Uint8Array): Receipt {
  const bad = (why: string) => new Refusal('receipt', `receipt: ${why}`);
  if (bytes.length > maxReceiptBytes) throw bad('longer than 1 MiB');
  const text = fromUtf8(bytes);
  if (text === undefined || !text.startsWith(magic)) throw bad('not a tlog-proof');
  const end = text.indexOf('\n\n');
  if (end < 0) throw bad('without a checkpoint');
  const [index, ...lines] = text.substring(magic.length, end).split('\n');
  const number = /^index (0|[1-9][0-9]{0,15})$/.exec(index ?? '');
  if (!number || !Number.isSafeInteger(Number(number[1]))) throw bad('no legal index');
  if (lines.length > maxPath) throw bad('more than 64 hashes');
  const path = lines.map((line) => {
    const hash = fromBase64(line);
    if (hash === undefined || hash.length !== 32) throw bad('a line is no hash');
    return hash;
  });
  return { index: Number(number[1]), path, note: utf8(text.substring(end + 2)) };
}

// RFC 9162, 2.1.3.2. Undefined if the path has not the length that it must have.
export function rootFromPath(
  crypto: Crypto,
  leafHash: Uint8Array,
  index: number,
  size: number,
  path: Uint8Array[],
): Uint8Array | undefined {
  if (index >= size) return undefined;
  let fn = BigInt(index);
  let sn = BigInt(size) - 1n;
  let hash = leafHash;
  for (const other of path) {
    if (sn === 0n) return undefined;
    if ((fn & 1n) === 1n || fn === sn) {
      hash = crypto.sha256(Uint8Array.of(1), other, hash);
      while ((fn & 1n) === 0n && fn !== 0n) {
        fn >>= 1n;
        sn >>= 1n;
      }
    } else {
      hash = crypto.sha256(Uint8Array.of(1), hash, other);
    }
    fn >>= 1n;
    sn >>= 1n;
  }
  return sn === 0n ? hash : undefined;
}

// SPDX-License-Identifier: Apache-2.0
//
// ECDSA on P-256 with SHA-256, in the one form that section 2 allows: a
// compressed point, r and s in 32 bytes each, s in the lower half.
import { concat, fromHex } from './bytes.js';
import type { Crypto } from './crypto.js';

const p = 2n ** 256n - 2n ** 224n + 2n ** 192n + 2n ** 96n - 1n;
const b = 0x5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604bn;
const order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
// SubjectPublicKeyInfo up to the uncompressed point.
const spkiPrefix = fromHex('3059301306072a8648ce3d020106082a8648ce3d030107034200');

function toInteger(bytes: Uint8Array): bigint {
  let out = 0n;
  for (const byte of bytes) out = (out << 8n) | BigInt(byte);
  return out;
}

function toBytes(value: bigint): Uint8Array {
  return fromHex(value.toString(16).padStart(64, '0'));
}

function power(base: bigint, exponent: bigint): bigint {
  let out = 1n;
  let square = base % p;
  for (let e = exponent; e > 0n; e >>= 1n) {
    if ((e & 1n) === 1n) out = (out * square) % p;
    square = (square * square) % p;
  }
  return out;
}

// The uncompressed point; undefined if there is none with this x.
export function decompress(point: Uint8Array): Uint8Array | undefined {
  if (point.length !== 33 || (point[0] !== 2 && point[0] !== 3)) return undefined;
  const x = toInteger(point.subarray(1));
  if (x >= p) return undefined;
  const square = (((x * x - 3n) % p) * x + b) % p;
  const positive = square < 0n ? square + p : square;
  let y = power(positive, (p + 1n) / 4n);
  if ((y * y) % p !== positive) return undefined;
  if ((y & 1n) !== BigInt(point[0]! & 1)) y = p - y;
  return concat(Uint8Array.of(4), toBytes(x), toBytes(y));
}

function derInteger(bytes: Uint8Array): Uint8Array {
  let from = 0;
  while (from < bytes.length - 1 && bytes[from] === 0) from += 1;
  const rest = bytes.subarray(from);
  const body = rest[0]! >= 0x80 ? concat(Uint8Array.of(0), rest) : rest;
  return concat(Uint8Array.of(2, body.length), body);
}

export async function verifyP256(
  crypto: Crypto,
  key: Uint8Array,
  message: Uint8Array,
  signature: Uint8Array,
): Promise<boolean> {
  if (signature.length !== 64) return false;
  const r = toInteger(signature.subarray(0, 32));
  const s = toInteger(signature.subarray(32));
  // With s also n - s would be right: only one of them is let in.
  if (r === 0n || r >= order || s === 0n || s > order / 2n) return false;
  const point = decompress(key);
  if (point === undefined) return false;
  const pair = concat(derInteger(signature.subarray(0, 32)), derInteger(signature.subarray(32)));
  return crypto.spki(concat(spkiPrefix, point), 'sha256', message, concat(Uint8Array.of(0x30, pair.length), pair));
}

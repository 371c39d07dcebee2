// SPDX-License-Identifier: Apache-2.0
//
// One zstd frame, walked before it is unpacked: a decoder is trusted with the
// contents of the blocks only, and with no more room than was announced.
import { Decompress } from 'fzstd';

import { u32le, u64le } from './bytes.js';

const maxBlock = 128 << 10;
const mask64 = (1n << 64n) - 1n;
const primes = [
  11400714785074694791n,
  14029467366897019727n,
  1609587929392839161n,
  9650029242287828579n,
  2870177450012600261n,
] as const;

const mul = (a: bigint, b: bigint) => (a * b) & mask64;
const rotl = (a: bigint, by: bigint) => ((a << by) | (a >> (64n - by))) & mask64;
const round = (acc: bigint, lane: bigint) => mul(rotl((acc + mul(lane, primes[1])) & mask64, 31n), primes[0]);

// XXH64 with seed 0; its low 32 bits are the checksum of a frame.
export function xxh64(data: Uint8Array): bigint {
  let at = 0;
  let hash: bigint;
  if (data.length >= 32) {
    const acc = [(primes[0] + primes[1]) & mask64, primes[1], 0n, (mask64 + 1n - primes[0]) & mask64];
    for (; at + 32 <= data.length; at += 32) {
      for (let i = 0; i < 4; ++i) acc[i] = round(acc[i]!, u64le(data, at + 8 * i));
    }
    hash = (rotl(acc[0]!, 1n) + rotl(acc[1]!, 7n) + rotl(acc[2]!, 12n) + rotl(acc[3]!, 18n)) & mask64;
    for (const lane of acc) hash = (mul(hash ^ round(0n, lane), primes[0]) + primes[3]) & mask64;
  } else {
    hash = primes[4];
  }
  hash = (hash + BigInt(data.length)) & mask64;
  for (; at + 8 <= data.length; at += 8) {
    hash = (mul(rotl(hash ^ round(0n, u64le(data, at)), 27n), primes[0]) + primes[3]) & mask64;
  }
  if (at + 4 <= data.length) {
    hash = (mul(rotl(hash ^ mul(BigInt(u32le(data, at)), primes[0]), 23n), primes[1]) + primes[2]) & mask64;
    at += 4;
  }
  for (; at < data.length; ++at) hash = mul(rotl(hash ^ mul(BigInt(data[at]!), primes[4]), 11n), primes[0]);
  hash = mul(hash ^ (hash >> 33n), primes[1]);
  hash = mul(hash ^ (hash >> 29n), primes[2]);
  return hash ^ (hash >> 32n);
}

interface Frame {
  contentSize: bigint;
  windowSize: number;
  checksum: number | undefined;
}

// Throws unless `stored` is exactly one frame that states its content size.
function walk(stored: Uint8Array): Frame {
  const bad = (why: string) => new Error(`body: ${why}`);
  const need = (end: number) => {
    if (end > stored.length) throw bad('the zstd frame is cut off');
  };
  need(6);
  if (u32le(stored, 0) !== 0xfd2fb528) throw bad('not a zstd frame');
  const descriptor = stored[4]!;
  if ((descriptor & 8) !== 0) throw bad('a reserved bit of the zstd frame is set');
  const single = (descriptor & 0x20) !== 0;
  const sizeFlag = descriptor >> 6;
  if (sizeFlag === 0 && !single) throw bad('the zstd frame does not say its size');
  let at = 5;
  let windowSize = 0;
  if (!single) {
    const window = stored[at++]!;
    const base = 2 ** (10 + (window >> 3));
    windowSize = base + (base / 8) * (window & 7);
  }
  const dictionary = [0, 1, 2, 4][descriptor & 3]!;
  need(at + dictionary);
  if (stored.subarray(at, at + dictionary).some((byte) => byte !== 0)) throw bad('the zstd frame wants a dictionary');
  at += dictionary;
  const sizeBytes = [1, 2, 4, 8][sizeFlag]!;
  need(at + sizeBytes);
  let contentSize = 0n;
  for (let i = sizeBytes - 1; i >= 0; --i) contentSize = (contentSize << 8n) | BigInt(stored[at + i]!);
  if (sizeFlag === 1) contentSize += 256n;
  at += sizeBytes;
  for (let last = false; !last; ) {
    need(at + 3);
    const header = stored[at]! | (stored[at + 1]! << 8) | (stored[at + 2]! << 16);
    at += 3;
    last = (header & 1) !== 0;
    const type = (header >> 1) & 3;
    const size = header >> 3;
    if (type === 3 || size > maxBlock) throw bad('a bad block in the zstd frame');
    at += type === 1 ? 1 : size;
    need(at);
  }
  let checksum: number | undefined;
  if ((descriptor & 4) !== 0) {
    need(at + 4);
    checksum = u32le(stored, at);
    at += 4;
  }
  if (at !== stored.length) throw bad('not exactly one zstd frame');
  return { contentSize, windowSize: single ? Number(contentSize) : windowSize, checksum };
}

export function unpack(stored: Uint8Array, rawLength: number, limit: number): Uint8Array {
  const frame = walk(stored);
  if (frame.contentSize !== BigInt(rawLength)) {
    throw new Error(`body: the zstd frame holds ${frame.contentSize} bytes, the header says ${rawLength}`);
  }
  // The decoder makes room for the window at once.
  if (frame.windowSize > limit) throw new Error('body: the zstd frame wants a window above 8 MiB');
  const out = new Uint8Array(rawLength);
  let filled = 0;
  const decoder = new Decompress((chunk) => {
    if (filled + chunk.length > out.length) throw new Error('body: longer than the zstd frame says');
    out.set(chunk, filled);
    filled += chunk.length;
  });
  try {
    decoder.push(stored, true);
  } catch {
    throw new Error('body: the zstd frame is corrupt'); // the decoder's own words and types vary
  }
  if (filled !== rawLength) throw new Error('body: shorter than the zstd frame says');
  if (frame.checksum !== undefined && Number(xxh64(out) & 0xffffffffn) !== frame.checksum) {
    throw new Error("body: the zstd frame's checksum is wrong");
  }
  return out;
}

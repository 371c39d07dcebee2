// SPDX-License-Identifier: Apache-2.0
//
// What the verifier needs of a cryptographic library. Everything else is
// plain TypeScript: a browser brings WebCrypto behind this interface (whose
// signatures are promises) and a hash of its own.
import { concat, equal, fromHex, utf8 } from './bytes.js';

export type HashName = 'sha256' | 'sha384' | 'sha512';

export interface Crypto {
  sha256(...parts: Uint8Array[]): Uint8Array;
  // RFC 8032; the caller has refused weak points.
  ed25519(key: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean | Promise<boolean>;
  // ECDSA (signature in DER) or RSA PKCS#1 v1.5, as the SubjectPublicKeyInfo says.
  spki(spki: Uint8Array, hash: HashName, message: Uint8Array, signature: Uint8Array): boolean | Promise<boolean>;
}

// 2^255 - 19 and the order of the base point.
const p = (1n << 255n) - 19n;
const order = (1n << 252n) + 27742317777372353535851937790883648493n;

function littleEndian(bytes: Uint8Array): bigint {
  let out = 0n;
  for (let i = bytes.length - 1; i >= 0; --i) out = (out << 8n) | BigInt(bytes[i]!);
  return out;
}

// The y coordinates of the points of order 1, 2, 4 and 8.
const smallOrder = new Set<bigint>([
  0n,
  1n,
  p - 1n,
  littleEndian(fromHex('26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05')),
  littleEndian(fromHex('c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a')),
]);

function strongPoint(encoded: Uint8Array): boolean {
  const y = littleEndian(encoded) & ((1n << 255n) - 1n);
  return y < p && !smallOrder.has(y);
}

// Ed25519 without room for interpretation: key and R canonical and not of
// small order, S below the order.
export async function verifyEd25519(
  crypto: Crypto,
  key: Uint8Array,
  message: Uint8Array,
  signature: Uint8Array,
): Promise<boolean> {
  if (key.length !== 32 || signature.length !== 64) return false;
  if (!strongPoint(key) || !strongPoint(signature.subarray(0, 32))) return false;
  if (littleEndian(signature.subarray(32)) >= order) return false;
  return crypto.ed25519(key, message, signature);
}

// The pre-authentication encoding of DSSE.
export function pae(type: string, payload: Uint8Array): Uint8Array {
  return concat(utf8(`DSSEv1 ${utf8(type).length} ${type} ${payload.length} `), payload);
}

export function leafHash(crypto: Crypto, entry: Uint8Array): Uint8Array {
  return crypto.sha256(Uint8Array.of(0), entry);
}

// A growing RFC 6962 tree of which only the right edge is kept.
export class Tree {
  private readonly peaks: { hash: Uint8Array; size: number }[] = [];
  size = 0;

  constructor(private readonly crypto: Crypto) {}

  append(entry: Uint8Array): void {
    let hash = leafHash(this.crypto, entry);
    let size = 1;
    for (let last = this.peaks.at(-1); last !== undefined && last.size === size; last = this.peaks.at(-1)) {
      hash = this.node(last.hash, hash);
      size *= 2;
      this.peaks.pop();
    }
    this.peaks.push({ hash, size });
    this.size += 1;
  }

  root(): Uint8Array {
    let out: Uint8Array | undefined;
    for (let i = this.peaks.length - 1; i >= 0; --i) {
      const { hash } = this.peaks[i]!;
      out = out === undefined ? hash : this.node(hash, out);
    }
    return out ?? this.crypto.sha256();
  }

  hasRoot(root: Uint8Array): boolean {
    return equal(this.root(), root);
  }

  private node(left: Uint8Array, right: Uint8Array): Uint8Array {
    return this.crypto.sha256(Uint8Array.of(1), left, right);
  }
}

// A growing tree that remembers every full subtree, so that the root of any
// earlier size is at hand: 64 bytes for each leaf.
export class TreeHistory {
  private readonly levels: { hashes: Uint8Array; count: number }[] = [];

  constructor(private readonly crypto: Crypto) {}

  get size(): number {
    return this.levels[0]?.count ?? 0;
  }

  // Returns the hash of the leaf.
  append(entry: Uint8Array): Uint8Array {
    const hash = leafHash(this.crypto, entry);
    this.push(0, hash);
    return hash;
  }

  leaf(index: number): Uint8Array {
    return this.at(0, index);
  }

  // 0 <= size <= this.size
  rootAt(size: number): Uint8Array {
    let out: Uint8Array | undefined;
    let end = size;
    for (let level = 0; end > 0; ++level) {
      if (end % 2 === 1) {
        const peak = this.at(level, end - 1);
        out = out === undefined ? peak : this.crypto.sha256(Uint8Array.of(1), peak, out);
      }
      end = Math.floor(end / 2);
    }
    return out ?? this.crypto.sha256();
  }

  private at(level: number, index: number): Uint8Array {
    return this.levels[level]!.hashes.subarray(32 * index, 32 * index + 32);
  }

  private push(at: number, hash: Uint8Array): void {
    const level = (this.levels[at] ??= { hashes: new Uint8Array(32 * 16), count: 0 });
    if (32 * level.count === level.hashes.length) {
      const larger = new Uint8Array(2 * level.hashes.length);
      larger.set(level.hashes);
      level.hashes = larger;
    }
    level.hashes.set(hash, 32 * level.count);
    level.count += 1;
    if (level.count % 2 === 0) {
      const [left, right] = [this.at(at, level.count - 2), this.at(at, level.count - 1)];
      this.push(at + 1, this.crypto.sha256(Uint8Array.of(1), left, right));
    }
  }
}

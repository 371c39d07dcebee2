// SPDX-License-Identifier: Apache-2.0
import { createHash, createPublicKey, verify } from 'node:crypto';

import { concat, fromHex } from './bytes.js';
import type { Crypto, HashName } from './crypto.js';

const ed25519Prefix = fromHex('302a300506032b6570032100');

function key(spki: Uint8Array) {
  return createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' });
}

export const nodeCrypto: Crypto = {
  sha256(...parts) {
    const hash = createHash('sha256');
    for (const part of parts) hash.update(part);
    return new Uint8Array(hash.digest());
  },
  ed25519(publicKey, message, signature) {
    try {
      return verify(null, message, key(concat(ed25519Prefix, publicKey)), signature);
    } catch {
      return false; // not a point of the curve
    }
  },
  spki(spki: Uint8Array, hash: HashName, message: Uint8Array, signature: Uint8Array) {
    try {
      return verify(hash, message, key(spki), signature);
    } catch {
      return false; // not a key, or not one that this hash goes with
    }
  },
};

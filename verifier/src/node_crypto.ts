// SPDX-License-Identifier: Apache-2.0
import { createHash, createPublicKey, verify } from 'node:crypto';

import type { Crypto, HashName } from './crypto.js';

function key(spki: Uint8Array) {
  return createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' });
}

// As a JWK: OpenSSL's decoder of DER takes nine times as long, for every leaf.
function ed25519Key(publicKey: Uint8Array) {
  const x = Buffer.from(publicKey).toString('base64url');
  return createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' });
}

export const nodeCrypto: Crypto = {
  sha256(...parts) {
    const hash = createHash('sha256');
    for (const part of parts) hash.update(part);
    return new Uint8Array(hash.digest());
  },
  ed25519(publicKey, message, signature) {
    try {
      return verify(null, message, ed25519Key(publicKey), signature);
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

// SPDX-License-Identifier: Apache-2.0
//
// Section 3: what an agent signed when it had to drop a body and kept the leaf.
import { equal } from './bytes.js';
import { type Crypto, pae } from './crypto.js';
import { type Certificate, checkIdentity } from './identity.js';
import { type Leaf, text } from './leaf.js';
import { Refusal } from './refusal.js';
import { Message } from './wire.js';

const evictionPayloadType = 'application/vnd.nodetrail.body-evicted.v1';

// Wire types of BodyEvicted, by number.
const statementTypes = [-1, 2, 2, 0, 0, 2, 2, 0, 0, 0, 0];

// Throws a Refusal unless this is the agent's own statement about the body of `leaf`.
export async function checkEviction(
  crypto: Crypto,
  bytes: Uint8Array,
  leaf: Leaf,
  authorities: Certificate[],
): Promise<void> {
  try {
    const signed = new Message(bytes, 4);
    if (signed.all.some((field) => field.number > 4 || field.type !== 2)) throw new Error('a field that it has not');
    const statement = signed.bytes(1);
    for (const number of [1, 2, 3]) if (signed.bytes(number).length === 0) throw new Error(`field ${number} is not there`);
    const intermediates = signed.all.filter((field) => field.number === 4).map((field) => field.bytes);
    const identity = await checkIdentity(crypto, leaf, signed.bytes(3), intermediates, authorities);
    if (!(await crypto.spki(identity.spki, 'sha256', pae(evictionPayloadType, statement), signed.bytes(2)))) {
      throw new Error('wrong signature');
    }
    const s = new Message(statement);
    if (s.all.some((field) => field.type !== statementTypes[field.number])) throw new Error('a field that it has not');
    const same =
      text(s.bytes(1)) === leaf.tenant &&
      text(s.bytes(2)) === leaf.agent &&
      s.u64(3) === leaf.epoch &&
      s.u64(4) === leaf.seq &&
      equal(s.bytes(5), leaf.batchHash) &&
      equal(s.bytes(6), leaf.bodySha256) &&
      s.u64(7) === leaf.eventCount &&
      s.u64(8) === leaf.firstWallNs &&
      s.u64(9) === leaf.lastWallNs;
    if (!same) throw new Error('tells of another batch');
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    throw new Refusal('eviction', `eviction: ${error.message}`);
  }
}

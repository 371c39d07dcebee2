// SPDX-License-Identifier: Apache-2.0
//
// The test vectors of docs/trail-format.md, read from the document itself.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { zstdUnpackCases } from './zstd_cases.js';

import { crc32c, fromHex, hex, utf8 } from '../src/bytes.js';
import { Tree, leafHash, pae, verifyEd25519 } from '../src/crypto.js';
import { parseEntry, verifyEntry } from '../src/entry.js';
import { parseLeaf, verifyLeaf } from '../src/leaf.js';
import { nodeCrypto } from '../src/node_crypto.js';
import { KeyType, parseVerifierKey } from '../src/note.js';
import { LogPolicy } from '../src/policy.js';
import { Message, fields, strictFields } from '../src/wire.js';
import { unpack, xxh64 } from '../src/zstd.js';

const document = readFileSync(fileURLToPath(new URL('../../../docs/trail-format.md', import.meta.url)), 'utf8');
const block = /```vectors\n([\s\S]*?)```/.exec(document)![1]!;

function vector(name: string): string {
  const line = block.split('\n').find((candidate) => candidate.startsWith(name))!;
  assert.ok(line, name);
  return line.substring(name.length).trim().split(/\s+/).at(-1)!;
}
const bytes = (name: string) => fromHex(vector(name));

test('a leaf, its hashes and its signature', async () => {
  const leaf = parseLeaf(nodeCrypto, bytes('leaf '));
  assert.equal(hex(leaf.headerBytes), vector('header'));
  assert.equal(hex(pae('application/vnd.nodetrail.batch-header.v1', leaf.headerBytes)), vector('PAE'));
  assert.equal(hex(leaf.signature), vector('signature'));
  assert.equal(hex(leaf.batchHash), vector('batch_hash'));
  assert.equal(hex(leafHash(nodeCrypto, bytes('leaf '))), vector('leaf_hash'));
  assert.equal(hex(leaf.signerKey), vector('signer seed'));
  assert.equal(hex(leaf.nextKey), vector('next seed'));
  assert.deepEqual([leaf.tenant, leaf.agent, leaf.bootId, leaf.epoch, leaf.seq], ['acme', 'web-1', 'boot', 2n, 5n]);
  assert.ok(await verifyLeaf(nodeCrypto, leaf));
});

test('no byte of a leaf can be changed', async () => {
  const good = bytes('leaf ');
  for (let i = 0; i < good.length; ++i) {
    const bad = Uint8Array.from(good);
    bad[i]! ^= 1;
    let held = false;
    try {
      held = await verifyLeaf(nodeCrypto, parseLeaf(nodeCrypto, bad));
    } catch {
      // malformed
    }
    assert.ok(!held, `byte ${i}`);
  }
});

test("the log's own entries, and none of their bytes changed", async () => {
  const key = parseVerifierKey(nodeCrypto, vector('log key'), KeyType.log);
  for (const name of ['enrol leaf', 'revoke leaf', 'access leaf', 'hold leaf', 'release leaf', 'retire leaf', 'retired leaf']) {
    const good = bytes(name);
    assert.ok(await verifyEntry(nodeCrypto, parseEntry(good), key), name);
    for (let i = 0; i < good.length; ++i) {
      const bad = Uint8Array.from(good);
      bad[i]! ^= 1;
      let held = false;
      try {
        held = await verifyEntry(nodeCrypto, parseEntry(bad), key);
      } catch {
        // malformed
      }
      assert.ok(!held, `${name}, byte ${i}`);
    }
  }
  const { hold } = parseEntry(bytes('hold leaf'));
  assert.deepEqual([hold?.id, hold?.agents, hold?.until], ['case-7', ['web-1', 'web-2'], 0n]);
  const { retire } = parseEntry(bytes('retire leaf'));
  assert.deepEqual(retire?.bodies.map((body) => body.index), [3, 4, 304]);
  assert.equal(retire?.maxAge, 90n * 86_400_000_000_000n);
});

test('the root of a body', () => {
  const tree = new Tree(nodeCrypto);
  const event = new Message(bytes('body (raw)')).bytes(5);
  assert.equal(hex(event), vector('event '));
  tree.append(event);
  assert.equal(hex(tree.root()), vector('events_root'));
});

test('the checkpoint, and none of its bytes changed', async () => {
  const key = parseVerifierKey(nodeCrypto, vector('log key'), KeyType.log);
  const note = utf8(block.substring(block.indexOf('checkpoint:\n') + 'checkpoint:\n'.length, block.indexOf('policy:\n')));
  const tree = new Tree(nodeCrypto);
  for (const letter of ['a', 'b', 'c']) tree.append(utf8(letter));
  assert.equal(hex(tree.root()), vector('root(a,b,c)'));
  const policy = LogPolicy.ofKey(key);
  const checkpoint = await policy.signed(nodeCrypto, note);
  assert.equal(checkpoint.size, 3);
  assert.ok(tree.hasRoot(checkpoint.root));
  for (let i = 0; i < note.length; ++i) {
    const bad = Uint8Array.from(note);
    bad[i]! ^= 1;
    await assert.rejects(policy.signed(nodeCrypto, bad), `byte ${i}`);
  }
});

test('the policy, and its witness', async () => {
  const note = block.substring(block.indexOf('checkpoint:\n') + 'checkpoint:\n'.length, block.indexOf('policy:\n'));
  const text = block.substring(block.indexOf('policy:\n') + 'policy:\n'.length, block.indexOf('cosignature,'));
  const cosignature = block.substring(block.lastIndexOf('\u2014 '));
  const policy = LogPolicy.parse(nodeCrypto, utf8(text));
  const bytes = utf8(note + cosignature);
  assert.equal((await policy.signed(nodeCrypto, bytes)).size, 3);
  await policy.requireQuorum(nodeCrypto, bytes);
  await assert.rejects(policy.requireQuorum(nodeCrypto, utf8(note)), /missing: w1/);
  for (let i = note.length; i < bytes.length; ++i) {
    const bad = Uint8Array.from(bytes);
    bad[i]! ^= 1;
    await assert.rejects(policy.requireQuorum(nodeCrypto, bad), `byte ${i}`);
  }
});

test('weak keys and signatures are refused, whatever the library says', async () => {
  const yes = { ...nodeCrypto, ed25519: () => true };
  const good = bytes('signature');
  const key = bytes('signer seed');
  assert.ok(await verifyEd25519(yes, key, good, good));
  const identity = fromHex('01' + '00'.repeat(31));
  const signed = fromHex('01' + '00'.repeat(30) + '80'); // the same with the other sign of x = 0
  const above = fromHex('ee' + 'ff'.repeat(30) + '7f'); // p + 1
  for (const weak of [identity, signed, above, new Uint8Array(32)]) {
    assert.ok(!(await verifyEd25519(yes, weak, good, good)));
    const signature = Uint8Array.from(good);
    signature.set(weak);
    assert.ok(!(await verifyEd25519(yes, key, good, signature)));
  }
  const large = Uint8Array.from(good);
  large.set(fromHex('edd3f55c1a631258d69cf7a2def9de14' + '00'.repeat(15) + '10'), 32); // S is the order
  assert.ok(!(await verifyEd25519(yes, key, good, large)));
});

test('the wire reader is strict where it has to be', () => {
  const bad = ['0880 00', '0801 0801', '1001 0801', '0b0c', '0a05', '00', '07', '08ffffffffffffffffff02', '0a8000'];
  for (const message of bad) {
    assert.throws(() => new Message(fromHex(message.replaceAll(' ', ''))), message);
  }
  assert.equal(new Message(fromHex('08ffffffffffffffffff01')).u64(1), (1n << 64n) - 1n);
  assert.equal(fields(fromHex('0b08010c1001')).length, 2);
  assert.throws(() => strictFields(fromHex('0b08010c1001')));
  assert.throws(() => fields(fromHex('0b0814')));
});

test('checksums', () => {
  assert.equal(crc32c(utf8('123456789')), 0xe3069283);
  assert.equal(xxh64(utf8('')), 0xef46db3751d8e999n);
  assert.equal(xxh64(utf8('abc')), 0x44bc2cf5ad770999n);
});

test('zstd frames', () => {
  for (const { frame, size, digest } of zstdUnpackCases) {
    const stored = Uint8Array.from(Buffer.from(frame, 'base64'));
    const raw = unpack(stored, size, 8 << 20);
    assert.equal(createHash('sha256').update(raw).digest('hex'), digest);
    assert.throws(() => unpack(stored, size + 1, 8 << 20));
    assert.throws(() => unpack(stored.subarray(0, stored.length - 1), size, 8 << 20));
    assert.throws(() => unpack(Uint8Array.from([...stored, 0]), size, 8 << 20));
  }
});

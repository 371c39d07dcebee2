// SPDX-License-Identifier: Apache-2.0
//
// Seeded random bytes into every parser: each answers or refuses, and none
// takes more memory than its input deserves. FUZZ_RUNS multiplies the runs.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { openBody } from '../src/body.js';
import { parseManifest } from '../src/bundle.js';
import { concat, crc32c, fromBase64, fromHex, fromUtf8, utf8 } from '../src/bytes.js';
import { elements } from '../src/der.js';
import { parseEntry } from '../src/entry.js';
import { checkEviction } from '../src/eviction.js';
import { Certificate, parsePem } from '../src/identity.js';
import { type Leaf, parseLeaf, verifyLeaf } from '../src/leaf.js';
import { nodeCrypto } from '../src/node_crypto.js';
import { KeyType, parseCheckpoint, parseNote, parseVerifierKey } from '../src/note.js';
import { verifyP256 } from '../src/p256.js';
import { LogPolicy } from '../src/policy.js';
import { parseReceipt, rootFromPath } from '../src/receipt.js';
import { OperationalError, Refusal } from '../src/refusal.js';
import { verifyTrail } from '../src/verify.js';
import { Message, fields, strictFields, varints } from '../src/wire.js';
import { unpack } from '../src/zstd.js';
import { MemorySource } from './memory_source.js';
import { zstdUnpackCases } from './zstd_cases.js';

const runs = 2000 * Number(process.env['FUZZ_RUNS'] ?? '1');
const document = readFileSync(fileURLToPath(new URL('../../../docs/trail-format.md', import.meta.url)), 'utf8');
const block = /```vectors\n([\s\S]*?)```/.exec(document)![1]!;
const vector = (name: string) => new RegExp(`^${name}\\s.*?(\\S+)$`, 'm').exec(block)![1]!;
const leafBytes = fromHex(vector('leaf'));

// xorshift32: the same numbers on every machine.
class Random {
  constructor(private state: number) {}
  next(): number {
    this.state ^= this.state << 13;
    this.state ^= this.state >>> 17;
    this.state ^= this.state << 5;
    return this.state >>> 0;
  }
  below(n: number): number {
    return this.next() % n;
  }
  bytes(size: number): Uint8Array {
    return Uint8Array.from({ length: size }, () => this.below(256));
  }
}

// Random bytes, or a good input with some of its bytes changed.
function input(random: Random, good: Uint8Array[]): Uint8Array {
  if (good.length === 0 || random.below(4) === 0) return random.bytes(random.below(200));
  let bytes = Uint8Array.from(good[random.below(good.length)]!);
  for (let i = 1 + random.below(4); i > 0 && bytes.length > 0; --i) {
    const at = random.below(bytes.length);
    const how = random.below(6);
    if (how === 0) bytes = bytes.slice(0, at);
    else if (how === 1) bytes = Uint8Array.from(concat(bytes.subarray(0, at), random.bytes(random.below(8)), bytes.subarray(at)));
    else if (how === 2) bytes[at] = [0, 0x7f, 0x80, 0xff][random.below(4)]!;
    else bytes[at]! ^= 1 << random.below(8);
  }
  return bytes;
}

// Refusals are what parsers are for; any other error type would end the program.
function isRefusal(error: unknown): boolean {
  return error instanceof Refusal || error instanceof OperationalError || (error as Error).constructor === Error;
}

async function property(name: string, good: Uint8Array[], parse: (bytes: Uint8Array) => unknown): Promise<void> {
  await test(`${name}: ${runs} inputs`, async () => {
    const random = new Random(0x9e3779b9 ^ name.length);
    let taken = 0;
    for (let i = 0; i < runs; ++i) {
      const bytes = input(random, good);
      try {
        await parse(bytes);
        taken += 1;
      } catch (error) {
        if (!isRefusal(error)) {
          assert.fail(`input ${Buffer.from(bytes).toString('hex')}: ${(error as Error).stack}`);
        }
      }
    }
    assert.ok(taken < runs, 'nothing was ever refused');
  });
}

const text = (s: string) => utf8(s);
const note = block.substring(block.indexOf('checkpoint:\n') + 12, block.indexOf('policy:\n'));
const policy = block.substring(block.indexOf('policy:\n') + 8, block.indexOf('cosignature,'));
const receipt = `c2sp.org/tlog-proof@v1\nindex 3\n${'A'.repeat(43)}=\n\n${note}`;
const manifest =
  JSON.stringify(
    {
      format: 'nodetrail-bundle 1',
      origin: 'trail.example.org/acme',
      tenant: 'acme',
      checkpoint_size: 3,
      since: '2026-01-01T00:00:00.000000000Z',
      until: null,
      agents: ['web-1', 'web-2'],
      bodies: 3,
      receipts: 0,
    },
    null,
    2,
  ) + '\n';
// The certificate of RFC 8410, 10.1: version 3, with extensions.
const certificate = Buffer.from(
  'MIIBLDCB36ADAgECAghWAUdKKo3DMDAFBgMrZXAwGTEXMBUGA1UEAwwOSUVURiBUZX' +
    'N0IERlbW8wHhcNMTYwODAxMTIxOTI0WhcNNDAxMjMxMjM1OTU5WjAZMRcwFQYDVQQD' +
    'DA5JRVRGIFRlc3QgRGVtbzAqMAUGAytlbgMhAIUg8AmJMKdUdIt93LQ+91oNvzoNJj' +
    'ga9OukqY6qm05qo0UwQzAPBgNVHRMBAf8EBTADAQEAMA4GA1UdDwEBAAQEAwIDCDAg' +
    'BgNVHQ4BAQAEFgQUmx9e7e0EM4Xk97xiPFl1uQvIuzswBQYDK2VwA0EAryMB/t3J5v' +
    '/BzKc9dNZIpDmAgs3babFOTQbs+BolzlDUwsPrdGxO3YNGhW7Ibz3OGhhlxXrCe1Cg' +
    'w1AH9efZBw==',
  'base64',
);
const goodLeaf: Leaf = parseLeaf(nodeCrypto, leafBytes);
const frames = zstdUnpackCases.map(({ frame }) => Uint8Array.from(Buffer.from(frame, 'base64')));

await property('protobuf', [leafBytes], (b) => fields(b));
await property('strict protobuf', [leafBytes], (b) => strictFields(b));
await property('message', [goodLeaf.headerBytes], (b) => new Message(b));
await property('packed varints', [Uint8Array.of(1, 2, 3)], varints);
await property('leaf', [leafBytes], async (b) => verifyLeaf(nodeCrypto, parseLeaf(nodeCrypto, b)));
await property('entry', [fromHex(vector('enrol leaf')), fromHex(vector('revoke leaf'))], parseEntry);
await property('eviction', [leafBytes], (b) => checkEviction(nodeCrypto, b, goodLeaf, []));
await property('body', [...frames, fromHex(vector('body \\(raw\\)'))], (b) =>
  openBody(nodeCrypto, b, { ...goodLeaf, storedBodyLen: BigInt(b.length), bodySha256: nodeCrypto.sha256(b), rawBodyLen: 23n }),
);
await property('zstd', frames, (b) => unpack(b, 23, 8 << 20));
await property('certificate', [certificate], (b) => new Certificate(b));
await property('DER', [certificate], (b) => elements(b));
await property('PEM', [text(`-----BEGIN CERTIFICATE-----\n${certificate.toString('base64')}\n-----END CERTIFICATE-----\n`)], (b) =>
  parsePem(Buffer.from(b).toString('latin1')),
);
await property('note', [text(note)], parseNote);
await property('checkpoint', [text(note)], (b) => parseCheckpoint(fromUtf8(b) ?? ''));
await property('signed checkpoint', [text(note)], (b) => LogPolicy.parse(nodeCrypto, text(policy)).signed(nodeCrypto, b));
await property('verifier key', [text(vector('log key'))], (b) => parseVerifierKey(nodeCrypto, fromUtf8(b) ?? '', KeyType.log));
await property('policy', [text(policy)], (b) => LogPolicy.parse(nodeCrypto, b));
await property('receipt', [text(receipt)], (b) => {
  const { index, path } = parseReceipt(b);
  return rootFromPath(nodeCrypto, new Uint8Array(32), index, index + 1, path);
});
await property('manifest', [text(manifest)], parseManifest);
await property('base64', [text('AAAA')], (b) => {
  if (fromBase64(Buffer.from(b).toString('latin1')) === undefined) throw new Error('refused');
});
await property('P-256', [concat(Uint8Array.of(2), new Uint8Array(32))], async (b) => {
  if (!(await verifyP256(nodeCrypto, b.subarray(0, 33), b, b.subarray(0, 64)))) throw new Error('refused');
});

function segment(records: Uint8Array): Uint8Array {
  const header = new Uint8Array(32);
  header.set(utf8('NTLEAVES'));
  header[8] = 1;
  new DataView(header.buffer).setUint32(28, crc32c(header.subarray(0, 28)), true);
  return concat(header, records);
}
function record(leaf: Uint8Array): Uint8Array {
  const head = new Uint8Array(8);
  new DataView(head.buffer).setUint32(0, leaf.length, true);
  new DataView(head.buffer).setUint32(4, crc32c(leaf), true);
  return concat(head, leaf);
}

await property('whole trail', [concat(record(leafBytes), record(fromHex(vector('enrol leaf'))), record(leafBytes))], (b) =>
  verifyTrail(
    nodeCrypto,
    new MemorySource(
      new Map([
        ['FORMAT', text('nodetrail-trail 1\n')],
        ['log/000000.leaves', segment(b)],
        ['log/checkpoint', text(note)],
      ]),
    ),
    { authorities: [] },
  ).then((report) => {
    assert.ok(report.verdict >= 0 && report.verdict <= 3);
    if (report.verdict > 0) throw new Error('refused');
  }),
);
await property('whole bundle', [text(manifest)], (b) =>
  verifyTrail(
    nodeCrypto,
    new MemorySource(
      new Map([
        ['FORMAT', text('nodetrail-bundle 1\n')],
        ['manifest.json', b],
        ['manifest.sha256', text(Buffer.from(nodeCrypto.sha256(b)).toString('hex') + '  manifest.json\n')],
        ['log/000000.leaves', segment(record(leafBytes))],
        ['log/checkpoint', text(note)],
      ]),
    ),
    { authorities: [] },
  ).then((report) => {
    assert.equal(report.verdict, 3);
    throw new Error('refused');
  }),
);

test('lying lengths take no memory', async () => {
  const before = process.memoryUsage().rss;
  // A frame of a few bytes that announces 2^63 bytes, and one with a huge window.
  const huge = fromHex('28b52ffdc0' + '00' + 'ffffffffffffff7f' + '010000');
  assert.throws(() => unpack(huge, 23, 8 << 20));
  assert.throws(() => unpack(fromHex('28b52ffd80f8' + '17000000' + '010000'), 23, 8 << 20));
  // A header field that says it is 4 GiB long.
  assert.throws(() => strictFields(fromHex('0affffffff0f')));
  // A record, and a segment name, far beyond the file.
  const files = new Map([
    ['FORMAT', text('nodetrail-trail 1\n')],
    ['log/000000.leaves', segment(fromHex('feff0000' + '00000000' + '0a'))],
    ['log/checkpoint', text('x\n9999999999999999\n' + 'A'.repeat(43) + '=\n\n\u2014 x AAAAAAA=\n')],
  ]);
  const source = new MemorySource(files);
  const report = await verifyTrail(nodeCrypto, source, { authorities: [] });
  assert.equal(report.verdict, 3);
  assert.ok(source.largestRead < 1 << 21);
  const grown = process.memoryUsage().rss - before;
  assert.ok(grown < 128 << 20, `${grown >> 20} MiB more`);
});

// SPDX-License-Identifier: Apache-2.0
//
// Section 6: signed notes and checkpoints of C2SP.
import { equal, fromBase64, fromHex, fromUtf8, utf8 } from './bytes.js';
import { type Crypto, verifyEd25519 } from './crypto.js';

const maxNoteBytes = 1 << 20;
const maxSignatures = 100;

export interface LogKey {
  name: string;
  id: Uint8Array;
  key: Uint8Array;
}

export interface Checkpoint {
  origin: string;
  size: number;
  root: Uint8Array;
}

interface SignatureLine {
  name: string;
  id: Uint8Array;
  signature: Uint8Array;
}

function validName(name: string): boolean {
  // White space as Unicode has it, control characters, plus.
  return name.length > 0 && !/[\s\p{White_Space}\p{Cc}+]/u.test(name);
}

export function parseLogKey(crypto: Crypto, text: string): LogKey {
  const match = /^([^+]+)\+([0-9a-f]{8})\+(.+)$/.exec(text);
  const bytes = match ? fromBase64(match[3]!) : undefined;
  if (!match || !validName(match[1]!) || bytes === undefined || bytes.length !== 33 || bytes[0] !== 1) {
    throw new Error('not a verifier key of the form name+id+base64');
  }
  const name = match[1]!;
  const id = crypto.sha256(utf8(name + '\n'), bytes).subarray(0, 4);
  if (!equal(id, fromHex(match[2]!))) throw new Error('the verifier key has another key id than its own');
  return { name, id, key: bytes.subarray(1) };
}

function parseNote(bytes: Uint8Array): { text: string; signatures: SignatureLine[] } {
  const bad = new Error('not a signed note');
  if (bytes.length > maxNoteBytes) throw bad;
  const all = fromUtf8(bytes);
  if (all === undefined || /[\x00-\x09\x0b-\x1f\x7f]/.test(all)) throw bad;
  const split = all.lastIndexOf('\n\n');
  if (split <= 0 || !all.endsWith('\n')) throw bad;
  const text = all.substring(0, split + 1);
  const lines = all.substring(split + 2, all.length - 1).split('\n');
  if (lines.length > maxSignatures) throw bad;
  const signatures = lines.map((line) => {
    const match = /^\u2014 ([^ ]+) ([^ ]+)$/u.exec(line);
    const signature = match ? fromBase64(match[2]!) : undefined;
    if (!match || !validName(match[1]!) || signature === undefined || signature.length < 5) throw bad;
    return { name: match[1]!, id: signature.subarray(0, 4), signature: signature.subarray(4) };
  });
  return { text, signatures };
}

function parseText(text: string): Checkpoint {
  const lines = text.split('\n');
  lines.pop();
  const [origin, size, root] = lines;
  const hash = root === undefined ? undefined : fromBase64(root);
  if (origin === undefined || !validName(origin)) throw new Error('checkpoint: no legal origin');
  if (size === undefined || !/^(0|[1-9][0-9]{0,18})$/.test(size)) throw new Error('checkpoint: no legal size');
  if (hash === undefined || hash.length !== 32) throw new Error('checkpoint: no legal root');
  if (lines.slice(3).some((line) => line === '')) throw new Error('checkpoint: an empty line');
  return { origin, size: Number(size), root: hash };
}

// The checkpoint of a note that `logKey` signed; without a key the signature
// is not looked at.
export async function openCheckpoint(
  crypto: Crypto,
  bytes: Uint8Array,
  logKey: LogKey | undefined,
): Promise<Checkpoint> {
  const { text, signatures } = parseNote(bytes);
  if (logKey !== undefined) {
    const own = signatures.filter((line) => line.name === logKey.name && equal(line.id, logKey.id));
    if (own.length !== 1) throw new Error('checkpoint: not signed exactly once by the log key');
    if (!(await verifyEd25519(crypto, logKey.key, utf8(text), own[0]!.signature))) {
      throw new Error('checkpoint: wrong signature of the log key');
    }
  }
  const checkpoint = parseText(text);
  if (logKey !== undefined && checkpoint.origin !== logKey.name) throw new Error('checkpoint: of another origin');
  return checkpoint;
}

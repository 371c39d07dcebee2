// SPDX-License-Identifier: Apache-2.0
//
// Section 6: signed notes, checkpoints and cosignatures of C2SP.
import { concat, equal, fromBase64, fromHex, fromUtf8, utf8 } from './bytes.js';
import { type Crypto, verifyEd25519 } from './crypto.js';
import { Refusal } from './refusal.js';

const maxNoteBytes = 1 << 20;
const maxSignatures = 100;

export const enum KeyType {
  log = 0x01,
  cosigner = 0x04,
}

export interface VerifierKey {
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

export interface Note {
  text: string;
  signatures: SignatureLine[];
}

function validName(name: string): boolean {
  // White space as Unicode has it, control characters, plus.
  return name.length > 0 && !/[\s\p{White_Space}\p{Cc}+]/u.test(name);
}

// Throws what is wrong with it.
export function parseVerifierKey(crypto: Crypto, text: string, type: KeyType): VerifierKey {
  const match = /^([^+]+)\+([0-9a-f]{8})\+(.+)$/.exec(text);
  const bytes = match ? fromBase64(match[3]!) : undefined;
  if (!match || !validName(match[1]!) || bytes === undefined || bytes.length !== 33 || bytes[0] !== type) {
    throw new Error(`not a verifier key of the form name+id+base64, of type ${type}`);
  }
  const name = match[1]!;
  const id = crypto.sha256(utf8(name + '\n'), bytes).subarray(0, 4);
  if (!equal(id, fromHex(match[2]!))) throw new Error('the verifier key has another key id than its own');
  return { name, id, key: bytes.subarray(1) };
}

export function parseNote(bytes: Uint8Array): Note {
  const bad = new Refusal('checkpoint', 'not a signed note');
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

export function parseCheckpoint(text: string): Checkpoint {
  const bad = (why: string) => new Refusal('checkpoint', `checkpoint: ${why}`);
  const lines = text.split('\n');
  lines.pop();
  const [origin, size, root] = lines;
  const hash = root === undefined ? undefined : fromBase64(root);
  if (origin === undefined || !validName(origin)) throw bad('no legal origin');
  if (size === undefined || !/^(0|[1-9][0-9]{0,18})$/.test(size)) throw bad('no legal size');
  if (hash === undefined || hash.length !== 32) throw bad('no legal root');
  if (lines.slice(3).some((line) => line === '')) throw bad('an empty line');
  return { origin, size: Number(size), root: hash };
}

// Undefined if the key has no line; throws if it has two, or one that is not right.
export async function signatureOf(
  note: Note,
  key: VerifierKey,
  judge: (signature: Uint8Array) => Promise<boolean>,
): Promise<true | undefined> {
  const own = note.signatures.filter((line) => line.name === key.name && equal(line.id, key.id));
  if (own.length === 0) return undefined;
  if (own.length > 1) throw new Refusal('checkpoint', `checkpoint: ${key.name} signed more than once`);
  if (!(await judge(own[0]!.signature))) throw new Refusal('checkpoint', `checkpoint: wrong signature of ${key.name}`);
  return true;
}

export function signedByLog(crypto: Crypto, note: Note, key: VerifierKey): Promise<true | undefined> {
  return signatureOf(note, key, (signature) => verifyEd25519(crypto, key.key, utf8(note.text), signature));
}

export function cosignedBy(crypto: Crypto, note: Note, key: VerifierKey): Promise<true | undefined> {
  return signatureOf(note, key, async (signature) => {
    if (signature.length !== 8 + 64) return false;
    const time = new DataView(signature.buffer, signature.byteOffset).getBigUint64(0, false);
    if (time >= 1n << 63n) return false;
    const message = concat(utf8(`cosignature/v1\ntime ${time}\n`), utf8(note.text));
    return verifyEd25519(crypto, key.key, message, signature.subarray(8));
  });
}

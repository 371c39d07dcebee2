// SPDX-License-Identifier: Apache-2.0
//
// Section 1: the directory. Streams the leaves, damaged ones too.
import { closeSync, constants, fstatSync, openSync, readFileSync, readSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

import { crc32c, hex, latin1, u32le, u64le } from './bytes.js';
import { maxBodyBytes, maxLeafBytes } from './leaf.js';

const formatText = 'nodetrail-trail 1\n';
const headerBytes = 32;
const recordHeader = 8;
const readAhead = 1 << 20;
const maxNoteBytes = 1 << 20;

// The trail can't be read; nothing is said about it.
export class OperationalError extends Error {
  constructor(
    message: string,
    readonly exitCode: number,
  ) {
    super(message);
  }
}

export interface Place {
  index: number;
  file: string;
  offset: number;
}

export interface Entry {
  where: Place;
  leaf: Uint8Array; // valid until the next entry; empty if nothing can be read
  whole: boolean;
  tornBytes: number; // above 0: the end of the log, an unfinished write
}

function errorCode(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? '';
}

function operational(error: unknown): OperationalError {
  const code = errorCode(error);
  return new OperationalError((error as Error).message, code === 'ENOENT' ? 66 : code === 'EACCES' ? 77 : 70);
}

// A file read in pieces.
class Window {
  private readonly fd: number;
  readonly size: number;
  readonly regular: boolean;
  private buffer = new Uint8Array(0);
  private base = 0;

  constructor(path: string) {
    this.fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    const stat = fstatSync(this.fd);
    this.regular = stat.isFile();
    this.size = stat.size;
  }

  // Fewer bytes at the end of the file; valid until the next call.
  peek(offset: number, size: number): Uint8Array {
    const end = Math.min(offset + size, this.size);
    if (end <= offset) return new Uint8Array(0);
    if (offset < this.base || end > this.base + this.buffer.length) {
      const want = Math.min(Math.max(size, readAhead), this.size - offset);
      const buffer = new Uint8Array(want);
      let have = 0;
      while (have < want) {
        const n = readSync(this.fd, buffer, have, want - have, offset + have);
        if (n === 0) break;
        have += n;
      }
      this.buffer = buffer.subarray(0, have);
      this.base = offset;
    }
    return this.buffer.subarray(offset - this.base, Math.min(end - this.base, this.buffer.length));
  }

  close(): void {
    closeSync(this.fd);
  }
}

interface Segment {
  name: string;
  first: number;
}

type RecordRead = { state: 'whole' | 'end' | 'torn' | 'damaged'; leaf: Uint8Array };

const nothing = new Uint8Array(0);

function readRecord(file: Window, offset: number): RecordRead {
  const header = file.peek(offset, recordHeader);
  if (header.length === 0) return { state: 'end', leaf: nothing };
  if (header.length < recordHeader) return { state: 'torn', leaf: nothing };
  const length = u32le(header, 0);
  const crc = u32le(header, 4);
  if (length === 0 || length > maxLeafBytes) return { state: 'damaged', leaf: nothing };
  const record = file.peek(offset, recordHeader + length);
  if (record.length < recordHeader + length) return { state: 'torn', leaf: nothing };
  const leaf = record.subarray(recordHeader);
  return { state: crc32c(leaf) === crc ? 'whole' : 'damaged', leaf };
}

// Where the next whole record after `offset` begins. Every leaf begins with 0x0a.
function nextWhole(file: Window, offset: number): number | undefined {
  for (let at = offset + 1; at + recordHeader < file.size; ++at) {
    if (file.peek(at, recordHeader + 1)[recordHeader] !== 0x0a) continue;
    if (readRecord(file, at).state === 'whole') return at;
  }
  return undefined;
}

export class TrailDir {
  // Faults of the directory itself, one line each; complete after entries().
  readonly damage: string[] = [];

  constructor(private readonly dir: string) {
    let format: Buffer;
    try {
      format = readFileSync(join(dir, 'FORMAT'));
    } catch (error) {
      throw operational(error);
    }
    if (latin1(format) !== formatText) throw new OperationalError('FORMAT: not "nodetrail-trail 1"', 78);
  }

  // Undefined if there is none. Throws a plain Error if it is no note at all.
  checkpoint(): Uint8Array | undefined {
    try {
      const file = new Window(join(this.dir, 'log/checkpoint'));
      try {
        if (!file.regular || file.size > maxNoteBytes) throw new Error('checkpoint: longer than a note may be');
        return Uint8Array.from(file.peek(0, file.size));
      } finally {
        file.close();
      }
    } catch (error) {
      if (errorCode(error) === 'ENOENT') return undefined;
      if (errorCode(error) !== '') throw operational(error);
      throw error;
    }
  }

  static bodyFile(sha256: Uint8Array): string {
    const name = hex(sha256);
    return `bodies/${name.substring(0, 2)}/${name}.zst`;
  }

  // Throws a plain Error if it is not there or can't be a body.
  body(sha256: Uint8Array): Uint8Array {
    let file: Window;
    try {
      file = new Window(join(this.dir, TrailDir.bodyFile(sha256)));
    } catch (error) {
      if (errorCode(error) === 'ENOENT') throw new Error('the body is missing');
      throw operational(error);
    }
    try {
      if (!file.regular || file.size > maxBodyBytes) throw new Error('the body is longer than 8 MiB, or no file');
      return file.peek(0, file.size);
    } finally {
      file.close();
    }
  }

  private segments(): Segment[] {
    let names: string[];
    try {
      names = readdirSync(join(this.dir, 'log'));
    } catch (error) {
      if (errorCode(error) === 'ENOENT') return [];
      throw operational(error);
    }
    const numbers = names
      .map((name) => /^([0-9]{6}|[1-9][0-9]{6,14})\.leaves$/.exec(name))
      .flatMap((match) => (match ? [Number(match[1])] : []))
      .sort((a, b) => a - b);
    const good: Segment[] = [];
    let next = 0;
    for (const [i, number] of numbers.entries()) {
      const name = `log/${String(number).padStart(6, '0')}.leaves`;
      if (number > next) this.damage.push(`log/${String(next).padStart(6, '0')}.leaves: the segment is missing`);
      next = number + 1;
      let header = nothing;
      let regular = false;
      try {
        const file = new Window(join(this.dir, name));
        regular = file.regular;
        if (regular) header = Uint8Array.from(file.peek(0, headerBytes));
        file.close();
      } catch (error) {
        throw operational(error);
      }
      const first = TrailDir.firstIndex(header);
      if (first === undefined) {
        // A crash right after the file was made: it holds nothing yet.
        if (regular && i + 1 === numbers.length && header.length < headerBytes) break;
        this.damage.push(`${name}: the segment header is damaged`);
        continue;
      }
      const before = good.at(-1);
      if (before === undefined ? first !== 0 : first < before.first) this.damage.push(`${name}: begins at leaf ${first}`);
      good.push({ name, first });
    }
    return good;
  }

  private static firstIndex(header: Uint8Array): number | undefined {
    if (header.length < headerBytes || latin1(header.subarray(0, 8)) !== 'NTLEAVES') return undefined;
    if (u32le(header, 8) !== 1 || u32le(header, 28) !== crc32c(header.subarray(0, 28))) return undefined;
    return Number(u64le(header, 16));
  }

  *entries(): Generator<Entry> {
    const segments = this.segments();
    for (const [i, segment] of segments.entries()) {
      const end = segments[i + 1]?.first ?? Infinity;
      let file: Window;
      try {
        file = new Window(join(this.dir, segment.name));
      } catch (error) {
        throw operational(error);
      }
      try {
        yield* this.records(file, segment, end);
      } finally {
        file.close();
      }
    }
  }

  private *records(file: Window, segment: Segment, end: number): Generator<Entry> {
    let offset = headerBytes;
    for (let index = segment.first; index < end; ++index) {
      const where = { index, file: segment.name, offset };
      const { state, leaf } = readRecord(file, offset);
      if (state === 'end' && end === Infinity) return;
      if (state === 'whole') {
        yield { where, leaf, whole: true, tornBytes: 0 };
        offset += recordHeader + leaf.length;
        continue;
      }
      // The length may be what is wrong: what stands before the next whole
      // record is the damaged one.
      const kept = Uint8Array.from(leaf);
      const next = nextWhole(file, offset);
      if (next === undefined) {
        yield { where, leaf: kept, whole: false, tornBytes: end === Infinity ? file.size - offset : 0 };
        return;
      }
      const bytes = file.peek(offset, Math.min(next - offset, recordHeader + maxLeafBytes));
      yield { where, leaf: bytes.subarray(Math.min(recordHeader, bytes.length)), whole: false, tornBytes: 0 };
      offset = next;
    }
  }
}

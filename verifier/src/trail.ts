// SPDX-License-Identifier: Apache-2.0
//
// Section 1: the files of a trail or a bundle. Streams the leaves, damaged ones too.
import { crc32c, hex, latin1, u32le, u64le } from './bytes.js';
import { maxBodyBytes, maxLeafBytes } from './leaf.js';
import { OperationalError, Refusal } from './refusal.js';
import { type Source, Window, readWhole } from './source.js';

const headerBytes = 32;
const recordHeader = 8;
const maxNoteBytes = 1 << 20;
const maxEvictionBytes = 1 << 16;

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

interface Segment {
  name: string;
  first: number;
}

type RecordRead = { state: 'whole' | 'end' | 'torn' | 'damaged'; leaf: Uint8Array };

const nothing = new Uint8Array(0);

async function readRecord(file: Window, offset: number): Promise<RecordRead> {
  const header = file.ready(offset, recordHeader) ?? (await file.peek(offset, recordHeader));
  if (header.length === 0) return { state: 'end', leaf: nothing };
  if (header.length < recordHeader) return { state: 'torn', leaf: nothing };
  const length = u32le(header, 0);
  const crc = u32le(header, 4);
  if (length === 0 || length > maxLeafBytes) return { state: 'damaged', leaf: nothing };
  const record = file.ready(offset, recordHeader + length) ?? (await file.peek(offset, recordHeader + length));
  if (record.length < recordHeader + length) return { state: 'torn', leaf: nothing };
  const leaf = record.subarray(recordHeader);
  return { state: crc32c(leaf) === crc ? 'whole' : 'damaged', leaf };
}

// Where the next whole record after `offset` begins: a batch (0x0a) or an entry of the log's own (0x1a).
async function nextWhole(file: Window, offset: number): Promise<number | undefined> {
  for (let at = offset + 1; at + recordHeader < file.size; ++at) {
    const head = file.ready(at, recordHeader + 1) ?? (await file.peek(at, recordHeader + 1));
    const first = head[recordHeader];
    if (first !== 0x0a && first !== 0x1a) continue;
    const length = u32le(head, 0);
    if (length === 0 || length > maxLeafBytes) continue;
    if ((await readRecord(file, at)).state === 'whole') return at;
  }
  return undefined;
}

export class Trail {
  // Faults of the directory itself; complete after entries().
  readonly damage: { text: string; file: string }[] = [];

  private constructor(
    readonly source: Source,
    readonly isBundle: boolean,
  ) {}

  static async open(source: Source): Promise<Trail> {
    const format = await readWhole(source, 'FORMAT', 64);
    if (format === undefined) throw new OperationalError('FORMAT: no such file', 66);
    const text = format === null ? '' : latin1(format);
    if (text !== 'nodetrail-trail 1\n' && text !== 'nodetrail-bundle 1\n') {
      throw new OperationalError('FORMAT: neither "nodetrail-trail 1" nor "nodetrail-bundle 1"', 78);
    }
    return new Trail(source, text.startsWith('nodetrail-bundle'));
  }

  // Undefined if there is none. Throws a Refusal if it can be no note.
  async checkpoint(): Promise<Uint8Array | undefined> {
    const note = await readWhole(this.source, 'log/checkpoint', maxNoteBytes);
    if (note === null) throw new Refusal('checkpoint', 'checkpoint: no file, or longer than a note may be');
    return note;
  }

  static bodyFile(sha256: Uint8Array, suffix: 'zst' | 'evicted' = 'zst'): string {
    const name = hex(sha256);
    return `bodies/${name.substring(0, 2)}/${name}.${suffix}`;
  }

  // Undefined if it is missing. Throws a Refusal if it can be no body.
  async body(sha256: Uint8Array): Promise<Uint8Array | undefined> {
    const stored = await readWhole(this.source, Trail.bodyFile(sha256), maxBodyBytes);
    if (stored === null) throw new Refusal('body', 'the body is longer than 8 MiB, or no file');
    return stored;
  }

  // What the agent signed instead of a body.
  async eviction(sha256: Uint8Array): Promise<Uint8Array | undefined> {
    const bytes = await readWhole(this.source, Trail.bodyFile(sha256, 'evicted'), maxEvictionBytes);
    if (bytes === null) throw new Refusal('eviction', 'the eviction is longer than 64 KiB, or no file');
    return bytes;
  }

  private async segments(): Promise<Segment[]> {
    const numbers = (await this.source.list('log'))
      .map((name) => /^([0-9]{6}|[1-9][0-9]{6,14})\.leaves$/.exec(name))
      .flatMap((match) => (match ? [Number(match[1])] : []))
      .sort((a, b) => a - b);
    const good: Segment[] = [];
    const fault = (file: string, what: string) => this.damage.push({ file, text: `${file}: ${what}` });
    let next = 0;
    for (const [i, number] of numbers.entries()) {
      const name = `log/${String(number).padStart(6, '0')}.leaves`;
      if (number > next) fault(`log/${String(next).padStart(6, '0')}.leaves`, 'the segment is missing');
      next = number + 1;
      const file = await this.source.open(name);
      const regular = file?.regular === true;
      const header = file && regular ? await file.read(0, headerBytes) : nothing;
      await file?.close();
      const first = Trail.firstIndex(header);
      if (first === undefined) {
        // A crash right after the file was made: it holds nothing yet.
        if (regular && i + 1 === numbers.length && header.length < headerBytes) break;
        fault(name, 'the segment header is damaged');
        continue;
      }
      const before = good.at(-1);
      if (before === undefined ? first !== 0 : first < before.first) fault(name, `begins at leaf ${first}`);
      good.push({ name, first });
    }
    return good;
  }

  private static firstIndex(header: Uint8Array): number | undefined {
    if (header.length < headerBytes || latin1(header.subarray(0, 8)) !== 'NTLEAVES') return undefined;
    if (u32le(header, 8) !== 1 || u32le(header, 28) !== crc32c(header.subarray(0, 28))) return undefined;
    return Number(u64le(header, 16));
  }

  async *entries(): AsyncGenerator<Entry> {
    const segments = await this.segments();
    for (const [i, segment] of segments.entries()) {
      const end = segments[i + 1]?.first ?? Infinity;
      const file = await this.source.open(segment.name);
      if (file === undefined) throw new OperationalError(`${segment.name}: went away while it was read`, 70);
      const window = new Window(file);
      try {
        yield* this.records(window, segment, end);
      } finally {
        await window.close();
      }
    }
  }

  private async *records(file: Window, segment: Segment, end: number): AsyncGenerator<Entry> {
    let offset = headerBytes;
    for (let index = segment.first; index < end; ++index) {
      const where = { index, file: segment.name, offset };
      const { state, leaf } = await readRecord(file, offset);
      if (state === 'end' && end === Infinity) return;
      if (state === 'whole') {
        const length = leaf.length;
        yield { where, leaf, whole: true, tornBytes: 0 };
        offset += recordHeader + length;
        continue;
      }
      // The length may be what is wrong: what stands before the next whole
      // record is the damaged one.
      const kept = Uint8Array.from(leaf);
      const next = await nextWhole(file, offset);
      if (next === undefined) {
        yield { where, leaf: kept, whole: false, tornBytes: end === Infinity ? file.size - offset : 0 };
        return;
      }
      const bytes = await file.peek(offset, Math.min(next - offset, recordHeader + maxLeafBytes));
      yield { where, leaf: bytes.subarray(Math.min(recordHeader, bytes.length)), whole: false, tornBytes: 0 };
      offset = next;
    }
  }
}

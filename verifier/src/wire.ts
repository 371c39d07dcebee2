// SPDX-License-Identifier: Apache-2.0
//
// Protobuf's wire format, by hand: strict where the trail format asks for the
// one encoding of a message, and as protobuf reads it elsewhere.

export interface Field {
  number: number;
  type: number;
  varint: bigint; // type 0
  bytes: Uint8Array; // the content otherwise
}

const none = new Uint8Array(0);
const max32 = (1n << 32n) - 1n;
const maxDepth = 100;

class Reader {
  private at = 0;
  constructor(
    private readonly data: Uint8Array,
    private readonly strict: boolean,
  ) {}

  get done(): boolean {
    return this.at === this.data.length;
  }

  next(depth = 0): Field | undefined {
    if (this.done) return undefined;
    const tag = this.varint();
    const number = Number(tag >> 3n);
    if (tag > max32 || number === 0) throw new Error('wire: bad tag');
    const type = Number(tag & 7n);
    switch (type) {
      case 0:
        return { number, type, varint: this.varint(), bytes: none };
      case 1:
        return { number, type, varint: 0n, bytes: this.take(8n) };
      case 2:
        return { number, type, varint: 0n, bytes: this.take(this.varint()) };
      case 3:
        this.skipGroup(number, depth + 1);
        return { number, type, varint: 0n, bytes: none };
      case 4:
        if (depth > 0) return { number, type, varint: 0n, bytes: none };
        throw new Error('wire: end of a group that did not begin');
      case 5:
        return { number, type, varint: 0n, bytes: this.take(4n) };
      default:
        throw new Error(`wire: type ${type}`);
    }
  }

  private skipGroup(number: number, depth: number): void {
    if (this.strict || depth > maxDepth) throw new Error('wire: a group');
    for (;;) {
      const field = this.next(depth);
      if (field === undefined) throw new Error('wire: a group without end');
      if (field.type !== 4) continue;
      if (field.number !== number) throw new Error('wire: a group ends that did not begin');
      return;
    }
  }

  varint(): bigint {
    let value = 0n;
    for (let i = 0; i < 10; ++i) {
      const byte = this.data[this.at++];
      if (byte === undefined) throw new Error('wire: cut off');
      if (i === 9 && byte > 1) throw new Error('wire: above 64 bits');
      value |= BigInt(byte & 0x7f) << BigInt(7 * i);
      if (byte < 0x80) {
        if (this.strict && byte === 0 && i > 0) throw new Error('wire: a varint longer than need be');
        return value;
      }
    }
    throw new Error('wire: endless varint');
  }

  private take(size: bigint): Uint8Array {
    if (size > BigInt(this.data.length - this.at)) throw new Error('wire: cut off');
    const out = this.data.subarray(this.at, this.at + Number(size));
    this.at += out.length;
    return out;
  }
}

// Minimal varints, no groups; the order is not judged.
export function strictFields(data: Uint8Array): Field[] {
  return read(data, true);
}

// What protobuf accepts.
export function fields(data: Uint8Array): Field[] {
  return read(data, false);
}

// A packed field of varints, each as short as it can be.
export function varints(data: Uint8Array): bigint[] {
  const reader = new Reader(data, true);
  const out: bigint[] = [];
  while (!reader.done) out.push(reader.varint());
  return out;
}

function read(data: Uint8Array, strict: boolean): Field[] {
  const reader = new Reader(data, strict);
  const out: Field[] = [];
  for (let field = reader.next(); field !== undefined; field = reader.next()) out.push(field);
  return out;
}

// A message in its one encoding: numbers strictly ascend, except `repeated`.
export class Message {
  private readonly byNumber = new Map<number, Field>();
  readonly all: Field[];

  constructor(data: Uint8Array, repeated?: number) {
    this.all = strictFields(data);
    let last = 0;
    for (const field of this.all) {
      if (field.number < last || (field.number === last && field.number !== repeated)) {
        throw new Error(`wire: field ${field.number} repeats or is out of order`);
      }
      last = field.number;
      this.byNumber.set(field.number, field);
    }
  }

  // A field of another wire type than it should have is unknown, as if absent.
  u64(number: number): bigint {
    const field = this.byNumber.get(number);
    return field?.type === 0 ? field.varint : 0n;
  }
  // uint32 and enums keep the low 32 bits, as protobuf reads them.
  u32(number: number): number {
    return Number(this.u64(number) & max32);
  }
  bool(number: number): boolean {
    return this.u64(number) !== 0n;
  }
  bytes(number: number): Uint8Array {
    return this.optionalBytes(number) ?? none;
  }
  optionalBytes(number: number): Uint8Array | undefined {
    const field = this.byNumber.get(number);
    return field?.type === 2 ? field.bytes : undefined;
  }
}

// SPDX-License-Identifier: Apache-2.0
//
// Where the files of a trail come from: a directory under node, or whatever a
// browser was given. Paths are relative to the trail, parts divided by "/".

export interface SourceFile {
  readonly size: number;
  readonly regular: boolean;
  // Fewer bytes at the end of the file; memory that nobody changes. Throws OperationalError.
  read(offset: number, size: number): Uint8Array | Promise<Uint8Array>;
  close(): void | Promise<void>;
}

export interface Source {
  // Undefined if there is no such file. Throws OperationalError if it can't be opened.
  open(path: string): SourceFile | undefined | Promise<SourceFile | undefined>;
  // Names in a directory, in any order; none if there is no such directory.
  list(path: string): string[] | Promise<string[]>;
}

const readAhead = 1 << 20;

// A file read in pieces.
export class Window {
  private buffer: Uint8Array = new Uint8Array(0);
  private base = 0;

  constructor(private readonly file: SourceFile) {}

  get size(): number {
    return this.file.size;
  }

  // What is in memory already; undefined if it has to be read first.
  ready(offset: number, size: number): Uint8Array | undefined {
    const end = Math.min(offset + size, this.file.size);
    if (end <= offset) return new Uint8Array(0);
    if (offset < this.base || end > this.base + this.buffer.length) return undefined;
    return this.buffer.subarray(offset - this.base, end - this.base);
  }

  // Fewer bytes at the end of the file; valid until the next call.
  async peek(offset: number, size: number): Promise<Uint8Array> {
    const have = this.ready(offset, size);
    if (have !== undefined) return have;
    const want = Math.min(Math.max(size, readAhead), this.file.size - offset);
    this.buffer = await this.file.read(offset, want);
    this.base = offset;
    return this.buffer.subarray(0, size);
  }

  close(): void | Promise<void> {
    return this.file.close();
  }
}

// A whole file of at most `limit` bytes; undefined if it is not there, null if
// it is no file or longer.
export async function readWhole(source: Source, path: string, limit: number): Promise<Uint8Array | undefined | null> {
  const file = await source.open(path);
  if (file === undefined) return undefined;
  try {
    if (!file.regular || file.size > limit) return null;
    return await file.read(0, file.size);
  } finally {
    await file.close();
  }
}

// SPDX-License-Identifier: Apache-2.0
//
// A trail in memory, read asynchronously as a browser would.
import type { Source, SourceFile } from '../src/source.js';

export class MemorySource implements Source {
  bytesRead = 0;
  largestRead = 0;

  constructor(private readonly files: Map<string, Uint8Array>) {}

  async open(path: string): Promise<SourceFile | undefined> {
    const bytes = this.files.get(path);
    if (bytes === undefined) return undefined;
    return {
      size: bytes.length,
      regular: true,
      read: async (offset, size) => {
        const out = bytes.slice(offset, offset + size);
        this.bytesRead += out.length;
        this.largestRead = Math.max(this.largestRead, out.length);
        return out;
      },
      close: () => undefined,
    };
  }

  async list(path: string): Promise<string[]> {
    const names = new Set<string>();
    for (const name of this.files.keys()) {
      if (name.startsWith(path + '/')) names.add(name.substring(path.length + 1).split('/')[0]!);
    }
    return [...names];
  }
}

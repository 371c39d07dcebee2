// SPDX-License-Identifier: Apache-2.0
//
// A trail in a directory. Links are not followed at the last step: what counts
// is what lies there itself.
import { closeSync, constants, fstatSync, openSync, readSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';

import { OperationalError } from './refusal.js';
import type { Source, SourceFile } from './source.js';

function errorCode(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? '';
}

export function operational(error: unknown): OperationalError {
  const code = errorCode(error);
  return new OperationalError((error as Error).message, code === 'ENOENT' ? 66 : code === 'EACCES' ? 77 : 70);
}

class NodeFile implements SourceFile {
  readonly size: number;
  readonly regular: boolean;

  constructor(private readonly fd: number) {
    const stat = fstatSync(fd);
    this.regular = stat.isFile();
    this.size = stat.size;
  }

  read(offset: number, size: number): Uint8Array {
    const buffer = new Uint8Array(Math.max(0, Math.min(size, this.size - offset)));
    let have = 0;
    try {
      while (have < buffer.length) {
        const n = readSync(this.fd, buffer, have, buffer.length - have, offset + have);
        if (n === 0) break;
        have += n;
      }
    } catch (error) {
      throw operational(error);
    }
    return buffer.subarray(0, have);
  }

  close(): void {
    closeSync(this.fd);
  }
}

// What stands in the way of a file but is none.
const nothing: SourceFile = { size: 0, regular: false, read: () => new Uint8Array(0), close: () => undefined };

export class NodeSource implements Source {
  constructor(private readonly dir: string) {
    try {
      if (!statSync(dir).isDirectory()) throw new OperationalError(`${dir}: not a directory`, 66);
    } catch (error) {
      throw error instanceof OperationalError ? error : operational(error);
    }
  }

  open(path: string): SourceFile | undefined {
    try {
      const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
      return new NodeFile(openSync(join(this.dir, path), flags));
    } catch (error) {
      const code = errorCode(error);
      if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
      if (code === 'ELOOP' || code === 'ENXIO') return nothing;
      throw operational(error);
    }
  }

  list(path: string): string[] {
    try {
      return readdirSync(join(this.dir, path));
    } catch (error) {
      const code = errorCode(error);
      if (code === 'ENOENT' || code === 'ENOTDIR') return [];
      throw operational(error);
    }
  }
}

// SPDX-License-Identifier: Apache-2.0
//
// Section 7: the published tiles against the leaves that they were made from.
import { concat, equal } from './bytes.js';
import type { Crypto } from './crypto.js';
import { Refusal } from './refusal.js';
import { type Source, readWhole } from './source.js';

const width = 256;
const maxTileBytes = width * (2 + 0xffff);

// 1234067 is x001/x234/067.
export function tileNumber(n: number): string {
  const digits = String(n).padStart(Math.ceil(String(n).length / 3) * 3, '0');
  const groups = digits.match(/\d{3}/g)!;
  return groups.map((group, i) => (i + 1 < groups.length ? 'x' : '') + group).join('/');
}

interface Level {
  parts: Uint8Array[]; // of the tile that is being filled
  tile: number;
}

// Told of every leaf under the checkpoint, in order; keeps one tile a level.
export class TileCheck {
  private readonly entries: Level = { parts: [], tile: 0 };
  private readonly levels: Level[] = [];
  readonly wrong: Refusal[] = [];
  readonly wrongFiles: string[] = [];
  missing = 0;
  checked = 0;

  constructor(
    private readonly crypto: Crypto,
    private readonly source: Source,
  ) {}

  async append(leaf: Uint8Array, hash: Uint8Array): Promise<void> {
    this.entries.parts.push(concat(Uint8Array.of(leaf.length >> 8, leaf.length & 0xff), leaf));
    if (this.entries.parts.length === width) await this.close('entries', this.entries);
    await this.up(0, hash);
  }

  // The partial tiles at the edge.
  async finish(): Promise<void> {
    await this.close('entries', this.entries);
    for (const [i, level] of this.levels.entries()) await this.close(String(i), level);
  }

  private async up(at: number, hash: Uint8Array): Promise<void> {
    const level = (this.levels[at] ??= { parts: [], tile: 0 });
    level.parts.push(hash);
    if (level.parts.length < width) return;
    const root = this.rootOf(level.parts);
    await this.close(String(at), level);
    await this.up(at + 1, root);
  }

  private rootOf(full: Uint8Array[]): Uint8Array {
    let row = full;
    while (row.length > 1) {
      const above: Uint8Array[] = [];
      for (let i = 0; i < row.length; i += 2) above.push(this.crypto.sha256(Uint8Array.of(1), row[i]!, row[i + 1]!));
      row = above;
    }
    return row[0]!;
  }

  private async close(name: string, level: Level): Promise<void> {
    const have = level.parts.length;
    if (have > 0) {
      const path = `log/tile/${name}/${tileNumber(level.tile)}`;
      await this.compare(have === width ? path : `${path}.p/${have}`, level.parts, true);
      // Narrower ones may still lie there; they are of the same leaves.
      for (const file of await this.source.list(`${path}.p`)) {
        const narrow = /^[1-9][0-9]{0,2}$/.test(file) ? Number(file) : 0;
        if (narrow > 0 && narrow < have) await this.compare(`${path}.p/${file}`, level.parts.slice(0, narrow), false);
      }
    }
    level.parts = [];
    level.tile += 1;
  }

  private async compare(path: string, parts: Uint8Array[], wanted: boolean): Promise<void> {
    const bytes = await readWhole(this.source, path, maxTileBytes);
    if (bytes === undefined) {
      if (wanted) this.missing += 1;
      return;
    }
    this.checked += 1;
    if (bytes !== null && equal(bytes, concat(...parts))) return;
    this.wrong.push(new Refusal('tile', `${path}: not what the leaves make`));
    this.wrongFiles.push(path);
  }
}

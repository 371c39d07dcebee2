// SPDX-License-Identifier: Apache-2.0
//
// Section 8: what lies in quarantine/ against the log.
import { equal } from './bytes.js';
import type { Crypto } from './crypto.js';
import { type Findings, Kind } from './findings.js';
import { type Leaf, parseLeaf, verifyLeaf } from './leaf.js';
import { readWhole, type Source } from './source.js';
import type { Place } from './trail.js';

const maxFiles = 10_000;
const maxLeafBytes = 65_534;

export class Quarantine {
  private readonly rivals = new Map<string, { leaf: Leaf; file: string }[]>();

  constructor(
    private readonly crypto: Crypto,
    private readonly findings: Findings,
  ) {}

  // What is no leaf, or wrongly signed, is passed over: it proves nothing.
  async read(source: Source): Promise<void> {
    let names: string[];
    try {
      names = await source.list('quarantine');
    } catch (error) {
      this.findings.add(Kind.note, 'note', `quarantine/ can't be read: ${(error as Error).message}`);
      return;
    }
    names = names.filter((name) => name.length > 5 && name.endsWith('.leaf')).sort();
    for (const name of names.slice(0, maxFiles)) {
      const file = `quarantine/${name}`;
      const bytes = await readWhole(source, file, maxLeafBytes);
      if (bytes === undefined || bytes === null) continue;
      let leaf: Leaf;
      try {
        leaf = parseLeaf(this.crypto, bytes);
      } catch {
        continue;
      }
      if (!(await verifyLeaf(this.crypto, leaf))) continue;
      const key = Quarantine.position(leaf);
      this.rivals.set(key, [...(this.rivals.get(key) ?? []), { leaf, file }]);
    }
  }

  // A batch of the log that holds.
  take(leaf: Leaf, name: string, where: Place): void {
    for (const rival of this.rivals.get(Quarantine.position(leaf)) ?? []) {
      // With a key that the log does not know it is anybody's.
      if (equal(rival.leaf.batchHash, leaf.batchHash) || !equal(rival.leaf.signerKey, leaf.signerKey)) continue;
      const text = 'equivocation: the same key signed another batch for this position, which is in quarantine';
      this.findings.add(Kind.tamper, 'equivocation', text, name, where, rival.file);
    }
  }

  private static position(leaf: Leaf): string {
    return `${leaf.tenant}/${leaf.agent}:${leaf.epoch}:${leaf.seq}`;
  }
}

// SPDX-License-Identifier: Apache-2.0
//
// Section 3: bodies that are missing, and the entries that say they were deleted by rule.
import { timeOf } from './bundle.js';
import { equal } from './bytes.js';
import type { Hold, LogEntry, Release, Retire, Retired } from './entry.js';
import type { Findings } from './findings.js';
import type { Leaf } from './leaf.js';
import { Refusal, type Reason } from './refusal.js';
import type { Place } from './trail.js';

interface Missing {
  leaf: Leaf;
  name: string;
  where: Place;
  file: string;
  fault: Refusal | undefined; // of the first entry that retired it and did not hold
  onRetired: () => void;
}

function covers(hold: Hold, leaf: Leaf): boolean {
  if (hold.agents.length > 0 && !hold.agents.includes(leaf.agent)) return false;
  const [from, to] = timeOf(leaf);
  return (hold.until === 0n || from <= hold.until) && to >= hold.since;
}

export class Retention {
  private readonly open = new Map<string, Hold>();
  private readonly ids = new Set<string>();
  private readonly retires = new Map<bigint, bigint>(); // index: how many bodies
  private readonly waiting = new Map<number, Missing>(); // by index of the leaf
  retired = 0;

  constructor(private readonly findings: Findings) {}

  // `onRetired`: an entry that holds says that it was deleted by rule.
  missing(leaf: Leaf, name: string, where: Place, file: string, onRetired: () => void): void {
    this.waiting.set(where.index, { leaf, name, where, file, fault: undefined, onRetired });
  }

  // `covered`: the checkpoint covers the entry, or there is none.
  take(entry: LogEntry, where: Place, covered: boolean): void {
    let fault: Refusal | undefined;
    try {
      if (entry.hold) this.takeHold(entry.hold);
      if (entry.release) this.takeRelease(entry.release);
      if (entry.retire) this.takeRetire(entry.retire, entry.wallNs, where.index);
      if (entry.retired) this.takeRetired(entry.retired);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      fault = error;
      this.findings.tamper(fault, undefined, where);
    }
    for (const { index, sha256 } of entry.retire?.bodies ?? []) {
      const body = this.waiting.get(index);
      if (body === undefined) continue;
      const found = fault ?? (covered ? this.fault(entry.retire!, body.leaf, sha256) : this.refuse('not under the checkpoint'));
      if (found === undefined) {
        this.waiting.delete(index);
        this.retired += 1;
        body.onRetired();
      } else {
        body.fault ??= new Refusal(found.reason, `the body is missing; entry ${where.index} that retires it: ${found.message}`);
      }
    }
  }

  finish(): void {
    for (const { name, where, file, fault } of this.waiting.values()) {
      this.findings.tamper(fault ?? new Refusal('body-missing', 'the body is missing'), name, where, file);
    }
  }

  private refuse(why: string, reason: Reason = 'retire'): Refusal {
    return new Refusal(reason, why);
  }

  private takeHold(hold: Hold): void {
    if (this.ids.has(hold.id)) throw this.refuse(`hold ${hold.id}: there was one of this id`, 'hold');
    this.ids.add(hold.id);
    this.open.set(hold.id, hold);
  }

  private takeRelease({ id, requestedBy, confirmedBy }: Release): void {
    if (!this.open.has(id)) throw this.refuse(`release of ${id}, which is not open`, 'release');
    if (requestedBy === confirmedBy) throw this.refuse(`release of ${id}: ${confirmedBy} confirms what he asked for`, 'release');
    this.open.delete(id);
  }

  private takeRetire(retire: Retire, wallNs: bigint, index: number): void {
    if (wallNs < retire.notBefore) throw this.refuse(`retires at ${wallNs} what it may from ${retire.notBefore} on`);
    if (retire.holdsCheckedAt !== BigInt(index)) throw this.refuse(`heeds the holds of ${retire.holdsCheckedAt} leaves only`);
    if (retire.bodies.at(-1)!.index >= index) throw this.refuse('retires a leaf that is not before it');
    this.retires.set(BigInt(index), BigInt(retire.bodies.length));
  }

  private takeRetired({ retireIndex, bodies }: Retired): void {
    if (this.retires.get(retireIndex) !== bodies) throw this.refuse(`no entry ${retireIndex} retires ${bodies} bodies`);
  }

  private fault(retire: Retire, leaf: Leaf, sha256: Uint8Array): Refusal | undefined {
    if (!equal(sha256, leaf.bodySha256)) return this.refuse("another body than the leaf's");
    if (retire.notBefore < retire.maxAge || leaf.sealedWallNs > retire.notBefore - retire.maxAge) {
      return this.refuse(`it was sealed at ${leaf.sealedWallNs}, too young`);
    }
    const hold = [...this.open.values()].find((candidate) => covers(candidate, leaf));
    return hold && this.refuse(`hold ${hold.id} covers it`, 'hold');
  }
}

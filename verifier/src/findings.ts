// SPDX-License-Identifier: Apache-2.0
//
// Section 9: what was found, in its order, and the verdict.
import type { Refusal, Reason } from './refusal.js';
import type { Place } from './trail.js';

export const enum Kind {
  note = 0,
  declaredLoss = 1,
  gap = 2,
  tamper = 3,
}
export const kindNames = ['note', 'declared_loss', 'unexplained_gap', 'tamper'] as const;
export const verdictNames = ['intact', 'declared_loss', 'unexplained_gap', 'tamper'] as const;

export interface Finding {
  kind: Kind;
  reason: Reason;
  text: string;
  batch: string | undefined;
  index: number | undefined;
  file: string | undefined;
}

const maxFindings = 1000;
// Findings without a place in the log, in this order; all others before them.
const order: Reason[] = ['checkpoint', 'quorum', 'prior', 'segment', 'root', 'tile', 'receipt', 'bundle'];

export class Findings {
  private all: Finding[] = [];
  dropped = 0;
  worst = Kind.note;

  add(kind: Kind, reason: Reason, text: string, batch?: string, where?: Place, file?: string): void {
    // A flood of notes must not hide a tamper.
    if (kind <= this.worst && this.all.length >= maxFindings) {
      this.dropped += 1;
      return;
    }
    if (kind > this.worst) this.worst = kind;
    this.all.push({ kind, reason, text, batch, index: where?.index, file: file ?? where?.file });
  }

  tamper(refusal: Refusal, batch?: string, where?: Place, file?: string): void {
    this.add(Kind.tamper, refusal.reason, refusal.message, batch, where, file);
  }

  // By place in the log; what has none comes last. What was added first stays first.
  sorted(): Finding[] {
    const rank = (f: Finding) => order.indexOf(f.reason);
    return [...this.all].sort((a, b) => {
      if (a.index === b.index) return a.index === undefined ? rank(a) - rank(b) : 0;
      return (a.index ?? Infinity) - (b.index ?? Infinity);
    });
  }

  firstBad(): Finding | undefined {
    if (this.worst < Kind.gap) return undefined;
    const worst = this.sorted().filter((finding) => finding.kind === this.worst);
    return worst.find((finding) => finding.batch !== undefined) ?? worst[0];
  }
}

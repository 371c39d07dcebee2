// SPDX-License-Identifier: Apache-2.0
//
// Section 11: what of an agent's time the log covers.

export const coverageKinds = ['covered', 'declared_lost', 'stopped', 'silent', 'unexplained', 'retired'] as const;
export type CoverageKind = (typeof coverageKinds)[number];

// Nanoseconds of the agent's wall clock, `to` above `from`.
export interface Interval {
  kind: CoverageKind;
  from: bigint;
  to: bigint;
}

export interface Coverage {
  intervals: Interval[]; // in order, without overlap; neighbours that touch are of other kinds
  dropped: number; // beyond what is kept; in the sums
  sums: Map<CoverageKind, bigint>;
}

// A batch comes after a hole or an unclean restart: unexplained until each cause is declared.
export interface Broken {
  stretch: Stretch | undefined; // none if it adds no time that counts
}
interface Stretch {
  interval: Interval;
  causes: number;
}

export type Join = 'next' | 'stopped' | { causes: number };

export interface TimeRules {
  silence: bigint; // longer without a batch is silent
  since: bigint; // only what lies in [since, until] is told
  until: bigint | undefined;
}

// Stretches, and times of either mark, kept of an agent.
const maxKept = 10_000;

// Times that replace what is covered; in order only at the end.
class Marks {
  private readonly all: { from: bigint; to: bigint }[] = [];

  // False if there are too many.
  add(from: bigint, to: bigint): boolean {
    const last = this.all.at(-1);
    if (last && from <= last.to && to >= last.from) {
      if (from < last.from) last.from = from;
      if (to > last.to) last.to = to;
      return true;
    }
    if (this.all.length === maxKept) return false;
    this.all.push({ from, to });
    return true;
  }

  // In order, without overlap.
  private merged(): { from: bigint; to: bigint }[] {
    const out: { from: bigint; to: bigint }[] = [];
    for (const mark of [...this.all].sort((a, b) => (a.from < b.from ? -1 : a.from > b.from ? 1 : 0))) {
      const last = out.at(-1);
      if (last === undefined || mark.from > last.to) out.push(mark);
      else if (mark.to > last.to) last.to = mark.to;
    }
    return out;
  }

  // `pieces`, with `kind` where they are covered and marked.
  over(pieces: Interval[], kind: CoverageKind): Interval[] {
    const marks = this.merged();
    const out: Interval[] = [];
    let first = 0; // marks before it end before all pieces to come
    for (const piece of pieces) {
      if (piece.kind !== 'covered') {
        out.push(piece);
        continue;
      }
      let at = piece.from;
      while (first < marks.length && marks[first]!.to <= at) first += 1;
      for (let i = first; i < marks.length && marks[i]!.from < piece.to; ++i) {
        const mark = marks[i]!;
        const from = mark.from > at ? mark.from : at;
        const to = mark.to < piece.to ? mark.to : piece.to;
        out.push({ kind: 'covered', from: at, to: from }, { kind, from, to });
        at = to;
      }
      out.push({ kind: 'covered', from: at, to: piece.to });
    }
    return out;
  }
}

export class Timeline {
  private begun = false;
  private before = 0n; // of the newest batch
  private latest = 0n;
  private readonly stretches: Stretch[] = [];
  private readonly declared = new Marks();
  private readonly retired = new Marks();
  private dropped = 0;
  private readonly droppedSums = new Map<CoverageKind, bigint>();

  constructor(private readonly rules: TimeRules) {}

  // The latest time of all batches so far; 0 before the first.
  get end(): bigint {
    return this.latest;
  }

  // What the newest batch added.
  get newest(): { from: bigint; to: bigint } {
    return { from: this.before, to: this.latest };
  }

  batch(sealed: bigint, join: Join): Broken {
    if (!this.begun) {
      this.begun = true;
      this.before = this.latest = sealed;
      return { stretch: undefined };
    }
    this.before = this.latest;
    // The clock may go back; no time is counted twice.
    if (sealed <= this.latest) return { stretch: undefined };
    this.latest = sealed;
    if (typeof join === 'object') return { stretch: this.push('unexplained', this.before, sealed, join.causes) };
    const late = sealed - this.before > this.rules.silence;
    this.push(join === 'stopped' ? 'stopped' : late ? 'silent' : 'covered', this.before, sealed, 0);
    return { stretch: undefined };
  }

  // One cause of it was declared.
  static explain(broken: Broken | undefined): void {
    const stretch = broken?.stretch;
    if (stretch === undefined || stretch.causes === 0) return;
    stretch.causes -= 1;
    if (stretch.causes === 0) stretch.interval.kind = 'declared_lost';
  }

  // Events of this time were lost, and the agent said so.
  declare(from: bigint, to: bigint): void {
    this.mark(this.declared, from, to);
  }

  // The bodies of this time were retired rightly.
  retire(from: bigint, to: bigint): void {
    this.mark(this.retired, from, to);
  }

  // `stopped`: the last batch was a clean shutdown. For once, at the end.
  finish(end: bigint, stopped: boolean): Coverage {
    if (this.begun && end > this.latest) {
      if (stopped) this.push('stopped', this.latest, end, 0);
      else if (end - this.latest > this.rules.silence) this.push('silent', this.latest, end, 0);
    }
    const pieces = this.stretches.map(({ interval }) => interval);
    const marked = this.retired.over(this.declared.over(pieces, 'declared_lost'), 'retired');
    const intervals: Interval[] = [];
    const sums = new Map(this.droppedSums);
    for (const { kind, from, to } of marked) {
      if (from >= to) continue;
      sums.set(kind, (sums.get(kind) ?? 0n) + (to - from));
      const last = intervals.at(-1);
      if (last?.kind === kind && last.to === from) last.to = to;
      else intervals.push({ kind, from, to });
    }
    return { intervals, dropped: this.dropped, sums };
  }

  private clip(from: bigint, to: bigint): [bigint, bigint] {
    const { since, until } = this.rules;
    return [from < since ? since : from, until !== undefined && to > until ? until : to];
  }

  private push(kind: CoverageKind, start: bigint, stop: bigint, causes: number): Stretch | undefined {
    const [from, to] = this.clip(start, stop);
    if (from >= to) return undefined;
    const last = this.stretches.at(-1)?.interval;
    if (causes === 0 && last?.kind === kind && last.to === from) {
      last.to = to;
      return undefined;
    }
    if (this.stretches.length === maxKept) {
      this.dropped += 1;
      this.droppedSums.set(kind, (this.droppedSums.get(kind) ?? 0n) + (to - from));
      return undefined;
    }
    const stretch = { interval: { kind, from, to }, causes };
    this.stretches.push(stretch);
    return stretch;
  }

  private mark(marks: Marks, start: bigint, stop: bigint): void {
    const [from, to] = this.clip(start, stop);
    if (from < to && !marks.add(from, to)) this.dropped += 1;
  }
}

// "YYYY-MM-DDTHH:MM:SS.nnnnnnnnnZ"
export function formatTime(ns: bigint): string {
  const second = new Date(Number(ns / 1_000_000_000n) * 1000).toISOString().substring(0, 19);
  return `${second}.${String(ns % 1_000_000_000n).padStart(9, '0')}Z`;
}

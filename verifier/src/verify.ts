// SPDX-License-Identifier: Apache-2.0
//
// Sections 5 to 7: the whole directory, one pass, one body in memory at a time.
import { hex } from './bytes.js';
import { type Declaration, openBody } from './body.js';
import { type Accepted, Chain, type Hole } from './chain.js';
import { type Crypto, Tree } from './crypto.js';
import type { Certificate } from './identity.js';
import { BodyCodec, type Leaf, parseLeaf, verifyLeaf } from './leaf.js';
import { type Checkpoint, type LogKey, openCheckpoint } from './note.js';
import { type Entry, OperationalError, type Place, TrailDir } from './trail_dir.js';

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
  text: string;
  batch: string | undefined;
  index: number | undefined;
  file: string | undefined;
}

export interface Options {
  authorities: Certificate[];
  logKey?: LogKey;
  olderCheckpoint?: Uint8Array;
}

export interface Report {
  verdict: Kind;
  firstBad: Finding | undefined;
  findings: Finding[];
  findingsDropped: number;
  leaves: number;
  bodies: number;
  events: bigint;
  agents: number;
  checkpoint: { present: boolean; trusted: boolean; size: number; root: string };
}

const checkpointFile = 'log/checkpoint';
const maxFindings = 1000;

interface Agent {
  name: string;
  chain: Chain;
  holes: { hole: Hole; where: Place }[];
  spoolLosses: { declaredIn: bigint; hole: Hole }[];
  restart: Finding | undefined; // unclean, and no agent.gap has told of it yet
  lossTold: boolean; // an agent.loss in this epoch
}

interface BadLeaf {
  where: Place;
  text: string;
  name: string | undefined; // what it says it is, or what the chain lacks
}

function batchName(agent: string, epoch: bigint, seq: bigint): string {
  return `${agent}:${epoch}:${seq}`;
}

class Verification {
  private readonly findings: Finding[] = [];
  private dropped = 0;
  private worst = Kind.note;
  private checkpoint: Checkpoint | undefined;
  private checkpointPresent = false;
  private older: Checkpoint | undefined;
  private readonly tree: Tree;
  private rootAgrees = false;
  private rootBroken = false;
  private readonly agents = new Map<string, Agent>();
  private readonly badLeaves: BadLeaf[] = [];
  private named = 0; // bad leaves that a hole gave their name
  private bodies = 0;
  private events = 0n;

  constructor(
    private readonly crypto: Crypto,
    private readonly dir: TrailDir,
    private readonly options: Options,
  ) {
    this.tree = new Tree(crypto);
  }

  async run(): Promise<Report> {
    // The checkpoint first: a log that grows meanwhile is never shorter than it.
    await this.readCheckpoint();
    await this.readOlder();
    for (const entry of this.dir.entries()) await this.takeEntry(entry);
    for (const damage of this.dir.damage) this.add(Kind.tamper, damage);
    this.finishRoot();
    const keys = [...this.agents.keys()].sort();
    for (const key of keys) this.finishAgent(this.agents.get(key)!);
    return this.conclude();
  }

  private add(kind: Kind, text: string, batch?: string, where?: Place, file?: string): void {
    // A flood of notes must not hide a tamper.
    if (kind <= this.worst && this.findings.length >= maxFindings) {
      this.dropped += 1;
      return;
    }
    if (kind > this.worst) this.worst = kind;
    this.findings.push({ kind, text, batch, index: where?.index, file: file ?? where?.file });
  }

  private async readCheckpoint(): Promise<void> {
    try {
      const note = this.dir.checkpoint();
      if (note === undefined) return;
      this.checkpointPresent = true;
      if (this.options.logKey === undefined) {
        this.add(Kind.note, "no log key was given: the checkpoint's signature was not checked", undefined, undefined, checkpointFile);
      }
      this.checkpoint = await openCheckpoint(this.crypto, note, this.options.logKey);
      if (this.checkpoint.size === 0) {
        this.rootAgrees = new Tree(this.crypto).hasRoot(this.checkpoint.root);
      }
    } catch (error) {
      if (error instanceof OperationalError) throw error;
      this.checkpointPresent = true;
      this.add(Kind.tamper, (error as Error).message, undefined, undefined, checkpointFile);
    }
  }

  private async readOlder(): Promise<void> {
    if (this.options.olderCheckpoint === undefined) return;
    if (this.options.logKey === undefined) throw new OperationalError('an older checkpoint needs the log key', 64);
    try {
      this.older = await openCheckpoint(this.crypto, this.options.olderCheckpoint, this.options.logKey);
    } catch (error) {
      throw new OperationalError(`the older checkpoint: ${(error as Error).message}`, 65);
    }
    if ((this.checkpoint?.size ?? -1) < this.older.size) {
      this.add(Kind.tamper, `the log's checkpoint is older than the one you hold, of size ${this.older.size}`);
    }
  }

  private async takeEntry({ where, leaf: bytes, whole, tornBytes }: Entry): Promise<void> {
    if (bytes.length === 0) {
      const covered = this.checkpoint !== undefined && where.index < this.checkpoint.size;
      if (!covered && tornBytes > 0) {
        this.add(Kind.note, `an unfinished write of ${tornBytes} bytes at the end of the log`, undefined, where);
      } else {
        this.badLeaf(where, `leaf ${where.index} at offset ${where.offset} can't be read`, undefined);
      }
      return;
    }
    this.tree.append(bytes);
    const { size } = this.tree;
    if (size === this.checkpoint?.size) this.rootAgrees = this.tree.hasRoot(this.checkpoint.root);
    if (size === this.older?.size && !this.tree.hasRoot(this.older.root)) {
      this.add(Kind.tamper, `the first ${size} leaves are not those of the checkpoint you hold`);
    }
    let leaf: Leaf;
    try {
      leaf = parseLeaf(this.crypto, bytes);
    } catch (error) {
      this.badLeaf(where, (error as Error).message, undefined);
      return;
    }
    const name = batchName(leaf.agent, leaf.epoch, leaf.seq);
    if (!whole) {
      this.badLeaf(where, "the record's checksum is wrong", name);
      return;
    }
    await this.takeLeaf(where, leaf, name);
  }

  private async takeLeaf(where: Place, leaf: Leaf, name: string): Promise<void> {
    const key = `${leaf.tenant}/${leaf.agent}`;
    const agent = this.agents.get(key) ?? {
      name: leaf.agent,
      chain: new Chain(this.crypto, this.options.authorities),
      holes: [],
      spoolLosses: [],
      restart: undefined,
      lossTold: false,
    };
    let accepted: Accepted;
    try {
      accepted = await agent.chain.take(leaf);
    } catch (error) {
      const text = (error as Error).message;
      // Rightly signed, it is the batch that it says it is.
      if (await verifyLeaf(this.crypto, leaf)) this.add(Kind.tamper, text, name, where);
      else this.badLeaf(where, text, name);
      return;
    }
    // A leaf that is not what it says must not open an account for an agent.
    this.agents.set(key, agent);
    this.takeAccepted(agent, leaf, accepted, name, where);
    this.events += leaf.eventCount;
    if (leaf.bodyCodec !== BodyCodec.none) this.takeBody(agent, leaf, name, where);
  }

  private badLeaf(where: Place, text: string, name: string | undefined): void {
    this.badLeaves.push({ where, text, name });
  }

  private takeAccepted(agent: Agent, leaf: Leaf, accepted: Accepted, name: string, where: Place): void {
    if (accepted.hole) {
      // Leaves that did not hold stand in the place of the first missing batches.
      let { from } = accepted.hole;
      const { epoch, to } = accepted.hole;
      for (; this.named < this.badLeaves.length && from <= to; ++from) {
        this.badLeaves[this.named++]!.name = batchName(agent.name, epoch, from);
      }
      if (from <= to) agent.holes.push({ hole: { epoch, from, to }, where });
    }
    if (accepted.opened) this.openEpoch(agent, leaf, accepted, name, where);
    if (leaf.unknownFields) this.add(Kind.note, 'signed fields that this version does not know', name, where);
  }

  private openEpoch(agent: Agent, leaf: Leaf, accepted: Accepted, name: string, where: Place): void {
    this.finishEpoch(agent, accepted.before?.losses, name);
    const { before } = accepted;
    if (before === undefined) return;
    if (accepted.historyUnknown) {
      this.add(Kind.gap, `epoch ${leaf.epoch} begins without knowledge of epoch ${before.epoch}: the spool was lost`, name, where);
    } else if (accepted.rolledBack) {
      this.add(Kind.gap, `epoch ${leaf.epoch} begins from an older state of the spool than the log has`, name, where);
    }
    if (accepted.unclean) {
      const text = `epoch ${leaf.epoch} follows without clean shutdown, and no agent.gap tells what was missed`;
      agent.restart = { kind: Kind.gap, text, batch: name, index: where.index, file: where.file };
    }
  }

  // What the counters of an epoch say without an event saying it.
  private finishEpoch(agent: Agent, losses: bigint[] | undefined, name: string): void {
    if (agent.restart) {
      const { kind, text, batch, index, file } = agent.restart;
      this.add(kind, text, batch, index === undefined ? undefined : { index, file: file ?? '', offset: 0 });
      agent.restart = undefined;
    }
    const [ring, map, decode, , batches, events, probe] = losses ?? [];
    const lost = (ring ?? 0n) + (map ?? 0n) + (decode ?? 0n) + (events ?? 0n) + (probe ?? 0n);
    if (!agent.lossTold && (lost > 0n || (batches ?? 0n) > 0n)) {
      this.add(Kind.declaredLoss, `the epoch's counters tell of ${lost} lost events`, name);
    }
    agent.lossTold = false;
  }

  private takeBody(agent: Agent, leaf: Leaf, name: string, where: Place): void {
    let declarations: Declaration[];
    try {
      declarations = openBody(this.crypto, this.dir.body(leaf.bodySha256), leaf);
    } catch (error) {
      if (error instanceof OperationalError) throw error;
      this.add(Kind.tamper, (error as Error).message, name, where, TrailDir.bodyFile(leaf.bodySha256));
      return;
    }
    this.bodies += 1;
    for (const declared of declarations) this.takeDeclaration(agent, leaf, declared, name, where);
  }

  private takeDeclaration(agent: Agent, leaf: Leaf, declared: Declaration, name: string, where: Place): void {
    if (declared.gap) {
      agent.restart = undefined;
      // After an orderly stop nobody is surprised that nothing was seen.
      if (declared.clean) {
        this.add(Kind.note, 'the agent was stopped in order, and started again', name, where);
      } else {
        const last = batchName(leaf.agent, declared.lastEpoch, declared.lastBatchSeq);
        this.add(Kind.declaredLoss, `the agent declares that it did not observe the node after ${last}`, name, where);
      }
      return;
    }
    agent.lossTold = true;
    if (declared.stage === 'spool') {
      const hole = { epoch: declared.lastEpoch, from: declared.seqFrom, to: declared.seqTo };
      agent.spoolLosses.push({ declaredIn: leaf.epoch, hole });
    }
    this.add(Kind.declaredLoss, `the agent declares ${declared.count} lost events (stage ${declared.stage})`, name, where);
  }

  private finishRoot(): void {
    const leaves = this.tree.size;
    const add = (kind: Kind, text: string) => this.add(kind, text, undefined, undefined, checkpointFile);
    if (this.checkpoint === undefined) {
      if (this.checkpointPresent) return;
      const wanted = this.options.logKey !== undefined && leaves > 0;
      add(wanted ? Kind.tamper : Kind.note, 'there is no checkpoint');
      return;
    }
    if (leaves < this.checkpoint.size) {
      this.rootBroken = true;
      add(Kind.tamper, `the log holds ${leaves} leaves, its checkpoint says ${this.checkpoint.size}`);
    } else if (!this.rootAgrees) {
      this.rootBroken = true;
      add(Kind.tamper, `the root over the first ${this.checkpoint.size} leaves is not the checkpoint's`);
    }
    if (this.older !== undefined && leaves < this.older.size) {
      this.add(Kind.tamper, `the log holds ${leaves} leaves, the checkpoint you hold says ${this.older.size}`);
    }
  }

  private finishAgent(agent: Agent): void {
    const head = agent.chain.head!;
    this.finishEpoch(agent, head.losses, batchName(agent.name, head.epoch, head.seq));
    for (const { hole, where } of agent.holes) {
      const name = batchName(agent.name, hole.epoch, hole.from);
      const range = `batches ${name} to ${hole.to}`;
      // Only a later epoch may say so: its opening vouches for the batches after the hole.
      const declared = agent.spoolLosses.some(
        (loss) =>
          loss.declaredIn > hole.epoch &&
          loss.hole.epoch === hole.epoch &&
          loss.hole.from <= hole.from &&
          loss.hole.to >= hole.to,
      );
      if (this.rootBroken) this.add(Kind.tamper, `${range} missing, and the root does not agree: removed`, name, where);
      else if (declared) this.add(Kind.declaredLoss, `${range} never arrived; the agent says its spool lost them`, name, where);
      else this.add(Kind.gap, `${range} never arrived, and nobody says why`, name, where);
    }
  }

  private conclude(): Report {
    // Bad leaves after which nothing came: with one agent they can only be its next.
    const [one, ...others] = this.agents.values();
    const next = others.length === 0 ? one?.chain.expected() : undefined;
    if (next) {
      let { seq } = next;
      while (this.named < this.badLeaves.length) {
        this.badLeaves[this.named++]!.name = batchName(one!.name, next.epoch, seq++);
      }
    }
    for (const bad of this.badLeaves) this.add(Kind.tamper, bad.text, bad.name, bad.where);
    // By place in the log; what has none comes last.
    this.findings.sort((a, b) => {
      const [x, y] = [a.index ?? Infinity, b.index ?? Infinity];
      return x === y ? 0 : x < y ? -1 : 1;
    });
    const worst = this.findings.filter((finding) => finding.kind === this.worst);
    const bad = worst.find((finding) => finding.batch !== undefined) ?? worst[0];
    return {
      verdict: this.worst,
      firstBad: this.worst >= Kind.gap ? bad : undefined,
      findings: this.findings,
      findingsDropped: this.dropped,
      leaves: this.tree.size,
      bodies: this.bodies,
      events: this.events,
      agents: this.agents.size,
      checkpoint: {
        present: this.checkpointPresent,
        trusted: this.options.logKey !== undefined && this.rootAgrees && !this.rootBroken,
        size: this.checkpoint?.size ?? 0,
        root: this.checkpoint ? hex(this.checkpoint.root) : '',
      },
    };
  }
}

// Throws OperationalError if the directory can't be judged.
export function verifyTrail(crypto: Crypto, dir: string, options: Options): Promise<Report> {
  return new Verification(crypto, new TrailDir(dir), options).run();
}

// SPDX-License-Identifier: Apache-2.0
//
// Sections 4 and 5: the chains of all agents, their holes, and what they declare.
import type { Declaration } from './body.js';
import { type Scope, spanInScope } from './bundle.js';
import { type Accepted, Chain, type Head, type Hole } from './chain.js';
import type { Crypto } from './crypto.js';
import type { Enrolments } from './enrolment.js';
import { type Findings, Kind } from './findings.js';
import type { Certificate } from './identity.js';
import type { Leaf } from './leaf.js';
import { refusal } from './refusal.js';
import type { Place } from './trail.js';

export interface Agent {
  key: string; // tenant/agent
  name: string;
  chain: Chain;
  holes: { hole: Hole; where: Place; counts: boolean }[];
  spoolLosses: { declaredIn: bigint; hole: Hole }[];
  // Unclean, and no agent.gap has told of it yet.
  restart: { text: string; batch: string; where: Place; counts: boolean } | undefined;
  lossTold: boolean; // an agent.loss in this epoch
}

interface Damaged {
  where: Place;
  text: string;
  name: string | undefined; // what it says it is, or what the chain lacks
}

export function batchName(agent: string, epoch: bigint, seq: bigint): string {
  return `${agent}:${epoch}:${seq}`;
}

export class Agents {
  private readonly agents = new Map<string, Agent>();
  private readonly damaged: Damaged[] = [];
  private named = 0; // damaged leaves that a hole gave their name

  constructor(
    private readonly crypto: Crypto,
    private readonly authorities: Certificate[],
    private readonly enrolments: Enrolments,
    private readonly findings: Findings,
    private readonly scope: Scope | undefined,
  ) {}

  get count(): number {
    return this.agents.size;
  }

  addDamaged(where: Place, text: string, name: string | undefined): void {
    this.damaged.push({ where, text, name });
  }

  // Undefined if the leaf, whose signature holds, does not hold in its chain: that is said.
  async take(leaf: Leaf, name: string, where: Place): Promise<Agent | undefined> {
    const key = `${leaf.tenant}/${leaf.agent}`;
    const agent = this.agents.get(key) ?? {
      key,
      name: leaf.agent,
      chain: new Chain(this.crypto, this.authorities),
      holes: [],
      spoolLosses: [],
      restart: undefined,
      lossTold: false,
    };
    let accepted: Accepted;
    try {
      accepted = await agent.chain.take(leaf, this.enrolments);
    } catch (error) {
      this.findings.tamper(refusal(error, 'link'), name, where);
      return undefined;
    }
    // A leaf that is not what it says must not open an account for an agent.
    this.agents.set(key, agent);
    // In a bundle, what happened outside its scope is only told.
    const counts = spanInScope(this.scope, agent.name, accepted.before?.sealedWallNs ?? 0n, leaf.sealedWallNs);
    if (accepted.hole) this.takeHole(agent, accepted.hole, where, counts);
    if (accepted.opened) this.openEpoch(agent, leaf, accepted, name, where, counts);
    return agent;
  }

  // Leaves that did not hold stand in the place of the first missing batches.
  private takeHole(agent: Agent, hole: Hole, where: Place, counts: boolean): void {
    let { from } = hole;
    const { epoch, to } = hole;
    for (; this.named < this.damaged.length && from <= to; ++from) {
      this.damaged[this.named++]!.name = batchName(agent.name, epoch, from);
    }
    if (from <= to) agent.holes.push({ hole: { epoch, from, to }, where, counts });
  }

  private openEpoch(agent: Agent, leaf: Leaf, accepted: Accepted, name: string, where: Place, counts: boolean): void {
    this.finishEpoch(agent, accepted.before, name);
    const { before } = accepted;
    if (before === undefined) return;
    const gap = (text: string) => this.findings.add(counts ? Kind.gap : Kind.note, 'restart', text, name, where);
    if (accepted.historyUnknown) gap(`epoch ${leaf.epoch} begins without knowledge of epoch ${before.epoch}: the spool was lost`);
    else if (accepted.rolledBack) gap(`epoch ${leaf.epoch} begins from an older state of the spool than the log has`);
    if (accepted.unclean) {
      const text = `epoch ${leaf.epoch} follows without clean shutdown, and no agent.gap tells what was missed`;
      agent.restart = { text, batch: name, where, counts };
    }
  }

  // What the counters of an epoch say without an event saying it.
  private finishEpoch(agent: Agent, head: Head | undefined, name: string): void {
    if (agent.restart) {
      const { text, batch, where, counts } = agent.restart;
      this.findings.add(counts ? Kind.gap : Kind.note, 'restart', text, batch, where);
      agent.restart = undefined;
    }
    const [ring, map, decode, , batches, events, probe] = head?.losses ?? [];
    const lost = (ring ?? 0n) + (map ?? 0n) + (decode ?? 0n) + (events ?? 0n) + (probe ?? 0n);
    if (head && !agent.lossTold && (lost > 0n || (batches ?? 0n) > 0n)) {
      const counts = spanInScope(this.scope, agent.name, head.openedWallNs, head.sealedWallNs);
      this.findings.add(counts ? Kind.declaredLoss : Kind.note, 'loss', `the epoch's counters tell of ${lost} lost events`, name);
    }
    agent.lossTold = false;
  }

  takeDeclaration(agent: Agent, leaf: Leaf, declared: Declaration, name: string, where: Place): void {
    const { findings } = this;
    if (declared.gap) {
      agent.restart = undefined;
      // After an orderly stop nobody is surprised that nothing was seen.
      if (declared.clean) {
        findings.add(Kind.note, 'note', 'the agent was stopped in order, and started again', name, where);
      } else {
        const last = batchName(leaf.agent, declared.lastEpoch, declared.lastBatchSeq);
        const text = `the agent declares that it did not observe the node after ${last}`;
        findings.add(Kind.declaredLoss, 'loss', text, name, where);
      }
      return;
    }
    agent.lossTold = true;
    if (declared.stage === 'spool' && !declared.bodyOnly) {
      const hole = { epoch: declared.lastEpoch, from: declared.seqFrom, to: declared.seqTo };
      agent.spoolLosses.push({ declaredIn: leaf.epoch, hole });
    }
    const text = `the agent declares ${declared.count} lost events (stage ${declared.stage})`;
    findings.add(Kind.declaredLoss, 'loss', text, name, where);
  }

  // At the end of the log.
  finish(rootBroken: boolean): void {
    for (const key of [...this.agents.keys()].sort()) this.finishAgent(this.agents.get(key)!, rootBroken);
    // Damaged leaves after which nothing came: with one agent they can only be its next.
    const [one, ...others] = this.agents.values();
    const next = others.length === 0 ? one?.chain.expected() : undefined;
    if (next) {
      let { seq } = next;
      while (this.named < this.damaged.length) {
        this.damaged[this.named++]!.name = batchName(one!.name, next.epoch, seq++);
      }
    }
    for (const { text, name, where } of this.damaged) this.findings.add(Kind.tamper, 'damaged-leaf', text, name, where);
    for (const { key, name } of this.agents.values()) {
      if (!this.enrolments.isEnrolled(key)) this.findings.add(Kind.note, 'note', `${name} was never enrolled in this log`);
    }
  }

  private finishAgent(agent: Agent, rootBroken: boolean): void {
    const head = agent.chain.head!;
    this.finishEpoch(agent, head, batchName(agent.name, head.epoch, head.seq));
    for (const { hole, where, counts } of agent.holes) {
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
      const add = (kind: Kind, text: string) => this.findings.add(counts ? kind : Kind.note, 'hole', `${range} ${text}`, name, where);
      if (rootBroken) add(Kind.tamper, 'missing, and the root does not agree: removed');
      else if (declared) add(Kind.declaredLoss, 'never arrived; the agent says its spool lost them');
      else add(Kind.gap, 'never arrived, and nobody says why');
    }
  }
}

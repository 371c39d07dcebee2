// SPDX-License-Identifier: Apache-2.0
//
// Sections 4 and 5: the chains of all agents, their holes, and what they declare.
import type { Declaration } from './body.js';
import { type Scope, spanInScope } from './bundle.js';
import { type Accepted, Chain, type Head, type Hole } from './chain.js';
import { type Broken, type Coverage, type TimeRules, Timeline } from './coverage.js';
import type { Crypto } from './crypto.js';
import type { Enrolments } from './enrolment.js';
import { type Findings, Kind } from './findings.js';
import type { Certificate } from './identity.js';
import type { Leaf } from './leaf.js';
import { refusal } from './refusal.js';
import type { Place } from './trail.js';

export interface Agent {
  key: string; // tenant/agent
  tenant: string;
  name: string;
  chain: Chain;
  batches: number;
  events: bigint;
  holes: { hole: Hole; where: Place; counts: boolean; broken: Broken | undefined }[];
  spoolLosses: { declaredIn: bigint; hole: Hole }[];
  // Unclean, and no agent.gap has told of it yet.
  restart: { text: string; batch: string; where: Place; counts: boolean } | undefined;
  lossTold: boolean; // an agent.loss in this epoch
  timeline: Timeline;
  restarted: Broken | undefined; // the time of that restart, until it is told of
}

// Only a later epoch may say so: its opening vouches for the batches after the hole.
// Several statements may cover a hole together.
function isDeclared(hole: Hole, losses: Agent['spoolLosses']): boolean {
  const told = losses
    .filter((loss) => loss.declaredIn > hole.epoch && loss.hole.epoch === hole.epoch)
    .map((loss) => loss.hole)
    .sort((a, b) => (a.from < b.from ? -1 : a.from > b.from ? 1 : 0));
  let missing = hole.from;
  for (const { from, to } of told) {
    if (from <= missing && to >= missing) missing = to + 1n;
  }
  return missing > hole.to;
}

export interface AgentReport {
  tenant: string;
  name: string;
  batches: number;
  events: bigint;
  holes: Hole[];
  coverage: Coverage;
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
    private readonly heartbeatNs: bigint,
  ) {}

  addDamaged(where: Place, text: string, name: string | undefined): void {
    this.damaged.push({ where, text, name });
  }

  // Undefined if the leaf, whose signature holds, does not hold in its chain: that is said.
  async take(leaf: Leaf, name: string, where: Place): Promise<Agent | undefined> {
    const key = `${leaf.tenant}/${leaf.agent}`;
    const agent = this.agents.get(key) ?? {
      key,
      tenant: leaf.tenant,
      name: leaf.agent,
      chain: new Chain(this.crypto, this.authorities),
      batches: 0,
      events: 0n,
      holes: [],
      spoolLosses: [],
      restart: undefined,
      lossTold: false,
      timeline: new Timeline(this.timeRules()),
      restarted: undefined,
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
    agent.batches += 1;
    agent.events += leaf.eventCount;
    // Also without its opening, which is a hole then: what an epoch says is of that epoch.
    if (accepted.opened || accepted.before?.epoch !== leaf.epoch) this.finishEpoch(agent, accepted.before, name);
    const broken = this.takeTime(agent, leaf, accepted);
    if (accepted.hole) this.takeHole(agent, accepted.hole, where, counts, broken);
    if (accepted.opened) this.openEpoch(agent, leaf, accepted, name, where, counts);
    return agent;
  }

  private timeRules(): TimeRules {
    return { silence: 2n * this.heartbeatNs, since: this.scope?.since ?? 0n, until: this.scope?.until };
  }

  // A hole that damaged leaves fill is one that nobody declares; so is a spool that was lost or went back.
  private takeTime(agent: Agent, leaf: Leaf, accepted: Accepted): Broken | undefined {
    const restart = accepted.opened && accepted.before !== undefined && accepted.unclean;
    if (!accepted.hole && !restart) {
      agent.timeline.batch(leaf.sealedWallNs, accepted.opened ? 'stopped' : 'next');
      return undefined;
    }
    const causes = [accepted.hole !== undefined, restart, accepted.historyUnknown || accepted.rolledBack];
    const broken = agent.timeline.batch(leaf.sealedWallNs, { causes: causes.filter((cause) => cause).length });
    if (restart) agent.restarted = broken;
    return broken;
  }

  // Leaves that did not hold stand in the place of the first missing batches.
  private takeHole(agent: Agent, hole: Hole, where: Place, counts: boolean, broken: Broken | undefined): void {
    let { from } = hole;
    const { epoch, to } = hole;
    for (; this.named < this.damaged.length && from <= to; ++from) {
      this.damaged[this.named++]!.name = batchName(agent.name, epoch, from);
    }
    if (from <= to) agent.holes.push({ hole: { epoch, from, to }, where, counts, broken });
  }

  private openEpoch(agent: Agent, leaf: Leaf, accepted: Accepted, name: string, where: Place, counts: boolean): void {
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
    agent.restarted = undefined;
  }

  takeDeclaration(agent: Agent, leaf: Leaf, declared: Declaration, name: string, where: Place): void {
    const { findings } = this;
    if (declared.gap) {
      agent.restart = undefined;
      Timeline.explain(agent.restarted);
      agent.restarted = undefined;
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
    agent.timeline.declare(declared.fromWallNs, declared.toWallNs);
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

  // After finish(): what the log tells of each agent, by tenant and name.
  reports(): AgentReport[] {
    const all = [...this.agents.values()];
    const latest = all.reduce((end, { timeline }) => (timeline.end > end ? timeline.end : end), 0n);
    const end = this.scope?.until ?? latest;
    const order = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0);
    return all
      .sort((a, b) => order(a.tenant, b.tenant) || order(a.name, b.name))
      .map(({ tenant, name, batches, events, holes, timeline, chain }) => {
        const told = this.scope?.agents === undefined || this.scope.agents.has(name);
        return {
          tenant,
          name,
          batches,
          events,
          holes: holes.map(({ hole }) => hole),
          coverage: told ? timeline.finish(end, chain.head!.clean) : { intervals: [], dropped: 0, sums: new Map() },
        };
      });
  }

  private finishAgent(agent: Agent, rootBroken: boolean): void {
    const head = agent.chain.head!;
    this.finishEpoch(agent, head, batchName(agent.name, head.epoch, head.seq));
    for (const { hole, where, counts, broken } of agent.holes) {
      const name = batchName(agent.name, hole.epoch, hole.from);
      const range = `batches ${name} to ${hole.to}`;
      const declared = isDeclared(hole, agent.spoolLosses);
      const add = (kind: Kind, text: string) => this.findings.add(counts ? kind : Kind.note, 'hole', `${range} ${text}`, name, where);
      if (rootBroken) add(Kind.tamper, 'missing, and the root does not agree: removed');
      else if (declared) {
        Timeline.explain(broken);
        add(Kind.declaredLoss, 'never arrived; the agent says its spool lost them');
      } else add(Kind.gap, 'never arrived, and nobody says why');
    }
  }
}

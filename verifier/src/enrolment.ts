// SPDX-License-Identifier: Apache-2.0
//
// Section 4: what the log's own entries say about each agent, up to where the log was read.
import { equal, hex } from './bytes.js';
import type { Enrol, LogEntry, Revoke } from './entry.js';
import { type Leaf, SigAlg } from './leaf.js';
import { Refusal } from './refusal.js';

interface State {
  newest: Enrol | undefined;
  revoked: Revocation | undefined;
  reported: boolean;
}

interface Revocation {
  from: Revoke; // the lowest position of all Revokes
  keyBefore: Uint8Array | undefined; // of the newest Enrol before the newest Revoke
  enrolledSince: boolean;
}

function isAtOrAfter(a: { epoch: bigint; seq: bigint }, b: { epoch: bigint; seq: bigint }): boolean {
  return a.epoch > b.epoch || (a.epoch === b.epoch && a.seq >= b.seq);
}

export class Enrolments {
  private readonly agents = new Map<string, State>(); // by tenant/agent
  private tenant: string | undefined;

  constructor(private readonly required: boolean) {}

  // Throws a Refusal.
  take(entry: LogEntry): void {
    this.tenant ??= entry.tenant;
    if (entry.tenant !== this.tenant) {
      throw new Refusal('tenant', `entry of tenant ${entry.tenant} in the log of ${this.tenant}`);
    }
    const agent = (entry.enrol ?? entry.revoke)?.agent;
    if (agent === undefined) return; // it says nothing of agents
    const key = `${entry.tenant}/${agent}`;
    const state = this.agents.get(key) ?? { newest: undefined, revoked: undefined, reported: false };
    this.agents.set(key, state);
    if (entry.enrol) {
      if (state.revoked) state.revoked.enrolledSince = true;
      state.newest = entry.enrol;
    }
    if (entry.revoke) {
      const before = state.revoked?.from;
      const from = before && !isAtOrAfter(before, entry.revoke) ? before : entry.revoke;
      state.revoked = { from, keyBefore: state.newest?.identity, enrolledSince: false };
    }
  }

  // May this batch, which holds otherwise, stand here? `identity` is what its
  // opening proved. Throws a Refusal.
  judge(leaf: Leaf, identity: Uint8Array | undefined): void {
    const state = this.agents.get(`${leaf.tenant}/${leaf.agent}`);
    if (identity !== undefined) this.judgeOpening(leaf, identity, state?.newest);
    if (state === undefined) return;
    const { revoked } = state;
    if (revoked) {
      const { from, keyBefore, enrolledSince } = revoked;
      const another = enrolledSince && !(keyBefore && equal(keyBefore, state.newest!.identity));
      if (identity !== undefined && another) state.revoked = undefined;
      else if (isAtOrAfter(leaf, from)) {
        throw new Refusal('revoked', `${leaf.agent} was revoked from ${from.epoch}:${from.seq} on (${from.why})`);
      }
    }
    state.reported = true;
  }

  private judgeOpening(leaf: Leaf, identity: Uint8Array, enrol: Enrol | undefined): void {
    if (enrol === undefined) {
      if (this.required) throw new Refusal('enrolment', `${leaf.agent} was never enrolled`);
    } else if (!equal(enrol.identity, identity)) {
      throw new Refusal('enrolment', `opened with the key ${hex(identity).substring(0, 16)}…, which is not the one enrolled`);
    } else if (!(enrol.sigAlgs.length === 0 ? [SigAlg.ed25519 as number] : enrol.sigAlgs).includes(leaf.sigAlg)) {
      throw new Refusal('enrolment', `signature algorithm ${leaf.sigAlg as number} was not enrolled`);
    }
  }

  isEnrolled(key: string): boolean {
    return this.agents.get(key)?.newest !== undefined;
  }

  neverReported(): string[] {
    return [...this.agents].filter(([, s]) => s.newest !== undefined && !s.reported).map(([key]) => key.substring(key.indexOf('/') + 1)).sort();
  }
}

// SPDX-License-Identifier: Apache-2.0
//
// Section 4: what the log's own entries say about each agent, up to where the log was read.
import { equal, hex } from './bytes.js';
import type { Enrol, LogEntry, Revoke } from './entry.js';
import { type Leaf, SigAlg } from './leaf.js';
import { Refusal } from './refusal.js';

interface State {
  tenant: string;
  newest: Enrol | undefined;
  revoked: Revoke | undefined; // the earliest position
  reported: boolean;
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
    const agent = (entry.enrol ?? entry.revoke)!.agent;
    const key = `${entry.tenant}/${agent}`;
    const state = this.agents.get(key) ?? { tenant: entry.tenant, newest: undefined, revoked: undefined, reported: false };
    this.agents.set(key, state);
    if (entry.enrol) {
      if (state.newest === undefined || !equal(state.newest.identity, entry.enrol.identity)) state.revoked = undefined;
      state.newest = entry.enrol;
    }
    if (entry.revoke) {
      const { revoked } = state;
      const earlier = revoked && (revoked.epoch < entry.revoke.epoch || (revoked.epoch === entry.revoke.epoch && revoked.seq <= entry.revoke.seq));
      if (!earlier) state.revoked = entry.revoke;
    }
  }

  // May this batch stand here? `identity` is what its opening proved. Throws a Refusal.
  judge(leaf: Leaf, identity: Uint8Array | undefined): void {
    const state = this.agents.get(`${leaf.tenant}/${leaf.agent}`);
    if (state) state.reported = true;
    if (identity !== undefined) {
      const enrol = state?.newest;
      if (enrol === undefined) {
        if (this.required) throw new Refusal('enrolment', `${leaf.agent} was never enrolled`);
      } else if (!equal(enrol.identity, identity)) {
        throw new Refusal('enrolment', `opened with the key ${hex(identity).substring(0, 16)}…, which is not the one enrolled`);
      } else if (!(enrol.sigAlgs.length === 0 ? [SigAlg.ed25519 as number] : enrol.sigAlgs).includes(leaf.sigAlg)) {
        throw new Refusal('enrolment', `signature algorithm ${leaf.sigAlg as number} was not enrolled`);
      }
    }
    const revoked = state?.revoked;
    if (revoked && (leaf.epoch > revoked.epoch || (leaf.epoch === revoked.epoch && leaf.seq >= revoked.seq))) {
      throw new Refusal('revoked', `${leaf.agent} was revoked from ${revoked.epoch}:${revoked.seq} on (${revoked.why})`);
    }
  }

  isEnrolled(key: string): boolean {
    return this.agents.get(key)?.newest !== undefined;
  }

  neverReported(): string[] {
    return [...this.agents].filter(([, s]) => s.newest !== undefined && !s.reported).map(([key]) => key.substring(key.indexOf('/') + 1)).sort();
  }
}

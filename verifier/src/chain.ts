// SPDX-License-Identifier: Apache-2.0
//
// Section 4: is a leaf the next of its agent's chain?
import { equal, hex } from './bytes.js';
import { type Crypto, pae } from './crypto.js';
import { type Certificate, checkIdentity } from './identity.js';
import { BatchType, type Leaf, type SigAlg, type Statement } from './leaf.js';
import type { Enrolments } from './enrolment.js';
import { Refusal, refusal } from './refusal.js';

const epochPayloadType = 'application/vnd.nodetrail.epoch-open.v1';
// Duplicates and equivocations are told apart this far back in an epoch.
const remembered = 1 << 16;

// Batches [from, to] of an epoch that the log lacks.
export interface Hole {
  epoch: bigint;
  from: bigint;
  to: bigint;
}

export interface Head {
  epoch: bigint;
  seq: bigint;
  hash: Uint8Array;
  nextKey: Uint8Array;
  clean: boolean;
  bootId: string;
  lastEventSeq: bigint;
  losses: bigint[];
  sigAlg: SigAlg;
  sealedWallNs: bigint;
  openedWallNs: bigint; // of the first batch of the epoch
}

export interface Accepted {
  opened: boolean;
  before: Head | undefined;
  hole: Hole | undefined;
  unclean: boolean;
  historyUnknown: boolean;
  rolledBack: boolean;
}

export class Chain {
  head: Head | undefined;
  private hashes = new Map<bigint, string>(); // of head.epoch, by seq

  constructor(
    private readonly crypto: Crypto,
    private readonly authorities: Certificate[],
  ) {}

  // Takes the leaf, whose signature holds, or throws a Refusal; nothing has changed then.
  async take(leaf: Leaf, enrolments: Enrolments): Promise<Accepted> {
    const accepted: Accepted = {
      opened: leaf.seq === 0n,
      before: this.head,
      hole: undefined,
      unclean: false,
      historyUnknown: false,
      rolledBack: false,
    };
    this.refusePast(leaf);
    let identity: Uint8Array | undefined;
    if (accepted.opened) identity = await this.opening(leaf, accepted);
    else this.link(leaf, accepted);
    this.counters(leaf, accepted.hole !== undefined);
    enrolments.judge(leaf, identity);
    this.advance(leaf);
    return accepted;
  }

  // seq of the batch that the chain would take next within its epoch.
  expected(): { epoch: bigint; seq: bigint } | undefined {
    return this.head && !this.head.clean ? { epoch: this.head.epoch, seq: this.head.seq + 1n } : undefined;
  }

  private hashAt(epoch: bigint, seq: bigint): string | undefined {
    return epoch === this.head?.epoch ? this.hashes.get(seq) : undefined;
  }

  private refusePast(leaf: Leaf): void {
    const head = this.head;
    if (!head || leaf.epoch > head.epoch || (leaf.epoch === head.epoch && leaf.seq > head.seq)) return;
    const known = this.hashAt(leaf.epoch, leaf.seq);
    if (known === undefined) throw new Refusal('past', `position ${leaf.epoch}:${leaf.seq} is past`);
    if (known === hex(leaf.batchHash)) throw new Refusal('duplicate', 'this batch is in the log already');
    throw new Refusal('equivocation', `equivocation: two signed batches for ${leaf.epoch}:${leaf.seq}`);
  }

  private link(leaf: Leaf, accepted: Accepted): void {
    const refuse = (condition: boolean, why: string) => {
      if (condition) throw new Refusal('link', why);
    };
    const head = this.head;
    if (!head || leaf.epoch !== head.epoch) {
      accepted.hole = { epoch: leaf.epoch, from: 0n, to: leaf.seq - 1n };
      return;
    }
    if (leaf.sigAlg !== head.sigAlg) throw new Refusal('algorithm', 'the signature algorithm changes within an epoch');
    refuse(head.clean, `epoch ${head.epoch} ended with its clean shutdown`);
    if (leaf.seq !== head.seq + 1n) {
      accepted.hole = { epoch: leaf.epoch, from: head.seq + 1n, to: leaf.seq - 1n };
      return;
    }
    refuse(!equal(leaf.prevHash, head.hash), `prev_hash is not the hash of ${head.epoch}:${head.seq}`);
    refuse(leaf.bootId !== head.bootId, 'the boot changes within an epoch');
    refuse(!equal(leaf.signerKey, head.nextKey), 'signer_key is not the next_key before');
  }

  // SHA-256 of the key that opened the epoch.
  private async opening(leaf: Leaf, accepted: Accepted): Promise<Uint8Array> {
    const head = this.head;
    const s = leaf.open!.statement;
    try {
      const identity = await this.statement(leaf);
      this.place(s, head, accepted);
      return this.crypto.sha256(identity.spki);
    } catch (error) {
      throw refusal(error, 'opening');
    }
  }

  private place(s: Statement, head: Head | undefined, accepted: Accepted): void {
    if (!s.prevKnown) {
      accepted.historyUnknown = accepted.unclean = head !== undefined;
      return;
    }
    accepted.unclean = !s.prevClean;
    if (!head || s.prevEpoch > head.epoch) {
      accepted.hole = { epoch: s.prevEpoch, from: 0n, to: s.prevLastSeq };
      return;
    }
    if (s.prevEpoch === head.epoch && s.prevLastSeq > head.seq) {
      accepted.hole = { epoch: head.epoch, from: head.seq + 1n, to: s.prevLastSeq };
      return;
    }
    const known = this.hashAt(s.prevEpoch, s.prevLastSeq);
    if (known !== undefined && known !== hex(s.prevLastHash)) {
      throw new Error(`the agent holds another batch ${s.prevEpoch}:${s.prevLastSeq} than the log`);
    }
    if (s.prevEpoch === head.epoch && s.prevLastSeq === head.seq) {
      if (s.prevClean !== head.clean) throw new Error('epoch statement: prev_clean contradicts the last batch');
      return;
    }
    accepted.rolledBack = accepted.unclean = true;
  }

  private async statement(leaf: Leaf): Promise<Certificate> {
    const refuse = (condition: boolean, why: string) => {
      if (condition) throw new Error(`epoch statement: ${why}`);
    };
    const open = leaf.open!;
    const identity = await checkIdentity(this.crypto, leaf, open.identityCert, open.intermediates, this.authorities);
    const signed = pae(epochPayloadType, open.statementBytes);
    refuse(!(await this.crypto.spki(identity.spki, 'sha256', signed, open.signature)), 'wrong signature');
    const s = open.statement;
    refuse(s.tenant !== leaf.tenant || s.agent !== leaf.agent, 'of another agent');
    refuse(s.epoch !== leaf.epoch, 'of another epoch');
    refuse(!equal(s.firstKey, leaf.signerKey), 'first_key is not the signer_key');
    refuse(s.bootId !== leaf.bootId, 'of another boot');
    if (s.prevKnown) {
      refuse(s.prevEpoch === 0n || s.prevEpoch >= s.epoch, 'bad previous epoch');
      refuse(!equal(s.prevLastHash, leaf.prevHash), "prev_last_hash is not the header's prev_hash");
    } else {
      const tells = s.prevEpoch !== 0n || s.prevLastSeq !== 0n || s.prevLastHash.length !== 0 || s.prevClean;
      refuse(tells || leaf.prevHash.some((byte) => byte !== 0), 'tells of an epoch that it says it does not know');
    }
    refuse(leaf.firstEventSeq !== 1n, 'the events of an epoch begin at number 1');
    return identity;
  }

  private counters(leaf: Leaf, afterHole: boolean): void {
    const head = this.head;
    if (!head || leaf.epoch !== head.epoch) return;
    if (leaf.losses.some((value, i) => value < head.losses[i]!)) throw new Refusal('counters', 'a loss counter went down');
    const next = head.lastEventSeq + 1n;
    if (afterHole ? leaf.firstEventSeq < next : leaf.firstEventSeq !== next) {
      throw new Refusal('counters', `events begin at number ${leaf.firstEventSeq}, expected ${next}`);
    }
  }

  private advance(leaf: Leaf): void {
    const head = this.head;
    if (!head || leaf.epoch !== head.epoch || leaf.seq !== head.seq + 1n) this.hashes.clear();
    this.hashes.set(leaf.seq, hex(leaf.batchHash));
    this.hashes.delete(leaf.seq - BigInt(remembered));
    this.head = {
      epoch: leaf.epoch,
      seq: leaf.seq,
      hash: leaf.batchHash,
      nextKey: leaf.nextKey,
      clean: leaf.type === BatchType.cleanShutdown,
      bootId: leaf.bootId,
      lastEventSeq: leaf.lastEventSeq,
      losses: leaf.losses,
      sigAlg: leaf.sigAlg,
      sealedWallNs: leaf.sealedWallNs,
      openedWallNs: head?.epoch === leaf.epoch ? head.openedWallNs : leaf.sealedWallNs,
    };
  }
}

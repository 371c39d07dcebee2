// SPDX-License-Identifier: Apache-2.0
//
// Section 4: is a leaf the next of its agent's chain?
import { equal, hex } from './bytes.js';
import { type Crypto, pae } from './crypto.js';
import { Certificate, agentOf, chainsTo, maxIntermediates } from './identity.js';
import { BatchType, type Leaf, sigAlgEd25519, verifyLeaf } from './leaf.js';

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

  // Takes the leaf, or throws why it does not hold; nothing has changed then.
  async take(leaf: Leaf): Promise<Accepted> {
    const accepted: Accepted = {
      opened: leaf.seq === 0n,
      before: this.head,
      hole: undefined,
      unclean: false,
      historyUnknown: false,
      rolledBack: false,
    };
    if (leaf.sigAlg !== sigAlgEd25519) throw new Error(`signature algorithm ${leaf.sigAlg}`);
    await this.refusePast(leaf);
    if (accepted.opened) await this.opening(leaf, accepted);
    else this.link(leaf, accepted);
    if (!(await verifyLeaf(this.crypto, leaf))) throw new Error('the signature does not belong to header and signer_key');
    this.counters(leaf, accepted.hole !== undefined);
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

  private async refusePast(leaf: Leaf): Promise<void> {
    const head = this.head;
    if (!head || leaf.epoch > head.epoch || (leaf.epoch === head.epoch && leaf.seq > head.seq)) return;
    const known = this.hashAt(leaf.epoch, leaf.seq);
    if (known === undefined) throw new Error(`position ${leaf.epoch}:${leaf.seq} is past`);
    if (known === hex(leaf.batchHash)) throw new Error('this batch is in the log already');
    if (!(await verifyLeaf(this.crypto, leaf))) throw new Error('another batch for a past position, wrongly signed');
    throw new Error(`equivocation: two signed batches for ${leaf.epoch}:${leaf.seq}`);
  }

  private link(leaf: Leaf, accepted: Accepted): void {
    const head = this.head;
    if (!head || leaf.epoch !== head.epoch) {
      accepted.hole = { epoch: leaf.epoch, from: 0n, to: leaf.seq - 1n };
      return;
    }
    if (head.clean) throw new Error(`epoch ${head.epoch} ended with its clean shutdown`);
    if (leaf.seq !== head.seq + 1n) {
      accepted.hole = { epoch: leaf.epoch, from: head.seq + 1n, to: leaf.seq - 1n };
      return;
    }
    if (!equal(leaf.prevHash, head.hash)) throw new Error(`prev_hash is not the hash of ${head.epoch}:${head.seq}`);
    if (leaf.bootId !== head.bootId) throw new Error('the boot changes within an epoch');
    if (!equal(leaf.signerKey, head.nextKey)) throw new Error('signer_key is not the next_key before');
  }

  private async opening(leaf: Leaf, accepted: Accepted): Promise<void> {
    await this.statement(leaf);
    const head = this.head;
    const s = leaf.open!.statement;
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

  private async statement(leaf: Leaf): Promise<void> {
    const refuse = (condition: boolean, why: string) => {
      if (condition) throw new Error(`epoch statement: ${why}`);
    };
    const open = leaf.open!;
    refuse(open.intermediates.length > maxIntermediates, 'more than 8 intermediates');
    const identity = new Certificate(open.identityCert);
    const intermediates = open.intermediates.map((der) => new Certificate(der));
    refuse(!identity.isP256, 'the identity key is not of P-256');
    const who = identity.uris.length === 1 ? agentOf(identity.uris[0]!) : undefined;
    refuse(who?.tenant !== leaf.tenant || who.agent !== leaf.agent, 'the certificate is not of this agent');
    refuse(
      !(await chainsTo(this.crypto, identity, intermediates, this.authorities)),
      'the certificate does not chain to an enrolment authority',
    );
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
  }

  private counters(leaf: Leaf, afterHole: boolean): void {
    const head = this.head;
    if (!head || leaf.epoch !== head.epoch) return;
    if (leaf.losses.some((value, i) => value < head.losses[i]!)) throw new Error('a loss counter went down');
    const next = head.lastEventSeq + 1n;
    if (afterHole ? leaf.firstEventSeq < next : leaf.firstEventSeq !== next) {
      throw new Error(`events begin at number ${leaf.firstEventSeq}, expected ${next}`);
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
    };
  }
}

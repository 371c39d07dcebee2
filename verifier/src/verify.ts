// SPDX-License-Identifier: Apache-2.0
//
// The whole trail or bundle, in one pass, with one body in memory at a time.
import { type Agent, type AgentReport, Agents, batchName } from './agents.js';
import { openBody } from './body.js';
import { type Manifest, bundleFault, inScope, ofNobody, readManifest, receiptNames, timeOf } from './bundle.js';
import { equal, hex } from './bytes.js';
import { type Crypto, TreeHistory } from './crypto.js';
import { Enrolments } from './enrolment.js';
import { type LogEntry, isEntry, parseEntry, verifyEntry } from './entry.js';
import { checkEviction } from './eviction.js';
import { type Finding, Findings, Kind } from './findings.js';
import type { Certificate } from './identity.js';
import { BodyCodec, type Leaf, parseLeaf, verifyLeaf } from './leaf.js';
import { type Checkpoint, parseCheckpoint, parseNote } from './note.js';
import type { LogPolicy } from './policy.js';
import { type Receipt, isReceipt, maxReceiptBytes, parseReceipt, rootFromPath } from './receipt.js';
import { OperationalError, Refusal, refusal } from './refusal.js';
import { Quarantine } from './quarantine.js';
import { Retention } from './retention.js';
import { type Source, readWhole } from './source.js';
import { TileCheck } from './tiles.js';
import { type Entry, type Place, Trail } from './trail.js';

export interface Options {
  authorities: Certificate[];
  policy?: LogPolicy;
  // Checkpoints and receipts that the auditor kept.
  prior?: { name: string; bytes: Uint8Array }[];
  requireEnrolment?: boolean;
  // Two of them without a batch are a silence; 30 s if not given.
  heartbeatNs?: bigint;
}

export interface Report {
  verdict: Kind;
  firstBad: Finding | undefined;
  findings: Finding[];
  findingsDropped: number;
  scope: string | undefined; // of a bundle
  leaves: number;
  entries: number; // of the log's own, among the leaves
  bodies: number;
  evicted: number;
  retired: number;
  outsideScope: number; // bodies that a bundle may leave out, and does
  receipts: number;
  tiles: number;
  events: bigint;
  agents: AgentReport[]; // by tenant and name
  heartbeatNs: bigint;
  neverReported: string[];
  checkpoint: { present: boolean; trusted: boolean; size: number; root: string };
}

interface Kept {
  name: string;
  checkpoint: Checkpoint;
  receipt: Receipt | undefined;
}

const checkpointFile = 'log/checkpoint';
const defaultHeartbeatNs = 30_000_000_000n;

class Verification {
  private readonly findings = new Findings();
  private readonly agents: Agents;
  private readonly heartbeatNs: bigint;
  private readonly enrolments: Enrolments;
  private readonly retention = new Retention(this.findings);
  private readonly quarantine: Quarantine;
  private readonly tree: TreeHistory;
  private readonly tiles: TileCheck;
  private checkpoint: Checkpoint | undefined;
  private checkpointPresent = false;
  private rootBroken = false;
  private kept: Kept[] = [];
  private readonly seenEntries = { count: 0, unjudged: 0 };
  private bodies = 0;
  private evicted = 0;
  private outsideScope = 0;
  private receipts = 0;
  private events = 0n;
  private wantedBodies = 0; // batches with a body in the scope

  constructor(
    private readonly crypto: Crypto,
    private readonly trail: Trail,
    private readonly manifest: Manifest | undefined,
    private readonly options: Options,
  ) {
    this.tree = new TreeHistory(crypto);
    this.tiles = new TileCheck(crypto, trail.source);
    this.quarantine = new Quarantine(crypto, this.findings);
    this.heartbeatNs = options.heartbeatNs ?? defaultHeartbeatNs;
    this.enrolments = new Enrolments(options.requireEnrolment === true);
    // Of a bundle without a manifest that holds nobody knows what should be there.
    const scope = manifest?.scope ?? (trail.isBundle ? ofNobody : undefined);
    this.agents = new Agents(crypto, options.authorities, this.enrolments, this.findings, scope, this.heartbeatNs);
  }

  async run(fault: Refusal | undefined): Promise<Report> {
    if (fault) this.findings.tamper(fault, undefined, undefined, 'manifest.json');
    if (!this.trail.isBundle) await this.quarantine.read(this.trail.source);
    // The checkpoint first: a log that grows meanwhile is never shorter than it.
    await this.readCheckpoint();
    for (const { name, bytes } of this.options.prior ?? []) await this.readKept(name, bytes);
    for await (const entry of this.trail.entries()) await this.takeEntry(entry);
    for (const { text, file } of this.trail.damage) this.findings.add(Kind.tamper, 'segment', text, undefined, undefined, file);
    this.finishRoot();
    for (const kept of this.kept) this.finishKept(kept);
    if (this.trail.isBundle) await this.finishBundle();
    else await this.finishTiles();
    this.retention.finish();
    this.agents.finish(this.rootBroken);
    for (const name of this.enrolments.neverReported()) {
      this.findings.add(Kind.note, 'note', `${name} was enrolled and never reported`);
    }
    if (this.seenEntries.unjudged > 0) {
      const text = `no log key was given: the signatures of ${this.seenEntries.unjudged} log entries were not checked`;
      this.findings.add(Kind.note, 'note', text);
    }
    return this.report();
  }

  private async readCheckpoint(): Promise<void> {
    const { policy } = this.options;
    const at = (error: unknown) => this.findings.tamper(refusal(error, 'checkpoint'), undefined, undefined, checkpointFile);
    let note: Uint8Array | undefined;
    try {
      note = await this.trail.checkpoint();
      if (note === undefined) return;
      this.checkpointPresent = true;
      if (policy === undefined) {
        const text = "no log key was given: the checkpoint's signature was not checked";
        this.findings.add(Kind.note, 'note', text, undefined, undefined, checkpointFile);
        this.checkpoint = parseCheckpoint(parseNote(note).text);
      } else {
        this.checkpoint = await policy.signed(this.crypto, note);
      }
    } catch (error) {
      this.checkpointPresent = true;
      at(error);
      return;
    }
    try {
      await policy?.requireQuorum(this.crypto, note);
    } catch (error) {
      at(error);
    }
  }

  // What the auditor brings must be right, or there is nothing to compare with.
  private async readKept(name: string, bytes: Uint8Array): Promise<void> {
    const { policy } = this.options;
    if (policy === undefined) throw new OperationalError('what you kept of the log needs the log key', 64);
    try {
      const receipt = isReceipt(bytes) ? parseReceipt(bytes) : undefined;
      const checkpoint = await policy.signed(this.crypto, receipt?.note ?? bytes);
      if (receipt) this.checkReceiptPath(receipt, checkpoint, undefined);
      this.kept.push({ name, checkpoint, receipt });
    } catch (error) {
      throw new OperationalError(`${name}: ${(error as Error).message}`, 65);
    }
  }

  private async takeEntry({ where, leaf: bytes, whole, tornBytes }: Entry): Promise<void> {
    const covered = this.checkpoint !== undefined && where.index < this.checkpoint.size;
    if (bytes.length === 0) {
      if (!covered && tornBytes > 0) {
        this.findings.add(Kind.note, 'note', `an unfinished write of ${tornBytes} bytes at the end of the log`, undefined, where);
      } else {
        this.agents.addDamaged(where, `leaf ${where.index} at offset ${where.offset} can't be read`, undefined);
      }
      return;
    }
    const hash = this.tree.append(bytes);
    if (covered && !this.trail.isBundle) await this.tiles.append(bytes, hash);
    if (isEntry(bytes)) await this.takeLogEntry(where, bytes, whole);
    else await this.takeLeaf(where, bytes, whole);
  }

  private async takeLogEntry(where: Place, bytes: Uint8Array, whole: boolean): Promise<void> {
    this.seenEntries.count += 1;
    let entry: LogEntry;
    try {
      entry = parseEntry(bytes);
      if (!whole) throw new Error("the record's checksum is wrong");
    } catch (error) {
      this.findings.add(Kind.tamper, 'damaged-leaf', (error as Error).message, undefined, where);
      return;
    }
    const { policy } = this.options;
    if (policy === undefined) this.seenEntries.unjudged += 1;
    else if (!(await policy.signedByAny((log) => verifyEntry(this.crypto, entry, log)))) {
      this.findings.add(Kind.tamper, 'damaged-leaf', 'entry: wrong signature of the log key', undefined, where);
      return;
    }
    let holds = this.manifest === undefined || entry.tenant === this.manifest.tenant;
    try {
      this.enrolments.take(entry);
    } catch (error) {
      holds = false;
      this.findings.tamper(refusal(error, 'enrolment'), undefined, where);
    }
    this.checkTenant(entry.tenant, undefined, where);
    const covered = this.checkpoint === undefined || where.index < this.checkpoint.size;
    if (holds) this.retention.take(entry, where, covered);
    if (entry.unknownFields) {
      this.findings.add(Kind.note, 'note', 'signed fields that this version does not know', undefined, where);
    }
  }

  private async takeLeaf(where: Place, bytes: Uint8Array, whole: boolean): Promise<void> {
    let leaf: Leaf;
    try {
      leaf = parseLeaf(this.crypto, bytes);
    } catch (error) {
      this.agents.addDamaged(where, (error as Error).message, undefined);
      return;
    }
    const name = batchName(leaf.agent, leaf.epoch, leaf.seq);
    // Rightly signed, it is the batch that it says it is.
    const fault = !whole
      ? "the record's checksum is wrong"
      : (await verifyLeaf(this.crypto, leaf))
        ? undefined
        : 'the signature does not belong to header and signer_key';
    if (fault !== undefined) {
      this.agents.addDamaged(where, fault, name);
      return;
    }
    if (!this.checkTenant(leaf.tenant, name, where)) return;
    if (leaf.bodyCodec !== BodyCodec.none && this.manifest && inScope(this.manifest.scope, leaf)) this.wantedBodies += 1;
    const agent = await this.agents.take(leaf, name, where);
    this.checkSeen(leaf, name, where);
    if (agent === undefined) return;
    this.quarantine.take(leaf, name, where);
    if (leaf.unknownFields) this.findings.add(Kind.note, 'note', 'signed fields that this version does not know', name, where);
    this.events += leaf.eventCount;
    if (leaf.bodyCodec === BodyCodec.none) return;
    try {
      const stored = await this.trail.body(leaf.bodySha256);
      if (stored === undefined) {
        await this.missingBody(agent, leaf, name, where);
        return;
      }
      const declarations = openBody(this.crypto, stored, leaf);
      this.bodies += 1;
      for (const declared of declarations) this.agents.takeDeclaration(agent, leaf, declared, name, where);
    } catch (error) {
      const found = refusal(error, 'body');
      const file = Trail.bodyFile(leaf.bodySha256, found.reason === 'eviction' ? 'evicted' : 'zst');
      this.findings.tamper(found, name, where, file);
    }
  }

  private async missingBody(agent: Agent, leaf: Leaf, name: string, where: Place): Promise<void> {
    if (this.trail.isBundle && !(this.manifest && inScope(this.manifest.scope, leaf))) {
      this.outsideScope += 1;
      return;
    }
    const eviction = await this.trail.eviction(leaf.bodySha256);
    if (eviction === undefined) {
      const { from, to } = agent.timeline.newest;
      const file = Trail.bodyFile(leaf.bodySha256, 'zst');
      this.retention.missing(leaf, name, where, file, () => agent.timeline.retire(from, to));
      return;
    }
    await checkEviction(this.crypto, eviction, leaf, this.options.authorities);
    this.evicted += 1;
    agent.timeline.declare(...timeOf(leaf));
    const text =
      `the agent signed that it dropped the body with ${leaf.eventCount} events, ` +
      `of ${leaf.firstWallNs} to ${leaf.lastWallNs} ns`;
    this.findings.add(Kind.declaredLoss, 'loss', text, name, where);
  }

  // Did the log show this agent another past than it shows now? The tree holds this
  // leaf too: where leaves below can't be read, there may be no root to compare.
  private checkSeen(leaf: Leaf, name: string, where: Place): void {
    if (leaf.seenSize === 0n) return;
    if (leaf.seenSize > BigInt(where.index)) {
      const text = `the agent saw ${leaf.seenSize} leaves, there are ${where.index} before this one: the log was longer once`;
      this.findings.add(Kind.tamper, 'seen', text, name, where);
    } else if (Number(leaf.seenSize) < this.tree.size && !equal(this.tree.rootAt(Number(leaf.seenSize)), leaf.seenRoot)) {
      const text = `the first ${leaf.seenSize} leaves are not those that the agent was shown`;
      this.findings.add(Kind.tamper, 'seen', text, name, where);
    }
  }

  // What is of another tenant than the bundle is of no chain.
  private checkTenant(tenant: string, name: string | undefined, where: Place): boolean {
    if (this.manifest === undefined || tenant === this.manifest.tenant) return true;
    const text = `of tenant ${tenant}, in a bundle of ${this.manifest.tenant}`;
    this.findings.add(Kind.tamper, 'bundle', text, name, where);
    return false;
  }

  private finishRoot(): void {
    const leaves = this.tree.size;
    const add = (kind: Kind, reason: 'root' | 'checkpoint' | 'note', text: string) =>
      this.findings.add(kind, reason, text, undefined, undefined, checkpointFile);
    if (this.checkpoint === undefined) {
      if (this.checkpointPresent) return;
      const wanted = (this.options.policy !== undefined && leaves > 0) || this.trail.isBundle;
      if (wanted) add(Kind.tamper, 'checkpoint', 'there is no checkpoint');
      else add(Kind.note, 'note', 'there is no checkpoint');
      return;
    }
    const { size, root } = this.checkpoint;
    if (leaves < size) {
      this.rootBroken = true;
      add(Kind.tamper, 'root', `the log holds ${leaves} leaves, its checkpoint says ${size}`);
    } else if (!equal(this.tree.rootAt(size), root)) {
      this.rootBroken = true;
      add(Kind.tamper, 'root', `the root over the first ${size} leaves is not the checkpoint's`);
    }
  }

  // Leads the receipt to its own checkpoint, from `leaf` or as far as that goes without it?
  private checkReceiptPath(receipt: Receipt, checkpoint: Checkpoint, leaf: Uint8Array | undefined): void {
    const root = rootFromPath(this.crypto, leaf ?? checkpoint.root, receipt.index, checkpoint.size, receipt.path);
    if (root === undefined) throw new Refusal('receipt', 'receipt: its path has not the length that it should have');
    if (leaf !== undefined && !equal(root, checkpoint.root)) {
      throw new Refusal('receipt', `receipt: leaf ${receipt.index} is not the one that the receipt is for`);
    }
  }

  private finishKept({ name, checkpoint, receipt }: Kept): void {
    const { size } = checkpoint;
    const add = (reason: 'prior' | 'receipt', text: string) => this.findings.add(Kind.tamper, reason, `${name}: ${text}`);
    if ((this.checkpoint?.size ?? -1) < size) add('prior', `the log's checkpoint is older than the one you hold, of size ${size}`);
    if (this.tree.size < size) add('prior', `the log holds ${this.tree.size} leaves, the checkpoint you hold says ${size}`);
    else if (!equal(this.tree.rootAt(size), checkpoint.root)) {
      add('prior', `the first ${size} leaves are not those of the checkpoint you hold`);
    }
    if (receipt === undefined) return;
    this.receipts += 1;
    try {
      if (receipt.index >= this.tree.size) throw new Refusal('receipt', `receipt: there is no leaf ${receipt.index}`);
      this.checkReceiptPath(receipt, checkpoint, this.tree.leaf(receipt.index));
    } catch (error) {
      add('receipt', refusal(error, 'receipt').message);
    }
  }

  private async finishBundle(): Promise<void> {
    const fault = (why: string) => this.findings.tamper(bundleFault(why), undefined, undefined, 'manifest.json');
    const { manifest, checkpoint } = this;
    let names: string[] = [];
    try {
      names = await receiptNames(this.trail.source);
    } catch (error) {
      this.findings.tamper(refusal(error, 'receipt'));
    }
    if (checkpoint && this.tree.size > checkpoint.size) fault('there are leaves beyond the checkpoint');
    if (manifest && checkpoint) {
      if (manifest.origin !== checkpoint.origin) fault('of another origin than the checkpoint');
      if (manifest.checkpointSize !== checkpoint.size) fault('of another size than the checkpoint');
    }
    if (manifest && manifest.bodies !== this.wantedBodies) {
      fault(`says ${manifest.bodies} bodies in the scope, there are ${this.wantedBodies}`);
    }
    if (manifest && manifest.receipts !== names.length) fault(`says ${manifest.receipts} receipts, there are ${names.length}`);
    for (const name of names) await this.bundleReceipt(`receipts/${name}`);
    if (names.length > 0 && this.options.policy === undefined) {
      this.findings.add(Kind.note, 'note', `no log key was given: ${names.length} receipts were not checked`);
    }
  }

  private async bundleReceipt(file: string): Promise<void> {
    const { policy } = this.options;
    if (policy === undefined) return;
    try {
      const bytes = await readWhole(this.trail.source, file, maxReceiptBytes);
      if (!bytes) throw new Refusal('receipt', 'receipt: no file, or longer than 1 MiB');
      const receipt = parseReceipt(bytes);
      const checkpoint = await policy.signed(this.crypto, receipt.note);
      await policy.requireQuorum(this.crypto, receipt.note);
      if (checkpoint.size > Math.min(this.tree.size, this.checkpoint?.size ?? 0)) {
        throw new Refusal('receipt', 'receipt: its checkpoint is larger than that of the bundle');
      }
      if (!equal(this.tree.rootAt(checkpoint.size), checkpoint.root)) {
        throw new Refusal('receipt', `receipt: the first ${checkpoint.size} leaves are not those of its checkpoint`);
      }
      if (receipt.index >= checkpoint.size) throw new Refusal('receipt', `receipt: there is no leaf ${receipt.index}`);
      this.checkReceiptPath(receipt, checkpoint, this.tree.leaf(receipt.index));
      this.receipts += 1;
    } catch (error) {
      const { message } = refusal(error, 'receipt');
      this.findings.add(Kind.tamper, 'receipt', `${file}: ${message}`, undefined, undefined, file);
    }
  }

  private async finishTiles(): Promise<void> {
    if (this.checkpoint === undefined) return;
    await this.tiles.finish();
    for (const [i, wrong] of this.tiles.wrong.entries()) {
      this.findings.tamper(wrong, undefined, undefined, this.tiles.wrongFiles[i]);
    }
    if (this.tiles.missing > 0) {
      const text = `${this.tiles.missing} tiles are missing: the log can't be served until they are made anew`;
      this.findings.add(Kind.note, 'note', text, undefined, undefined, 'log/tile');
    }
  }

  private report(): Report {
    return {
      verdict: this.findings.worst,
      firstBad: this.findings.firstBad(),
      findings: this.findings.sorted(),
      findingsDropped: this.findings.dropped,
      scope: this.manifest?.text,
      leaves: this.tree.size,
      entries: this.seenEntries.count,
      bodies: this.bodies,
      evicted: this.evicted,
      retired: this.retention.retired,
      outsideScope: this.outsideScope,
      receipts: this.receipts,
      tiles: this.tiles.checked,
      events: this.events,
      agents: this.agents.reports(),
      heartbeatNs: this.heartbeatNs,
      neverReported: this.enrolments.neverReported(),
      checkpoint: {
        present: this.checkpointPresent,
        trusted: this.options.policy !== undefined && this.checkpoint !== undefined && !this.rootBroken,
        size: this.checkpoint?.size ?? 0,
        root: this.checkpoint ? hex(this.checkpoint.root) : '',
      },
    };
  }
}

// Throws OperationalError if the files can't be judged.
export async function verifyTrail(crypto: Crypto, source: Source, options: Options): Promise<Report> {
  const trail = await Trail.open(source);
  let manifest: Manifest | undefined;
  let fault: Refusal | undefined;
  try {
    if (trail.isBundle) manifest = await readManifest(crypto, source);
  } catch (error) {
    fault = refusal(error, 'bundle');
  }
  return new Verification(crypto, trail, manifest, options).run(fault);
}

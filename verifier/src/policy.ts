// SPDX-License-Identifier: Apache-2.0
//
// A C2SP tlog-policy: which logs count, and which witnesses must have cosigned.
import { latin1 } from './bytes.js';
import type { Crypto } from './crypto.js';
import {
  type Checkpoint,
  KeyType,
  type VerifierKey,
  cosignedBy,
  parseCheckpoint,
  parseNote,
  parseVerifierKey,
  signedByLog,
} from './note.js';
import { Refusal } from './refusal.js';

const maxPolicyBytes = 1 << 20;
const maxOfEach = 64;

interface Witness {
  key: VerifierKey;
}
interface Group {
  threshold: number;
  members: string[];
}
type Member = Witness | Group;

// A name as the file has it: octets, each as one character.
function keyText(octets: string): string {
  return new TextDecoder('utf-8', { fatal: true }).decode(Uint8Array.from(octets, (c) => c.charCodeAt(0)));
}

export class LogPolicy {
  private constructor(
    private readonly logs: VerifierKey[],
    private readonly members: Map<string, Member>,
    private readonly quorum: string,
  ) {}

  // One log, no witness.
  static ofKey(key: VerifierKey): LogPolicy {
    return new LogPolicy([key], new Map(), 'none');
  }

  // Throws an error that names the line.
  static parse(crypto: Crypto, bytes: Uint8Array): LogPolicy {
    if (bytes.length > maxPolicyBytes) throw new Error('policy: longer than 1 MiB');
    const logs: VerifierKey[] = [];
    const members = new Map<string, Member>();
    const seen = { log: new Set<string>(), witness: new Set<string>() };
    const ids = new Set<string>();
    let groups = 0;
    let quorum: string | undefined;
    const text = latin1(bytes);
    const lines = text.split('\n');
    const last = lines.pop();
    if (last !== '') throw new Error(`policy: line ${lines.length + 1}: does not end in a newline`);
    for (const [i, line] of lines.entries()) {
      const refuse = (why: string): never => {
        throw new Error(`policy: line ${i + 1}: ${why}`);
      };
      if (/[^\t\x20-\x7e\x80-\xff]/.test(line)) refuse('a control character');
      const words = line.split(/[ \t]+/).filter((word) => word !== '');
      if (words.length === 0 || words[0]!.startsWith('#')) continue;
      const key = (octets: string, type: KeyType, kind: 'log' | 'witness'): VerifierKey => {
        let parsed: VerifierKey | undefined;
        try {
          parsed = parseVerifierKey(crypto, keyText(octets), type);
        } catch (error) {
          refuse((error as Error).message);
        }
        const material = latin1(parsed!.key);
        if (seen[kind].has(material)) refuse(`a second ${kind} with this key`);
        seen[kind].add(material);
        if (seen[kind].size > maxOfEach) refuse(`more than ${maxOfEach} of them`);
        const id = `${parsed!.name}+${latin1(parsed!.id)}`;
        if (ids.has(id)) refuse('another key has this name and key id');
        ids.add(id);
        return parsed!;
      };
      const define = (name: string, member: Member): void => {
        if (name === 'none' || members.has(name)) refuse(`the name ${name} is taken`);
        members.set(name, member);
      };
      const [word, ...rest] = words;
      switch (word) {
        case 'log':
          if (rest.length < 1 || rest.length > 2) refuse('wanted: log VKEY [URL]');
          logs.push(key(rest[0]!, KeyType.log, 'log'));
          break;
        case 'witness':
          if (rest.length < 2 || rest.length > 3) refuse('wanted: witness NAME VKEY [URL]');
          define(rest[0]!, { key: key(rest[1]!, KeyType.cosigner, 'witness') });
          break;
        case 'group': {
          if (++groups > maxOfEach) refuse(`more than ${maxOfEach} groups`);
          const [name, how, ...names] = rest;
          if (name === undefined || how === undefined || names.length === 0) refuse('wanted: group NAME all|any|K NAME…');
          for (const [at, member] of names.entries()) {
            if (!members.has(member)) refuse(`${member} is not defined above`);
            if (names.indexOf(member) !== at) refuse(`${member} comes twice`);
          }
          const number = /^[1-9][0-9]{0,5}$/.test(how!) ? Number(how) : 0;
          const threshold = how === 'all' ? names.length : how === 'any' ? 1 : number;
          if (threshold < 1 || threshold > names.length) refuse(`not all, any or a number from 1 to ${names.length}`);
          define(name!, { threshold, members: names });
          break;
        }
        case 'quorum':
          if (rest.length !== 1) refuse('wanted: quorum NAME');
          if (quorum !== undefined) refuse('a second quorum');
          if (rest[0] !== 'none' && !members.has(rest[0]!)) refuse(`${rest[0]} is not defined above`);
          quorum = rest[0];
          break;
        default:
          refuse(`${word}: not log, witness, group or quorum`);
      }
    }
    if (quorum === undefined) throw new Error('policy: no quorum line');
    return new LogPolicy(logs, members, quorum);
  }

  // For a policy that names no log.
  withLog(key: VerifierKey): LogPolicy {
    return new LogPolicy([key], this.members, this.quorum);
  }

  get hasLogs(): boolean {
    return this.logs.length > 0;
  }

  // For what a log signs besides its checkpoints.
  async signedByAny(judge: (log: VerifierKey) => Promise<boolean>): Promise<boolean> {
    for (const log of this.logs) if (await judge(log)) return true;
    return false;
  }

  // What the log signed, whatever the witnesses did. Throws a Refusal.
  async signed(crypto: Crypto, bytes: Uint8Array): Promise<Checkpoint> {
    const note = parseNote(bytes);
    const signers: VerifierKey[] = [];
    for (const log of this.logs) if (await signedByLog(crypto, note, log)) signers.push(log);
    const checkpoint = parseCheckpoint(note.text);
    if (signers.length === 0) throw new Refusal('checkpoint', 'checkpoint: not signed by the log key');
    if (!signers.some((log) => log.name === checkpoint.origin)) throw new Refusal('checkpoint', 'checkpoint: of another origin');
    return checkpoint;
  }

  // Throws a Refusal ("quorum") that names the witnesses that are missing.
  async requireQuorum(crypto: Crypto, bytes: Uint8Array): Promise<void> {
    const note = parseNote(bytes);
    const cosigned = new Set<string>();
    for (const [name, member] of this.members) {
      if ('key' in member && (await cosignedBy(crypto, note, member.key))) cosigned.add(name);
    }
    if (this.quorum === 'none' || this.reached(this.quorum, cosigned)) return;
    const missing = [...this.members].filter(([name, m]) => 'key' in m && !cosigned.has(name)).map(([name]) => name);
    throw new Refusal('quorum', `checkpoint: the quorum ${this.quorum} is not reached; missing: ${missing.join(', ')}`);
  }

  // Groups name only what stands above them, so each is asked once.
  private reached(quorum: string, cosigned: Set<string>): boolean {
    const done = new Set<string>();
    for (const [name, member] of this.members) {
      if ('key' in member) {
        if (cosigned.has(name)) done.add(name);
      } else if (member.members.filter((other) => done.has(other)).length >= member.threshold) {
        done.add(name);
      }
    }
    return done.has(quorum);
  }
}

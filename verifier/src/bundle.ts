// SPDX-License-Identifier: Apache-2.0
//
// Section 8: the manifest of a bundle, which says what part of a log it is.
// Nobody signed it: it can only say which bodies may be absent.
import { equal, fromUtf8, hex, utf8 } from './bytes.js';
import type { Crypto } from './crypto.js';
import { type Leaf, validId } from './leaf.js';
import { Refusal } from './refusal.js';
import { type Source, readWhole } from './source.js';

const maxManifestBytes = 1 << 20;
const maxAgents = 10_000;
export const maxReceipts = 10_000;
const keys = ['format', 'origin', 'tenant', 'checkpoint_size', 'since', 'until', 'agents', 'bodies', 'receipts'];

export interface Scope {
  since: bigint; // nanoseconds of the wall clock
  until: bigint | undefined; // nothing: open
  agents: Set<string> | undefined;
}

export const ofNobody: Scope = { since: 0n, until: undefined, agents: new Set() };

export interface Manifest {
  origin: string;
  tenant: string;
  checkpointSize: number;
  scope: Scope;
  bodies: number;
  receipts: number;
  text: string; // of the scope
}

// "YYYY-MM-DDTHH:MM:SS.nnnnnnnnnZ", 1970 to 2261, a date that exists.
export function parseTime(text: string): bigint | undefined {
  const match = /^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)\.(\d{9})Z$/.exec(text);
  if (!match) return undefined;
  const numbers = match.slice(1).map(Number) as [number, number, number, number, number, number, number];
  const [year, month, day, hour, minute, second, nanosecond] = numbers;
  if (year < 1970 || year > 2261 || hour > 23 || minute > 59 || second > 59) return undefined;
  const date = new Date(Date.UTC(year, month - 1, day));
  if (date.getUTCMonth() !== month - 1 || date.getUTCDate() !== day) return undefined;
  const seconds = date.getTime() / 1000 + hour * 3600 + minute * 60 + second;
  return BigInt(seconds) * 1_000_000_000n + BigInt(nanosecond);
}

export function bundleFault(why: string): Refusal {
  return new Refusal('bundle', `manifest.json: ${why}`);
}

// One text for one content: what is read is written again and compared.
export function parseManifest(bytes: Uint8Array): Manifest {
  const text = fromUtf8(bytes);
  if (text === undefined) throw bundleFault('not UTF-8');
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw bundleFault('not JSON');
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json)) throw bundleFault('not an object');
  const members = new Map(Object.entries(json as Record<string, unknown>));
  if ([...members.keys()].join() !== keys.join()) throw bundleFault(`its keys are not ${keys.join(', ')}`);
  if (text !== JSON.stringify(json, null, 2) + '\n') throw bundleFault('not in its one form');
  const string = (name: string): string => {
    const value = members.get(name);
    if (typeof value !== 'string' || /[\x00-\x1f]/.test(value)) throw bundleFault(`${name} is no text`);
    return value;
  };
  const count = (name: string): number => {
    const value = members.get(name);
    if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) throw bundleFault(`${name} is no count`);
    return value;
  };
  const time = (name: string): bigint | undefined => {
    if (members.get(name) === null) return undefined;
    const value = parseTime(string(name));
    if (value === undefined) throw bundleFault(`${name} is no time in UTC with nine decimals`);
    return value;
  };
  if (string('format') !== 'nodetrail-bundle 1') throw bundleFault('of another format');
  const tenant = string('tenant');
  if (!validId(tenant)) throw bundleFault('tenant is no legal id');
  const [since, until] = [time('since'), time('until')];
  if (since !== undefined && until !== undefined && since > until) throw bundleFault('since is after until');
  const listed = members.get('agents');
  const agents = listed === null ? undefined : agentList(listed);
  const who = agents === undefined ? 'all agents' : `agents ${agents.join(', ')}`;
  const at = (name: string, otherwise: string) => (members.get(name) === null ? otherwise : string(name));
  return {
    origin: string('origin'),
    tenant,
    checkpointSize: count('checkpoint_size'),
    scope: { since: since ?? 0n, until, agents: agents && new Set(agents) },
    bodies: count('bodies'),
    receipts: count('receipts'),
    text: `${who}, from ${at('since', 'the beginning')} to ${at('until', 'the end')}`,
  };
}

function agentList(value: unknown): string[] {
  if (!Array.isArray(value) || value.length < 1 || value.length > maxAgents) throw bundleFault('agents: not 1 to 10,000');
  const agents = value as unknown[];
  for (const [i, agent] of agents.entries()) {
    if (typeof agent !== 'string' || !validId(agent)) throw bundleFault('agents: not a legal id');
    if (i > 0 && !((agents[i - 1] as string) < agent)) throw bundleFault('agents: not in ascending order');
  }
  return agents as string[];
}

export async function readManifest(crypto: Crypto, source: Source): Promise<Manifest> {
  const bytes = await readWhole(source, 'manifest.json', maxManifestBytes);
  if (!bytes) throw bundleFault('missing, no file, or longer than 1 MiB');
  const digest = await readWhole(source, 'manifest.sha256', 128);
  if (!digest || !equal(digest, utf8(`${hex(crypto.sha256(bytes))}  manifest.json\n`))) {
    throw new Refusal('bundle', 'manifest.sha256: not the hash of manifest.json');
  }
  return parseManifest(bytes);
}

function meets(scope: Scope, agent: string, a: bigint, b: bigint): boolean {
  const [first, last] = a <= b ? [a, b] : [b, a];
  const { since, until } = scope;
  return (scope.agents === undefined || scope.agents.has(agent)) && last >= since && (until === undefined || first <= until);
}

// The time of a batch, the smaller first.
export function timeOf(leaf: Leaf): [bigint, bigint] {
  if (leaf.eventCount === 0n) return [leaf.sealedWallNs, leaf.sealedWallNs];
  const { firstWallNs, lastWallNs } = leaf;
  return firstWallNs <= lastWallNs ? [firstWallNs, lastWallNs] : [lastWallNs, firstWallNs];
}

// Must the body of this batch be there?
export function inScope(scope: Scope, leaf: Leaf): boolean {
  return meets(scope, leaf.agent, ...timeOf(leaf));
}

// Does what happened to an agent between these times count?
export function spanInScope(scope: Scope | undefined, agent: string, from: bigint, to: bigint): boolean {
  return scope === undefined || meets(scope, agent, from, to);
}

// Throws a Refusal at a name that no receipt has.
export async function receiptNames(source: Source): Promise<string[]> {
  const names = (await source.list('receipts')).sort();
  if (names.length > maxReceipts) throw new Refusal('receipt', 'receipts: more than 10,000');
  for (const name of names) {
    if (!/^[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}\.tlog-proof$/.test(name)) {
      throw new Refusal('receipt', `receipts/: ${JSON.stringify(name)} is no name of a receipt`);
    }
  }
  return names;
}

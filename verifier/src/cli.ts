#!/usr/bin/env node
// SPDX-License-Identifier: Apache-2.0
import { existsSync, readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';

import { type Coverage, coverageKinds, formatTime } from './coverage.js';
import { type Finding, kindNames, verdictNames } from './findings.js';
import { parsePem } from './identity.js';
import { nodeCrypto } from './node_crypto.js';
import { NodeSource } from './node_source.js';
import { KeyType, type VerifierKey, parseVerifierKey } from './note.js';
import { LogPolicy } from './policy.js';
import { OperationalError } from './refusal.js';
import type { AgentReport } from './agents.js';
import { type Options, type Report, verifyTrail } from './verify.js';

const usage = `usage: nodetrail-verify DIR --ca FILE [--policy FILE] [--log-key VKEY|FILE] [--prior FILE]…
                        [--require-enrolment] [--heartbeat SECONDS] [--json]
       nodetrail-verify --batch FILE      one trail a line: these arguments, tab-separated; one line of JSON each

  DIR                   a trail, or a bundle that \`nodetrail export\` wrote
  --ca FILE             PEM: the authorities that enrol agents
  --policy FILE         C2SP tlog-policy: the log's key, witnesses, and how many of them must have cosigned
  --log-key VKEY|FILE   the log's key: with a policy that names no log, or alone for a policy of one log and
                        no witness; without a key the checkpoint's signature is not judged
  --prior FILE          a checkpoint or a receipt that you kept: the log must extend it
  --require-enrolment   an agent that the log never enrolled is tamper evidence
  --heartbeat SECONDS   of the agents: two without a batch are a silence (30)

Exit status: 0 intact   1 loss that the agents declared   2 a sequence never arrived, unexplained
  3 tamper evidence   64 and above: the verification itself could not be done`;

// Intervals of an agent in the text; --json has all.
const maxShown = 20;

function read(file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (error) {
    throw new OperationalError((error as Error).message, 66);
  }
}

function config<T>(what: string, make: () => T): T {
  try {
    return make();
  } catch (error) {
    if (error instanceof OperationalError) throw error;
    throw new OperationalError(`${what}: ${(error as Error).message}`, 78);
  }
}

function policy(file: string | undefined, logKey: string | undefined): LogPolicy | undefined {
  let key: VerifierKey | undefined;
  if (logKey !== undefined) {
    const text = existsSync(logKey) ? read(logKey).toString('utf8') : logKey;
    key = config('--log-key', () => parseVerifierKey(nodeCrypto, text.trim(), KeyType.log));
  }
  if (file === undefined) return key && LogPolicy.ofKey(key);
  const parsed = config(file, () => LogPolicy.parse(nodeCrypto, read(file)));
  if (parsed.hasLogs && key) throw new OperationalError(`${file} names the log: leave out --log-key`, 64);
  if (!parsed.hasLogs && !key) throw new OperationalError(`${file} names no log: give --log-key`, 64);
  return key ? parsed.withLog(key) : parsed;
}

function heartbeat(text: string): bigint {
  const seconds = /^\d+(\.\d+)?$/.test(text) ? Number(text) : 0;
  if (seconds < 0.001 || seconds > 1e6) throw new OperationalError('--heartbeat: seconds, 0.001 to 1000000', 64);
  return BigInt(Math.trunc(seconds * 1e9));
}

function parse(args: string[]) {
  try {
    return parseArgs({
      args,
      allowPositionals: true,
      options: {
        ca: { type: 'string' },
        'log-key': { type: 'string' },
        policy: { type: 'string' },
        prior: { type: 'string', multiple: true },
        'require-enrolment': { type: 'boolean' },
        heartbeat: { type: 'string' },
        batch: { type: 'string' },
        json: { type: 'boolean' },
        help: { type: 'boolean' },
      },
    });
  } catch (error) {
    throw new OperationalError((error as Error).message, 64);
  }
}

async function verify(args: string[]): Promise<{ report: Report; json: boolean }> {
  const { values, positionals } = parse(args);
  const [dir, ...more] = positionals;
  const ca = values.ca;
  if (dir === undefined || more.length > 0 || ca === undefined) throw new OperationalError(usage, 64);
  const options: Options = { authorities: config('--ca', () => parsePem(read(ca).toString('latin1'))) };
  const trusted = policy(values.policy, values['log-key']);
  if (trusted) options.policy = trusted;
  options.prior = (values.prior ?? []).map((name) => ({ name, bytes: Uint8Array.from(read(name)) }));
  options.requireEnrolment = values['require-enrolment'] === true;
  if (values.heartbeat !== undefined) options.heartbeatNs = heartbeat(values.heartbeat);
  return { report: await verifyTrail(nodeCrypto, new NodeSource(dir), options), json: values.json === true };
}

function findingJson(finding: Finding) {
  return {
    kind: kindNames[finding.kind],
    reason: finding.reason,
    text: finding.text,
    batch: finding.batch ?? null,
    log_index: finding.index ?? null,
    file: finding.file ?? null,
  };
}

// To the millisecond: what a reader can use.
function seconds(ns: bigint): number {
  return Number(ns / 1_000_000n) / 1000;
}

function secondsJson(all: Coverage[]) {
  const sum = (kind: (typeof coverageKinds)[number]) => all.reduce((ns, { sums }) => ns + (sums.get(kind) ?? 0n), 0n);
  return Object.fromEntries(coverageKinds.map((kind) => [kind, seconds(sum(kind))]));
}

function agentJson({ tenant, name, batches, events, holes, coverage }: AgentReport) {
  return {
    tenant,
    agent: name,
    batches,
    events: Number(events),
    holes: holes.map(({ epoch, from, to }) => ({ epoch: Number(epoch), from_seq: Number(from), to_seq: Number(to) })),
    seconds: secondsJson([coverage]),
    intervals: coverage.intervals.map(({ kind, from, to }) => ({
      kind,
      from: formatTime(from),
      to: formatTime(to),
      seconds: seconds(to - from),
    })),
    intervals_dropped: coverage.dropped,
  };
}

function toJson(report: Report) {
  return {
    verdict: verdictNames[report.verdict],
    exit_code: report.verdict,
    first_bad: report.firstBad ? findingJson(report.firstBad) : null,
    scope: report.scope ?? null,
    leaves: report.leaves,
    log_entries: report.entries,
    bodies: report.bodies,
    bodies_evicted: report.evicted,
    bodies_retired: report.retired,
    bodies_outside_scope: report.outsideScope,
    receipts: report.receipts,
    tiles: report.tiles,
    events: Number(report.events),
    coverage: {
      heartbeat_seconds: seconds(report.heartbeatNs),
      seconds: secondsJson(report.agents.map(({ coverage }) => coverage)),
    },
    agents: report.agents.map(agentJson),
    never_reported: report.neverReported,
    checkpoint: report.checkpoint,
    findings: report.findings.map(findingJson),
    findings_dropped: report.findingsDropped,
  };
}

function line(finding: Finding): string {
  const place = finding.index === undefined ? '' : ` (leaf ${finding.index})`;
  const file = finding.file === undefined ? '' : ` [${finding.file}]`;
  return `${kindNames[finding.kind]}: ${finding.batch === undefined ? '' : finding.batch + ': '}${finding.text}${place}${file}`;
}

// What is not covered, line by line.
function printAgent({ tenant, name, batches, events, holes, coverage }: AgentReport): void {
  const { intervals, dropped, sums } = coverage;
  const told = coverageKinds.filter((kind) => sums.has(kind)).map((kind) => `${kind} ${seconds(sums.get(kind)!)} s`);
  console.log(`agent ${name} (tenant ${tenant}): ${batches} batches, ${events} events`);
  if (told.length > 0) console.log(`  coverage: ${told.join(', ')}`);
  const rest = intervals.filter(({ kind }) => kind !== 'covered');
  for (const { kind, from, to } of rest.slice(0, maxShown)) {
    console.log(`    ${kind}: ${formatTime(from)} to ${formatTime(to)}, ${seconds(to - from)} s`);
  }
  if (rest.length > maxShown) console.log(`    and ${rest.length - maxShown + dropped} more`);
  for (const { epoch, from, to } of holes) console.log(`  missing: batches ${epoch}:${from} to ${to}`);
}

function print(report: Report): void {
  const covered = report.checkpoint.trusted
    ? `the signed root covers ${report.checkpoint.size}`
    : 'no signed root covers them';
  if (report.scope !== undefined) console.log(`a bundle: ${report.scope}`);
  console.log(
    report.firstBad
      ? line(report.firstBad)
      : `${verdictNames[report.verdict]}: ${report.leaves - report.entries} batches, ${report.events} events of ${report.agents.length} agents; ${covered}`,
  );
  const counts = [`bodies checked: ${report.bodies}`];
  if (report.retired > 0) counts.push(`deleted by rule: ${report.retired}`);
  if (report.evicted > 0) counts.push(`dropped and signed for: ${report.evicted}`);
  if (report.outsideScope > 0) counts.push(`outside the scope: ${report.outsideScope}`);
  if (report.receipts > 0) counts.push(`receipts: ${report.receipts}`);
  if (report.tiles > 0) counts.push(`tiles: ${report.tiles}`);
  console.log(counts.join('; '));
  for (const agent of report.agents) printAgent(agent);
  for (const finding of report.findings) console.log('  ' + line(finding));
  if (report.findingsDropped > 0) console.log(`  and ${report.findingsDropped} more`);
}

async function batch(file: string): Promise<void> {
  for (const args of read(file).toString('utf8').split('\n')) {
    if (args === '') continue;
    try {
      console.log(JSON.stringify(toJson((await verify(args.split('\t'))).report)));
    } catch (error) {
      if (!(error instanceof OperationalError)) throw error;
      console.log(JSON.stringify({ exit_code: error.exitCode, error: error.message }));
    }
  }
}

async function main(args: string[]): Promise<number> {
  if (args.includes('--help')) {
    console.log(usage);
    return 0;
  }
  if (args[0] === '--batch' && args[1] !== undefined) {
    await batch(args[1]);
    return 0;
  }
  const { report, json } = await verify(args);
  if (json) console.log(JSON.stringify(toJson(report), null, 2));
  else print(report);
  return report.verdict;
}

main(process.argv.slice(2)).then(
  (code) => {
    process.exitCode = code;
  },
  (error: unknown) => {
    console.error(`nodetrail-verify: ${(error as Error).message}`);
    process.exitCode = error instanceof OperationalError ? error.exitCode : 70;
  },
);

#!/usr/bin/env node
// SPDX-License-Identifier: Apache-2.0
import { existsSync, readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';

import { parsePem } from './identity.js';
import { nodeCrypto } from './node_crypto.js';
import { type LogKey, parseLogKey } from './note.js';
import { OperationalError } from './trail_dir.js';
import { type Finding, type Options, type Report, kindNames, verdictNames, verifyTrail } from './verify.js';

const usage = `usage: nodetrail-verify TRAIL_DIR --ca FILE [--log-key VKEY|FILE] [--older-checkpoint FILE] [--json]
       nodetrail-verify --batch FILE      one trail a line: these arguments, tab-separated; one line of JSON each

  --ca FILE                PEM: the authorities that enrol agents
  --log-key VKEY|FILE      verifier key of the log; without it the checkpoint's signature is not judged
  --older-checkpoint FILE  a checkpoint you kept: the log must extend it

Exit status: 0 intact   1 loss that the agents declared   2 a sequence never arrived, unexplained
  3 tamper evidence   64 and above: the verification itself could not be done`;

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

function logKey(value: string): LogKey {
  const text = existsSync(value) ? read(value).toString('utf8') : value;
  return config('--log-key', () => parseLogKey(nodeCrypto, text.trim()));
}

function parse(args: string[]) {
  try {
    return parseArgs({
      args,
      allowPositionals: true,
      options: {
        ca: { type: 'string' },
        'log-key': { type: 'string' },
        'older-checkpoint': { type: 'string' },
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
  if (values['log-key'] !== undefined) options.logKey = logKey(values['log-key']);
  if (values['older-checkpoint'] !== undefined) options.olderCheckpoint = read(values['older-checkpoint']);
  return { report: await verifyTrail(nodeCrypto, dir, options), json: values.json === true };
}

function findingJson(finding: Finding) {
  return {
    kind: kindNames[finding.kind],
    text: finding.text,
    batch: finding.batch ?? null,
    log_index: finding.index ?? null,
    file: finding.file ?? null,
  };
}

function toJson(report: Report) {
  return {
    verdict: verdictNames[report.verdict],
    exit_code: report.verdict,
    first_bad: report.firstBad ? findingJson(report.firstBad) : null,
    leaves: report.leaves,
    bodies: report.bodies,
    events: Number(report.events),
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

function print(report: Report): void {
  const covered = report.checkpoint.trusted
    ? `the signed root covers ${report.checkpoint.size}`
    : 'no signed root covers them';
  console.log(
    report.firstBad
      ? line(report.firstBad)
      : `${verdictNames[report.verdict]}: ${report.leaves} batches, ${report.events} events of ${report.agents} agents; ${covered}`,
  );
  console.log(`bodies checked: ${report.bodies}`);
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

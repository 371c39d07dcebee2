// SPDX-License-Identifier: Apache-2.0
//
// compare.mjs DIR KIND…: cases.jsonl against cpp.jsonl and ts.jsonl, a line for each: verdict, first bad batch,
// reason, and what both tell of each agent's time, field by field. An interval of each KIND must be among them.
import { readFileSync } from 'node:fs';

const lines = (name) =>
  readFileSync(`${process.argv[2]}/${name}`, 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line));
const cases = lines('cases.jsonl');
const cpp = lines('cpp.jsonl');
const ts = lines('ts.jsonl');
if (cases.length === 0 || cpp.length !== cases.length || ts.length !== cases.length) {
  console.error(`${cases.length} cases, but ${cpp.length} and ${ts.length} answers`);
  process.exit(1);
}

const summary = (answer) => ({
  code: answer.exit_code >= 64 ? 64 : answer.exit_code,
  batch: answer.first_bad?.batch ?? '-',
  reason: answer.first_bad?.reason ?? '-',
  text: answer.first_bad?.text ?? answer.error ?? '',
});
// What both verifiers tell of an agent; C++ tells more, which is not compared.
const ofAgent = ['tenant', 'agent', 'batches', 'events', 'holes', 'seconds', 'intervals', 'intervals_dropped'];
const told = (answer) =>
  answer.exit_code >= 64
    ? null
    : {
        coverage: answer.coverage,
        agents: answer.agents.map((agent) => Object.fromEntries(ofAgent.map((field) => [field, agent[field]]))),
      };
let compared = 0;
// The first place where they differ, and both values; a field that one lacks differs.
function difference(one, two, path = 'answer') {
  const object = (value) => typeof value === 'object' && value !== null;
  if (!object(one) || !object(two) || Array.isArray(one) !== Array.isArray(two)) {
    compared += 1;
    return one === two && one !== undefined ? undefined : `${path}: ${JSON.stringify(one)} / ${JSON.stringify(two)}`;
  }
  for (const key of new Set([...Object.keys(one), ...Object.keys(two)])) {
    const found = difference(one[key], two[key], `${path}.${key}`);
    if (found !== undefined) return found;
  }
  return undefined;
}
let failed = 0;
const seen = new Map();
const untouched = new Map(); // mutations that are no worse than what they came from, and why
const reasons = new Map();
const intervals = new Map(); // by kind
const count = (map, key) => map.set(key, (map.get(key) ?? 0) + 1);
const row = (...cells) => console.log(cells.map((cell, i) => String(cell).padEnd([40, 8, 36, 36][i])).join(' '));
row('case', 'expected', 'C++', 'TypeScript');
for (const [i, c] of cases.entries()) {
  const one = summary(cpp[i]);
  const two = summary(ts[i]);
  const faults = [];
  if (one.code !== two.code || one.batch !== two.batch || one.reason !== two.reason) faults.push('THEY DIFFER');
  const differs = one.code === two.code ? difference(told(cpp[i]), told(ts[i])) : undefined;
  if (differs !== undefined) faults.push('COVERAGE DIFFERS');
  for (const { kind } of (ts[i].agents ?? []).flatMap((agent) => agent.intervals)) count(intervals, kind);
  const mutation = c.name.startsWith('mutation-') && c.changed !== '';
  // A mutation's base has declared loss, so that 1 is no worse than before.
  if (mutation && one.code < 2 && c.expected !== '*') {
    if (c.spared !== '') count(untouched, c.spared);
    else faults.push('PASSED AS INTACT');
  } else if (!mutation && one.code !== Number(c.expected)) {
    faults.push('NOT AS EXPECTED');
  }
  if (c.batch !== '-' && two.batch !== c.batch) faults.push(`SHOULD NAME ${c.batch}`);
  if (c.reason !== '-' && two.reason !== c.reason) faults.push(`SHOULD SAY ${c.reason}`);
  if (faults.length > 0) failed += 1;
  count(seen, one.code);
  if (two.reason !== '-') count(reasons, two.reason);
  const cell = (s) => `${s.code} ${s.batch} ${s.reason === '-' ? '' : s.reason}`;
  // Mutations are many: only those that went wrong are shown.
  if (faults.length > 0 || !mutation) row(c.name, c.expected, cell(one), cell(two), ...faults);
  if (faults.length > 0) console.log(`    ${c.changed}\n    C++: ${one.text}\n    TypeScript: ${two.text}`);
  if (differs !== undefined) console.log(`    C++ / TypeScript: ${differs}`);
}
const list = (map) => [...map].sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, n]) => `${n} x ${key}`).join(', ');
console.log(`reasons: ${list(reasons)}`);
console.log(`intervals of time: ${list(intervals)}; ${compared} fields of coverage compared`);
const never = process.argv.slice(3).filter((kind) => !intervals.has(kind));
if (never.length > 0) {
  console.error(`compare.mjs: no case has an interval that is ${never.join(' or ')}`);
  failed += 1;
}
console.log(`mutations that changed nothing under evidence: ${list(untouched) || 'none'}`);
console.log(`${cases.length} trails and bundles: ${list(seen)}; ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);

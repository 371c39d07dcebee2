// SPDX-License-Identifier: Apache-2.0
//
// compare.mjs DIR: cases.jsonl against cpp.jsonl and ts.jsonl, a line for each.
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
let failed = 0;
const seen = new Map();
const untouched = new Map(); // mutations that are no worse than what they came from, and why
const reasons = new Map();
const count = (map, key) => map.set(key, (map.get(key) ?? 0) + 1);
const row = (...cells) => console.log(cells.map((cell, i) => String(cell).padEnd([40, 8, 36, 36][i])).join(' '));
row('case', 'expected', 'C++', 'TypeScript');
for (const [i, c] of cases.entries()) {
  const one = summary(cpp[i]);
  const two = summary(ts[i]);
  const faults = [];
  if (one.code !== two.code || one.batch !== two.batch || one.reason !== two.reason) faults.push('THEY DIFFER');
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
}
const list = (map) => [...map].sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, n]) => `${n} x ${key}`).join(', ');
console.log(`reasons: ${list(reasons)}`);
console.log(`mutations that changed nothing under evidence: ${list(untouched) || 'none'}`);
console.log(`${cases.length} trails and bundles: ${list(seen)}; ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);

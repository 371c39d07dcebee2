// SPDX-License-Identifier: Apache-2.0
//
// compare.mjs DIR: cases.tsv against cpp.tsv and ts.json, a line for each.
import { readFileSync } from 'node:fs';

const lines = (name) => readFileSync(`${process.argv[2]}/${name}`, 'utf8').split('\n').filter((line) => line !== '');
const cases = lines('cases.tsv').map((line) => line.split('\t'));
const cpp = lines('cpp.tsv').map((line) => line.split('\t'));
const ts = lines('ts.json').map((line) => JSON.parse(line));
if (cases.length === 0 || cpp.length !== cases.length || ts.length !== cases.length) {
  console.error(`${cases.length} cases, but ${cpp.length} and ${ts.length} answers`);
  process.exit(1);
}

let failed = 0;
const seen = [0, 0, 0, 0];
const row = (...cells) => console.log(cells.map((cell, i) => String(cell).padEnd([30, 8, 22, 22][i])).join(' '));
row('case', 'expected', 'C++', 'TypeScript');
for (const [i, [name, code, bad]] of cases.entries()) {
  const one = [Number(cpp[i][0]), cpp[i][1]];
  const two = [ts[i].exit_code >= 64 ? 64 : ts[i].exit_code, ts[i].first_bad?.batch ?? '-'];
  const faults = [];
  if (one.join() !== two.join()) faults.push('THEY DIFFER');
  if (code === '!0' ? one[0] === 0 || one[0] > 3 : one[0] !== Number(code)) faults.push('NOT AS EXPECTED');
  if (bad !== '-' && one[1] !== bad) faults.push(`SHOULD NAME ${bad}`);
  if (faults.length > 0) failed += 1;
  seen[one[0]] = (seen[one[0]] ?? 0) + 1;
  // Mutations are many: only those that went wrong are shown.
  if (faults.length > 0 || !name.startsWith('mutation-')) row(name, code, one.join(' '), two.join(' '), ...faults);
  if (faults.length > 0 && ts[i].first_bad) console.log(`    ${ts[i].first_bad.text}`);
}
console.log(`${cases.length} trails: ${seen.slice(0, 4).map((n, code) => `${n} x ${code}`).join(', ')}; ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);

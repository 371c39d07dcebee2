// SPDX-License-Identifier: Apache-2.0
//
// alter.mjs DIR FIELD: ts.jsonl with one value changed, the first one of this field that an agent has. A
// comparison that does not see it compares nothing.
import { readFileSync, writeFileSync } from 'node:fs';

const [dir, field] = process.argv.slice(2);
const file = `${dir}/ts.jsonl`;
const other = (value) => (typeof value === 'number' ? value + 1 : `${value}x`);

// Changes the first value under the field's name, at any depth; true if there is one.
function alter(value) {
  if (typeof value !== 'object' || value === null) return false;
  for (const [key, inner] of Object.entries(value)) {
    if (key === field && typeof inner !== 'object') {
      value[key] = other(inner);
      return true;
    }
    if (key === field && Array.isArray(inner) && inner.length > 0) {
      inner.pop();
      return true;
    }
    if (alter(inner)) return true;
  }
  return false;
}

const lines = readFileSync(file, 'utf8').split('\n');
const at = lines.findIndex((line) => {
  if (line === '') return false;
  return alter(JSON.parse(line).agents);
});
if (at < 0) {
  console.error(`alter.mjs: no answer has an agent with ${field}`);
  process.exit(64);
}
const answer = JSON.parse(lines[at]);
alter(answer.agents);
lines[at] = JSON.stringify(answer);
writeFileSync(file, lines.join('\n'));

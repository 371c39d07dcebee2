// SPDX-License-Identifier: Apache-2.0
//
// The verifier itself needs no node: a browser loads the same modules.
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const sources = fileURLToPath(new URL('../../src/', import.meta.url));
const ofNode = new Set(['cli.ts', 'node_crypto.ts', 'node_source.ts']);
const core = readdirSync(sources).filter((name) => name.endsWith('.ts') && !ofNode.has(name));

test('the core imports nothing but itself and fzstd', () => {
  assert.ok(core.length > 15, `only ${core.length} modules`);
  for (const name of core) {
    const text = readFileSync(sources + name, 'utf8');
    const imported = [...text.matchAll(/\b(?:from|import)\s*\(?\s*['"]([^'"]+)['"]/g)].map((match) => match[1]!);
    for (const target of imported) {
      const own = /^\.\/([a-z0-9_]+)\.js$/.exec(target);
      assert.ok(own ? core.includes(`${own[1]}.ts`) : target === 'fzstd', `${name} imports ${target}`);
    }
  }
});

test('the core names no global of node', () => {
  for (const name of core) {
    const code = readFileSync(sources + name, 'utf8').replace(/\/\/.*/g, '');
    const found = /\b(process|Buffer|require|__dirname|__filename|setImmediate|global)\b\s*[.([]/.exec(code);
    assert.equal(found, null, `${name} uses ${found?.[1]}`);
  }
});

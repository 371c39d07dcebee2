// SPDX-License-Identifier: Apache-2.0
//
// batch.mjs DIR: the arguments of nodetrail-verify for each case of DIR/cases.jsonl, tab-separated.
import { readFileSync } from 'node:fs';

const dir = process.argv[2];
for (const line of readFileSync(`${dir}/cases.jsonl`, 'utf8').split('\n')) {
  if (line === '') continue;
  const c = JSON.parse(line);
  const args = [`${dir}/${c.dir}`, '--ca', `${dir}/${c.ca}`];
  if (c.policy !== '') args.push('--policy', `${dir}/${c.policy}`);
  if (c.log_key !== '') args.push('--log-key', `${dir}/${c.log_key}`);
  for (const prior of c.prior) args.push('--prior', `${dir}/${prior}`);
  if (c.require_enrolment) args.push('--require-enrolment');
  console.log(args.join('\t'));
}

// SPDX-License-Identifier: Apache-2.0
//
// The second verifier says its reason by a word (verifier/README.md); the first
// one says it in a sentence. Which sentences go with which word. A sentence
// that no word has is a fault of this table, and fails the comparison.
const sentences = {
  'damaged-leaf':
    /^(leaf: |entry: |log entry|wire: |the record's checksum|the signature does not belong|leaf \d+ at offset|.*wrong signature of the log|.*not signed by (a|the) log)/,
  algorithm: /algorithm/,
  duplicate: /in the log already/,
  equivocation: /two signed batches/,
  past: /^position .* is past/,
  link: /^(prev_hash is not|signer_key is not the next_key|the boot changes|epoch \d+ ended with)/,
  opening: /^(epoch statement|certificate|identity certificate|the agent holds another batch)|identity certificate/,
  counters: /^(a loss counter|events? (begin|numbers))/,
  tenant: /tenant/,
  enrolment: /enrol/,
  revoked: /revoked/,
  seen: /(saw|was shown|has seen|last saw|longer|seen)/,
  body: /^(body: |wire: |.*\.zst: longer than)/,
  'body-missing': /^the body is missing$/,
  eviction: /(^the body is missing, and the statement|\.evicted: )/,
  hole: /^batch(es)? .*(missing|never arrived)/,
  restart: /^epoch \d+ (begins|follows)/,
  checkpoint: /^(checkpoint: |cosignature: |there is no checkpoint|note: |open .*log\/checkpoint|.*not a signed note|base64)/,
  quorum: /quorum/,
  prior: /you hold/,
  segment: /^log\/\d+\.leaves: /,
  root: /^(the log holds \d+ leaves, its checkpoint|the root over)/,
  tile: /^the tile is not/,
  receipt: /receipt/,
  bundle: /(manifest|^a batch of tenant|^an entry of tenant|^the bundle holds)/,
};
// What is wrong with a leaf whose signature does not hold may be said in other
// words too: nothing it says of itself can be trusted.
const ofLeaves = ['algorithm', 'duplicate', 'past', 'link', 'opening', 'counters', 'enrolment', 'revoked'];

export function saysTheSame(reason, sentence) {
  if (reason === '-' || sentence === '') return (reason === '-') === (sentence === '');
  const accepted = reason === 'damaged-leaf' ? ['damaged-leaf', ...ofLeaves] : [reason];
  return accepted.some((word) => sentences[word]?.test(sentence));
}

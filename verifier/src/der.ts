// SPDX-License-Identifier: Apache-2.0
//
// As much of DER as an X.509 certificate needs.

export interface Der {
  tag: number;
  whole: Uint8Array; // with tag and length
  content: Uint8Array;
}

// The elements of `data`, one after the other.
export function elements(data: Uint8Array): Der[] {
  const out: Der[] = [];
  const bad = new Error('certificate: not DER');
  for (let at = 0; at < data.length; ) {
    const begin = at;
    const tag = data[at++]!;
    if ((tag & 0x1f) === 0x1f) throw bad;
    let length = data[at++];
    if (length === undefined) throw bad;
    if (length >= 0x80) {
      const bytes = length & 0x7f;
      if (bytes === 0 || bytes > 3 || at + bytes > data.length || data[at] === 0) throw bad;
      length = 0;
      for (let i = 0; i < bytes; ++i) length = length * 256 + data[at++]!;
      if (length < 0x80) throw bad;
    }
    if (length > data.length - at) throw bad;
    at += length;
    out.push({ tag, whole: data.subarray(begin, at), content: data.subarray(at - length, at) });
  }
  return out;
}

export function only(data: Uint8Array, tag: number): Der {
  const [first, ...more] = elements(data);
  if (first?.tag !== tag || more.length > 0) throw new Error('certificate: not the element that it should be');
  return first;
}

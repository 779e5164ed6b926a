/** A fast 64-bit hash to count repeated rows by. Not for security: an adversary can make rows collide, chance hardly ever does. */

/** Writes the hash of `bytes[from, to)` as two words to `out[at]` and `out[at + 1]`. */
export function hashBytes(bytes: DataView, from: number, to: number, out: Uint32Array, at: number): void {
  // Four lanes that do not wait for each other; they meet at the end.
  let a = 0x9e3779b9 ^ (to - from);
  let b = 0x85ebca6b;
  let c = 0xc2b2ae35;
  let d = 0x27d4eb2f;
  let index = from;
  for (; index + 16 <= to; index += 16) {
    a = Math.imul(rotate(a, 13) ^ bytes.getInt32(index, true), 0xcc9e2d51);
    b = Math.imul(rotate(b, 13) ^ bytes.getInt32(index + 4, true), 0xcc9e2d51);
    c = Math.imul(rotate(c, 13) ^ bytes.getInt32(index + 8, true), 0xcc9e2d51);
    d = Math.imul(rotate(d, 13) ^ bytes.getInt32(index + 12, true), 0xcc9e2d51);
  }
  for (; index < to; index++) a = Math.imul(rotate(a, 13) ^ bytes.getUint8(index), 0xcc9e2d51);
  out[at] = mix(mix(a ^ rotate(c, 16)) + b);
  out[at + 1] = mix(mix(b ^ rotate(d, 16)) + a);
}

function rotate(word: number, bits: number): number {
  return (word << bits) | (word >>> (32 - bits));
}

/** The finalizer of MurmurHash3: every input bit changes half of the output bits. */
function mix(word: number): number {
  word = Math.imul(word ^ (word >>> 16), 0x85ebca6b);
  word = Math.imul(word ^ (word >>> 13), 0xc2b2ae35);
  return word ^ (word >>> 16);
}

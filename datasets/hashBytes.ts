/** A fast 64-bit hash to count repeated rows by. Not for security: two different rows collide once in about 10^19 pairs, an adversary's more often. */

/** Writes the hash of `bytes[from, to)` as two words to `out[at]` and `out[at + 1]`. */
export function hashBytes(bytes: Buffer, from: number, to: number, out: Uint32Array, at: number): void {
  let high = 0x9e3779b9 ^ (to - from);
  let low = 0x85ebca6b;
  let index = from;
  for (; index + 8 <= to; index += 8) {
    // Little-endian words, byte by byte: compilers merge the loads, and lines are not aligned.
    const first = bytes[index]! | (bytes[index + 1]! << 8) | (bytes[index + 2]! << 16) | (bytes[index + 3]! << 24);
    const second = bytes[index + 4]! | (bytes[index + 5]! << 8) | (bytes[index + 6]! << 16) | (bytes[index + 7]! << 24);
    high = (Math.imul(rotate(high ^ first, 15), 0xcc9e2d51) + low) | 0;
    low = (Math.imul(rotate(low ^ second, 13), 0x1b873593) + high) | 0;
  }
  for (; index < to; index++) {
    high = (Math.imul(rotate(high ^ bytes[index]!, 15), 0xcc9e2d51) + low) | 0;
    low = (Math.imul(low, 0x1b873593) + high) | 0;
  }
  out[at] = mix(high ^ low);
  out[at + 1] = mix((low + Math.imul(high, 5)) | 0);
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

/** Percentiles of lengths without keeping the lengths: counts in buckets of at most 6 % width, exact below 32. */

/** Enough for the longest line. */
export const LENGTH_BUCKETS = 512;
/** Buckets in each doubling of the length. */
const PER_DOUBLING = 16;
const FIRST = 2 * PER_DOUBLING;

export function lengthBucket(length: number): number {
  if (length < FIRST) return length;
  const doubling = 31 - Math.clz32(length); // at least 5
  return FIRST + (doubling - 5) * PER_DOUBLING + ((length >>> (doubling - 4)) & (PER_DOUBLING - 1));
}

/** The length that a share of all lengths does not exceed, within 3 %. */
export function lengthPercentile(buckets: Uint32Array, count: number, share: number): number {
  const rank = Math.max(1, Math.ceil(count * share));
  let seen = 0;
  const bucket = buckets.findIndex((inBucket) => (seen += inBucket) >= rank);
  if (bucket < FIRST) return bucket;
  const shift = 1 + Math.floor((bucket - FIRST) / PER_DOUBLING);
  const lowest = (PER_DOUBLING + ((bucket - FIRST) % PER_DOUBLING)) << shift;
  return lowest + ((1 << shift) >> 1);
}

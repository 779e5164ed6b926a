/** Which examples are held back for evaluation: decided by what they say, so that equal examples always stay together. */

export type Split = {
  /** Indices of the evaluation examples, in the order of their hashes: a seeded shuffle. */
  evaluation: Uint32Array;
  /** All examples are equal, and some had to be held back all the same. */
  overlaps: boolean;
};

/**
 * `hashes`: one a example, from the seed and the example's content. Holds back the share with the smallest hashes: exactly
 * round(count × share) where examples differ, the nearest number that parts no equal examples otherwise, never none and never all.
 */
export function splitByHash(hashes: BigUint64Array, share: number): Split {
  const count = hashes.length;
  if (share === 0 || count < 2) return { evaluation: new Uint32Array(0), overlaps: false };
  const wanted = Math.min(Math.max(Math.round(count * share), 1), count - 1);
  const sorted = hashes.slice().sort();
  const cut = sorted[wanted - 1]!;
  const [below, through] = [firstIndex(sorted, (hash) => hash >= cut), firstIndex(sorted, (hash) => hash > cut)];
  if (below === 0 && through === count) return { evaluation: Uint32Array.from({ length: wanted }, (_, index) => index), overlaps: true };
  const takesCut = through < count && (below === 0 || through - wanted <= wanted - below);
  const evaluation = new Uint32Array(takesCut ? through : below);
  let filled = 0;
  for (let index = 0; index < count; index++) {
    const hash = hashes[index]!;
    if (hash < cut || (takesCut && hash === cut)) evaluation[filled++] = index;
  }
  // By their words, low and high: a BigInt for each comparison takes three times as long.
  const words = new Uint32Array(hashes.buffer, hashes.byteOffset, count * 2);
  evaluation.sort((a, b) => words[a * 2 + 1]! - words[b * 2 + 1]! || words[a * 2]! - words[b * 2]! || a - b);
  return { evaluation, overlaps: false };
}

/** The first index of a sorted array for which the condition holds. */
function firstIndex(sorted: BigUint64Array, holds: (hash: bigint) => boolean): number {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (holds(sorted[middle]!)) high = middle;
    else low = middle + 1;
  }
  return low;
}

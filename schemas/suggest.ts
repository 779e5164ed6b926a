/** "Did you mean …": the known name nearest to what was written. */

/** `, did you mean NAME`, to be put behind what was written; nothing when no known name is near. */
export function didYouMean(written: string, known: Iterable<string>): string {
  const name = nearest(written, known);
  return name === null ? '' : `, did you mean ${name}`;
}

/** Null when none is near: within two edits, or a third of the word's length. */
export function nearest(written: string, known: Iterable<string>): string | null {
  const word = written.toLowerCase().slice(0, MAX_LENGTH);
  let best: { name: string; distance: number } | null = null;
  for (const name of known) {
    const distance = editDistance(word, name.toLowerCase());
    if (best === null || distance < best.distance) best = { name, distance };
  }
  const limit = Math.max(2, Math.floor(word.length / 3));
  return best !== null && best.distance <= limit && best.distance < word.length ? best.name : null;
}

const MAX_LENGTH = 100;

/** Levenshtein's distance with transpositions of neighbours (optimal string alignment). */
function editDistance(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let row = 1; row <= a.length; row++) {
    const current = [row];
    for (let column = 1; column <= b.length; column++) {
      const same = a[row - 1] === b[column - 1];
      let distance = Math.min(last[column]! + 1, current[column - 1]! + 1, last[column - 1]! + (same ? 0 : 1));
      if (row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1])
        distance = Math.min(distance, beforeLast[column - 2]! + 1);
      current.push(distance);
    }
    beforeLast = last;
    last = current;
  }
  return last[b.length]!;
}

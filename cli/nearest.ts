/** The known word that a mistyped one most likely means. */

/** Undefined when none is near: further than a third of the word, at least two changes. Case and `-`/`_` do not count. */
export function nearest(word: string, known: readonly string[]): string | undefined {
  const plain = (text: string) =>
    text
      .replace(/([a-z])([A-Z])/g, '$1_$2')
      .toLowerCase()
      .replaceAll('-', '_');
  let best: string | undefined;
  let bestDistance = Math.max(2, Math.floor(word.length / 3)) + 1;
  for (const candidate of known) {
    const distance = editDistance(plain(word.slice(0, 100)), plain(candidate));
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance];
  }
  return best;
}

/** Changes of one letter (insert, delete, replace) or swaps of two neighbours that turn one word into the other. */
function editDistance(from: string, to: string): number {
  let older: number[] = [];
  let previous = Array.from({ length: to.length + 1 }, (_, index) => index);
  for (let row = 1; row <= from.length; row++) {
    const current = [row];
    for (let column = 1; column <= to.length; column++) {
      const changed = from[row - 1] === to[column - 1] ? 0 : 1;
      let cost = Math.min(previous[column]! + 1, current[column - 1]! + 1, previous[column - 1]! + changed);
      if (row > 1 && column > 1 && from[row - 1] === to[column - 2] && from[row - 2] === to[column - 1])
        cost = Math.min(cost, older[column - 2]! + 1);
      current.push(cost);
    }
    [older, previous] = [previous, current];
  }
  return previous[to.length]!;
}

/**
 * Lookups of the same time are one, and none answers with what was true before it was asked for: a call that comes while a
 * lookup runs waits for the next one, which has the keys of all calls of that time. So many clients cost the database as much as
 * one, and a key that was revoked is refused from then on.
 */
interface Batch<Key, Result> {
  keys: Set<Key>;
  results: Promise<Map<Key, Result>>;
}

/** @param lookUp  gives what it finds of these keys, each of them once */
export function batchLookups<Key extends string, Result>(
  lookUp: (keys: Key[]) => Promise<Map<Key, Result>>,
): (key: Key) => Promise<Result | undefined> {
  let running: Promise<unknown> = Promise.resolve();
  let next: Batch<Key, Result> | null = null;

  function open(): Batch<Key, Result> {
    const keys = new Set<Key>();
    const begin = async () => {
      // Requests that arrived together come along.
      await new Promise((resolve) => setImmediate(resolve));
      next = null;
      return lookUp([...keys]);
    };
    const results = running.then(begin, begin);
    running = results;
    return { keys, results };
  }

  return async (key) => {
    next ??= open();
    next.keys.add(key);
    return (await next.results).get(key);
  };
}

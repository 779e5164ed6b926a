/**
 * Equal lookups at the same time are one, and none answers with what was true before it was asked for: a call that comes while
 * a lookup runs waits for the next one, which all calls of that time share.
 */
interface Lookup<Result> {
  running: Promise<Result>;
  /** Begins when `running` has ended. */
  next: Promise<Result> | null;
}

/** @returns a function that looks up, unless an equal lookup (one of the same key) is about to */
export function shareLookups<Result>(): (key: string, lookUp: () => Promise<Result>) => Promise<Result> {
  const lookups = new Map<string, Lookup<Result>>();

  function start(key: string, lookUp: () => Promise<Result>): Promise<Result> {
    const lookup: Lookup<Result> = { running: lookUp(), next: null };
    lookups.set(key, lookup);
    const end = () => {
      if (lookup.next === null) lookups.delete(key);
    };
    lookup.running.then(end, end);
    return lookup.running;
  }

  return (key, lookUp) => {
    const lookup = lookups.get(key);
    if (!lookup) return start(key, lookUp);
    const again = () => start(key, lookUp);
    lookup.next ??= lookup.running.then(again, again);
    return lookup.next;
  };
}

/**
 * Equal lookups at the same time are one, and none answers with what was true before it was asked for: a call that comes while
 * a lookup runs waits for the next one, which all calls of that time share. So a key that was revoked is refused from then on.
 */
interface Lookup<Result> {
  running: Promise<Result>;
  /** Begins when `running` has ended. */
  next: Promise<Result> | null;
}

export function shareLookups<Result>(lookUp: (key: string) => Promise<Result>): (key: string) => Promise<Result> {
  const lookups = new Map<string, Lookup<Result>>();

  function start(key: string): Promise<Result> {
    const lookup: Lookup<Result> = { running: lookUp(key), next: null };
    lookups.set(key, lookup);
    const end = () => {
      if (lookup.next === null) lookups.delete(key);
    };
    lookup.running.then(end, end);
    return lookup.running;
  }

  return (key) => {
    const lookup = lookups.get(key);
    if (!lookup) return start(key);
    const again = () => start(key);
    lookup.next ??= lookup.running.then(again, again);
    return lookup.next;
  };
}

/**
 * Work that is aborted with a signal, if any, or with `reason` when it takes longer. Not by `AbortSignal.any([signal, AbortSignal.timeout(limitMs)])`: nothing
 * but the timer knows of that timeout, Node collects it as garbage, and the work then waits for ever (nodejs/node#57736).
 */
export async function withTimeLimit<T>(
  limitMs: number,
  signal: AbortSignal | undefined,
  work: (signal: AbortSignal) => Promise<T>,
  reason: Error = new DOMException(`more than ${limitMs / 1000} s`, 'TimeoutError'),
): Promise<T> {
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(reason), limitMs);
  try {
    return await work(signal ? AbortSignal.any([signal, late.signal]) : late.signal);
  } finally {
    clearTimeout(timer);
  }
}

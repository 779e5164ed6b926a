/**
 * Work that is aborted with a signal, or when it takes longer. Not by `AbortSignal.any([signal, AbortSignal.timeout(limitMs)])`: nothing
 * but the timer knows of that timeout, Node collects it as garbage, and the work then waits for ever (nodejs/node#57736).
 */
export async function withTimeLimit<T>(limitMs: number, signal: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(new DOMException(`more than ${limitMs / 1000} s`, 'TimeoutError')), limitMs);
  try {
    return await work(AbortSignal.any([signal, late.signal]));
  } finally {
    clearTimeout(timer);
  }
}

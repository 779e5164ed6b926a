/** Asking a tracker over HTTP: every way in which that can go wrong, as one error that says what to do. */
import { withTimeLimit } from '../schemas/timeLimit.js';
import { TrackerError, hostOf } from './tracker.js';

export interface Server {
  /** For people: `Weights & Biases`. */
  title: string;
  /** Without a slash at the end. */
  baseUrl: string;
  /** Of the `authorization` header; null: none is sent. */
  authorization: string | null;
  /** For an answer; 15 s when absent. */
  timeoutMs?: number;
}

export interface Answer {
  status: number;
  /** Of a JSON object; empty for anything else. */
  body: Record<string, unknown>;
}

const ANSWER_TIMEOUT_MS = 15_000;
const MAX_RETRY_AFTER_SECONDS = 3_600;

/**
 * One request. Answers of 2xx with a JSON object are given, and those of the statuses in `expected`; the rest is thrown.
 * @throws TrackerError; the signal's reason when it is aborted
 */
export async function ask(
  server: Server,
  request: { method: string; path: string; body?: unknown; expected?: number[] },
  signal: AbortSignal,
): Promise<Answer> {
  const { title, baseUrl, authorization } = server;
  const who = `${title} (${hostOf(baseUrl)})`;
  let response: Response;
  let text: string;
  try {
    [response, text] = await withTimeLimit(server.timeoutMs ?? ANSWER_TIMEOUT_MS, signal, async (signal) => {
      const response = await fetch(`${baseUrl}${request.path}`, {
        method: request.method,
        redirect: 'manual',
        headers: {
          ...(authorization ? { authorization } : {}),
          ...(request.body === undefined ? {} : { 'content-type': 'application/json' }),
        },
        body: request.body === undefined ? undefined : JSON.stringify(request.body),
        signal,
      });
      return [response, await response.text()];
    });
  } catch (error) {
    signal.throwIfAborted();
    throw connectionError(who, error);
  }
  const { status } = response;
  const body = parseObject(text);
  if (request.expected?.includes(status)) return { status, body: body ?? {} };
  if (status === 401 || status === 403)
    throw new TrackerError('TRACKER_REFUSED', 'KEY_REFUSED', `${who} does not accept the key (HTTP ${status}). Give the job a valid one.`);
  if (status === 429)
    throw new TrackerError(
      'TRACKER_FAILED',
      'RATE_LIMITED',
      `${who} wants fewer requests (HTTP 429); delivery goes on later.`,
      retryAfterMs(response),
    );
  if (status >= 300 && status < 400)
    throw new TrackerError(
      'TRACKER_FAILED',
      'ADDRESS_WRONG',
      `${who} answers with a redirect (HTTP ${status}), which is not followed. Set its final address.`,
    );
  if (status === 404 && body === null)
    throw new TrackerError('TRACKER_FAILED', 'ADDRESS_WRONG', `${who} has no such service (HTTP 404): is its address right?`);
  if (status >= 500)
    throw new TrackerError(
      'TRACKER_FAILED',
      'SERVER_ERROR',
      `${who} answered with HTTP ${status}; delivery is tried again.`,
      retryAfterMs(response),
    );
  if (status >= 400) return { status, body: body ?? {} };
  if (body === null)
    throw new TrackerError('TRACKER_FAILED', 'SERVER_ERROR', `${who} answered with something that is no JSON; delivery is tried again.`);
  return { status, body };
}

function connectionError(who: string, error: unknown): TrackerError {
  const { cause } = error as { cause?: { code?: string } };
  const code = cause?.code ?? '';
  if (/CERT|TLS|SSL|SELF_SIGNED|VERIFY/.test(code)) {
    const advice = 'Have the workers trust its authority (NODE_EXTRA_CA_CERTS and SSL_CERT_FILE), or set the right address.';
    return new TrackerError('TRACKER_FAILED', 'TLS_FAILED', `The TLS connection to ${who} cannot be trusted (${code}). ${advice}`);
  }
  return new TrackerError('TRACKER_FAILED', 'NO_ANSWER', `${who} does not answer; delivery is tried again.`);
}

function retryAfterMs(response: Response): number | undefined {
  const seconds = Number(response.headers.get('retry-after') ?? NaN);
  return seconds > 0 ? 1000 * Math.min(seconds, MAX_RETRY_AFTER_SECONDS) : undefined;
}

/** null: no JSON object. */
export function parseObject(text: unknown): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(String(text));
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}

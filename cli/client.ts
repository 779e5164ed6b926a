/** Requests to the API: JSON in and out, retried where a repeat is safe, with errors a person can act on. */
import type { Configuration } from './configuration.js';
import { ApiError, OperationError, UsageError, type ProblemDetail } from './failures.js';

export interface ApiRequest {
  method: 'GET' | 'POST' | 'PATCH' | 'DELETE';
  /** From `/v1` on, query included. */
  path: string;
  body?: unknown;
  /** The server gives the same answer to the same request, so it may be sent again. GET always is. */
  idempotent?: boolean;
}

export interface Connection extends Configuration {
  /** Told before each wait for another try. */
  onRetry?(reason: string, waitMs: number): void;
  /** A new key in place of one that has run out; only for sign-ins. */
  renew?(): Promise<string>;
}

export type Resource = Record<string, unknown>;

/** Four tries over about seven seconds: enough for a server that restarts. */
const RETRY_WAITS_MS = [500, 1000, 2000, 4000];
const MAX_RETRY_AFTER_MS = 60_000;
const REQUEST_TIMEOUT_MS = 60_000;
const RETRIED_STATUSES = new Set([408, 429, 500, 502, 503, 504]);

/** @throws ApiError  with the server's message and details; status 0 when the server cannot be reached */
export async function callApi<T = Resource>(connection: Connection, request: ApiRequest): Promise<T> {
  const repeatable = request.method === 'GET' || request.idempotent === true;
  let isRenewed = false;
  for (let attempt = 0; ; attempt++) {
    let failure: ApiError;
    let waitMs = RETRY_WAITS_MS[attempt];
    try {
      const response = await fetch(connection.apiUrl + request.path, {
        method: request.method,
        headers: {
          ...authorization(connection),
          accept: 'application/json',
          ...(request.body === undefined ? {} : { 'content-type': 'application/json' }),
        },
        body: request.body === undefined ? undefined : JSON.stringify(request.body),
        signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
      });
      const text = await response.text();
      if (response.ok) return parseAnswer<T>(text, response.status, connection.apiUrl);
      failure = refusal(response.status, text);
      if (response.status === 401 && connection.renew && !isRenewed) {
        // The request was not carried out, whatever it was.
        connection.apiKey = await connection.renew();
        isRenewed = true;
        continue;
      }
      if (!RETRIED_STATUSES.has(response.status)) throw failure;
      waitMs = waitMs === undefined ? undefined : (retryAfterMs(response.headers.get('retry-after')) ?? waitMs);
    } catch (error) {
      if (error instanceof ApiError || error instanceof OperationError) throw error;
      failure = unreachable(connection.apiUrl, error);
    }
    if (!repeatable || waitMs === undefined) throw failure;
    connection.onRetry?.(failure.message, waitMs);
    await new Promise((resolve) => setTimeout(resolve, waitMs));
  }
}

export function authorization(connection: Configuration): { authorization: string } {
  return { authorization: `Bearer ${connection.apiKey}` };
}

/** The configured account, else the one the key belongs to. */
export async function accountOf(connection: Connection): Promise<string> {
  if (!connection.accountId) {
    const { accounts = [] } = await callApi<{ accounts?: { name: string }[] }>(connection, {
      method: 'GET',
      path: '/v1/accounts?pageSize=2',
    });
    const [account, another] = accounts;
    if (!account) throw new UsageError('the key belongs to no account: give one with --account-id');
    if (another) throw new UsageError('the key may use several accounts: choose one with --account-id');
    connection.accountId = account.name.replace(/^accounts\//, '');
  }
  return connection.accountId;
}

/** The API's refusal, or one in our words when what answered was not the API. */
export function refusal(status: number, text: string): ApiError {
  try {
    const body = JSON.parse(text) as { message?: unknown; error?: { message?: unknown }; details?: unknown } | null;
    const message = body?.message || body?.error?.message;
    if (typeof message === 'string')
      return new ApiError(status, message, Array.isArray(body?.details) ? (body.details as ProblemDetail[]) : []);
  } catch {
    // Not JSON: a proxy, or another server.
  }
  const excerpt = text.replace(/\s+/g, ' ').trim().slice(0, 200);
  return new ApiError(status, `the server answered ${status}${excerpt ? `: ${excerpt}` : ' without a message'}`);
}

export function unreachable(apiUrl: string, error: unknown): ApiError {
  const cause = (error as { cause?: unknown }).cause ?? error;
  const code = (cause as NodeJS.ErrnoException).code ?? '';
  const reasons: Record<string, string> = {
    ECONNREFUSED: 'nothing listens there',
    ENOTFOUND: 'no such host',
    EAI_AGAIN: 'the name could not be looked up',
    ECONNRESET: 'the connection was lost',
    UND_ERR_SOCKET: 'the connection was lost',
    EPIPE: 'the connection was lost',
  };
  const timedOut = (error as Error).name === 'TimeoutError' || code === 'UND_ERR_HEADERS_TIMEOUT' || code === 'UND_ERR_CONNECT_TIMEOUT';
  const reason = timedOut ? 'no answer in time' : (reasons[code] ?? ((cause as Error).message || code || 'unknown reason'));
  return new ApiError(
    0,
    `cannot reach ${apiUrl}: ${reason}. Is the server running ("npm run dev" starts one)? Its address comes from --api-url or TEMPER_API_URL.`,
  );
}

function parseAnswer<T>(text: string, status: number, apiUrl: string): T {
  try {
    return (text === '' ? {} : JSON.parse(text)) as T;
  } catch {
    throw new ApiError(status, `${apiUrl} answered ${status} with something that is not JSON: it does not seem to be a Temper server`);
  }
}

/** Seconds or a date. */
function retryAfterMs(header: string | null): number | undefined {
  if (!header) return undefined;
  const waitMs = /^\d+$/.test(header) ? Number(header) * 1000 : Date.parse(header) - Date.now();
  return Number.isFinite(waitMs) ? Math.min(Math.max(waitMs, 0), MAX_RETRY_AFTER_MS) : undefined;
}

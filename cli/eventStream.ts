/** A job's events as they happen: server-sent events that go on, after a lost connection, where they stopped. */
import { setTimeout as sleep } from 'node:timers/promises';
import { authorization, refusal, type Connection } from './client.js';
import { ApiError, isPassing, OperationError } from './failures.js';

export interface JobEvent {
  sequence: number;
  type: string;
  message: string;
  state?: string;
  time?: string;
  data?: Record<string, unknown>;
}

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 15_000;

/**
 * Ends with `signal` only: a stream that ends may be the end of the job or of the server, and the caller knows which. A lost
 * connection, 429 and 5xx are survived for as long as it takes.
 * @throws ApiError  when the server refuses: the job is gone, the key is not valid
 * @throws OperationError  when a sign-in has ended
 */
export async function* followEvents(connection: Connection, path: string, signal: AbortSignal): AsyncGenerator<JobEvent> {
  let lastId = '';
  let waitMs = FIRST_WAIT_MS;
  let isRenewed = false;
  while (!signal.aborted) {
    try {
      const response = await fetch(connection.apiUrl + path, {
        headers: { ...authorization(connection), accept: 'text/event-stream', ...(lastId ? { 'last-event-id': lastId } : {}) },
        signal,
      });
      if (response.status === 401 && connection.renew && !isRenewed) {
        connection.apiKey = await connection.renew();
        isRenewed = true;
        continue;
      }
      if (!response.ok || !response.body) throw refusal(response.status, await response.text());
      for await (const message of parseServerSentEvents(response.body)) {
        waitMs = FIRST_WAIT_MS;
        isRenewed = false;
        // The same event twice, because the server did not know what arrived: shown once.
        if (message.id && message.id === lastId) continue;
        lastId = message.id || lastId;
        const event = parseEvent(message.data);
        if (event) yield event;
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof OperationError || (error instanceof ApiError && !isPassing(error))) throw error;
    }
    await sleep(waitMs, undefined, { signal }).catch(() => undefined);
    waitMs = Math.min(waitMs * 2, LONGEST_WAIT_MS);
  }
}

export interface ServerSentEvent {
  id: string;
  data: string;
}

/** The format of the HTML standard, section 9.2, as far as it is used: `id:` and `data:` lines, a blank line ends an event. */
export async function* parseServerSentEvents(body: AsyncIterable<Uint8Array>): AsyncGenerator<ServerSentEvent> {
  const decoder = new TextDecoder();
  let rest = '';
  let id = '';
  let data: string[] = [];
  for await (const chunk of body) {
    rest += decoder.decode(chunk, { stream: true });
    const lines = rest.split(/\r\n|\n/);
    rest = lines.pop()!;
    for (const line of lines) {
      if (line === '') {
        if (data.length > 0) yield { id, data: data.join('\n') };
        data = [];
        continue;
      }
      const colon = line.indexOf(':');
      const name = colon < 0 ? line : line.slice(0, colon);
      const value = colon < 0 ? '' : line.slice(colon + (line[colon + 1] === ' ' ? 2 : 1));
      if (name === 'id') id = value;
      else if (name === 'data') data.push(value);
    }
  }
}

function parseEvent(data: string): JobEvent | undefined {
  try {
    const event = JSON.parse(data) as JobEvent | null;
    return event && typeof event.message === 'string' ? event : undefined;
  } catch {
    return undefined;
  }
}

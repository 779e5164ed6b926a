/** The stack under fire, as its users have it: over HTTP, asked again until it answers. */
import { readJson } from '../dev/jsonFile.js';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { DevFile } from '../dev/stack.js';

export type Json = Record<string, any>;

export interface Reply {
  status: number;
  body: Json;
}

export interface Target {
  home: string;
  /** dev.json as it is now: pids change with every kill. */
  dev(): DevFile;
  /** One call, repeated while the API is gone or says that it cannot serve now (503); any other answer is given back. */
  call(method: string, route: string, body?: unknown): Promise<Reply>;
  /** The same for calls that must succeed. */
  ok(method: string, route: string, body?: unknown): Promise<Json>;
  upload(dataset: string, content: string): Promise<void>;
  /** Answers of 500 and above but 503: the API may be away, but never broken. */
  brokenAnswers: string[];
}

/** A call that goes unanswered for this long is a finding of its own. */
const PATIENCE_MS = 300_000;
const CALL_TIMEOUT_MS = 40_000;

export function openTarget(home: string): Target {
  const brokenAnswers: string[] = [];
  const first = readJson<DevFile>(join(home, 'dev.json'))!;
  const dev = (): DevFile => readJson<DevFile>(join(home, 'dev.json')) ?? first;

  async function send(method: string, route: string, body: string | FormData | undefined, headers: Record<string, string>): Promise<Reply> {
    const { apiUrl, apiKey, accountId } = first;
    const deadline = Date.now() + PATIENCE_MS;
    for (;;) {
      const reply = await fetch(`${apiUrl}/v1/accounts/${accountId}/${route}`, {
        method,
        body,
        headers: { authorization: `Bearer ${apiKey}`, ...headers },
        signal: AbortSignal.timeout(CALL_TIMEOUT_MS),
      })
        .then(async (response) => ({ status: response.status, text: await response.text() }))
        .catch((error: unknown) => ({ status: 0, text: String(error) }));
      if (reply.status >= 500 && reply.status !== 503)
        brokenAnswers.push(`${method} ${route}: ${reply.status} ${reply.text.slice(0, 300)}`);
      if (reply.status > 0 && reply.status < 500 && reply.status !== 429)
        return { status: reply.status, body: reply.text === '' ? {} : (JSON.parse(reply.text) as Json) };
      if (Date.now() > deadline) throw new Error(`${method} ${route} was not answered for ${PATIENCE_MS / 1000} s: ${reply.text}`);
      await sleep(300);
    }
  }

  const call = (method: string, route: string, body?: unknown): Promise<Reply> =>
    send(
      method,
      route,
      body === undefined ? undefined : JSON.stringify(body),
      body === undefined ? {} : { 'content-type': 'application/json' },
    );

  async function ok(method: string, route: string, body?: unknown): Promise<Json> {
    const reply = await call(method, route, body);
    if (reply.status !== 200) throw new Error(`${method} ${route}: ${reply.status} ${JSON.stringify(reply.body)}`);
    return reply.body;
  }

  async function upload(dataset: string, content: string): Promise<void> {
    await ok('POST', 'datasets', { datasetId: dataset, dataset: { userUploaded: {} } });
    for (;;) {
      const { state } = await ok('GET', `datasets/${dataset}`);
      if (state === 'READY') return;
      const form = new FormData();
      form.append('file', new Blob([content]), 'data.jsonl');
      const sent = await send('POST', `datasets/${dataset}:upload`, form, {});
      if (sent.status >= 400 && !['DATASET_IMMUTABLE', 'DATASET_PROCESSING'].includes(sent.body['details']?.[0]?.reason as string))
        throw new Error(`upload of ${dataset}: ${sent.status} ${JSON.stringify(sent.body)}`);
      for (let wait = 0; wait < 100 && (await ok('GET', `datasets/${dataset}`))['state'] !== 'READY'; wait++) await sleep(200);
    }
  }

  return { home, dev, call, ok, upload, brokenAnswers };
}

import { describe, expect, it } from 'vitest';
import { call, events, freshId, ok, stack, twoRowJob, until, type Json } from '../../temper.js';

interface Frame {
  id: number;
  event: string;
  data: Json;
}

/** Reads a stream of server-sent events until it ends, or until `enough`. */
async function readStream(jobId: string, options: { lastEventId?: string; enough?: (frames: Frame[]) => boolean } = {}): Promise<Frame[]> {
  const { apiUrl, apiKey, accountId } = stack();
  const abort = new AbortController();
  const reply = await fetch(`${apiUrl}/v1/accounts/${accountId}/fineTuningJobs/${jobId}:streamEvents`, {
    headers: { authorization: `Bearer ${apiKey}`, ...(options.lastEventId === undefined ? {} : { 'last-event-id': options.lastEventId }) },
    signal: abort.signal,
  });
  expect([reply.status, reply.headers.get('content-type')]).toEqual([200, 'text/event-stream']);
  const frames: Frame[] = [];
  let text = '';
  for await (const chunk of reply.body!.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    const blocks = text.split('\n\n');
    text = blocks.pop()!;
    for (const block of blocks) {
      const fields = Object.fromEntries(
        block.split('\n').map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 2)]),
      );
      if (fields['id']) frames.push({ id: Number(fields['id']), event: fields['event']!, data: JSON.parse(fields['data']!) as Json });
    }
    if (options.enough?.(frames)) {
      abort.abort();
      break;
    }
  }
  return frames;
}

describe("a job's events", () => {
  it('come as they happen, go on after a lost connection, and end with the job', async () => {
    const id = freshId('events');
    const job = await twoRowJob(id);
    // A base model that this machine does not have: the job waits until it is cancelled.
    await ok('POST', 'fineTuningJobs', { ...job, baseModel: 'accounts/fireworks/models/llama-v3p2-1b-instruct' });

    const first = await readStream(id, { enough: (frames) => frames.some((frame) => frame.data['state'] === 'VALIDATING') });
    expect(first[0]).toMatchObject({ id: 1, event: 'state', data: { state: 'CREATING', sequence: 1 } });
    const last = first.at(-1)!.id;

    const rest = readStream(id, { lastEventId: String(last) });
    await ok('POST', `fineTuningJobs/${id}:cancel`, {});
    const frames = [...first, ...(await rest)];
    expect(frames.at(-1)!.data).toMatchObject({ type: 'state', state: 'CANCELLED' });
    expect(frames.map((frame) => frame.id)).toEqual(frames.map((_, index) => index + 1));
    expect(frames.map((frame) => frame.data)).toEqual(await events(id));

    // Whoever comes after the end gets what is missing, or nothing, and is not kept waiting.
    expect(await readStream(id, { lastEventId: String(frames.length - 1) })).toEqual(frames.slice(-1));
    expect(await readStream(id, { lastEventId: String(frames.length) })).toEqual([]);
    await ok('DELETE', `fineTuningJobs/${id}`);
    await until('the job to be gone', async () => (await call('GET', `fineTuningJobs/${id}`)).status === 404);
  });

  it('come in pages, too', async () => {
    const id = freshId('pages');
    const job = await twoRowJob(id);
    await ok('POST', 'fineTuningJobs', { ...job, baseModel: 'temper-tiny' });
    await ok('POST', `fineTuningJobs/${id}:cancel`, {});
    await until('the end', async () => (await events(id)).some((event) => event['state'] === 'CANCELLED'));
    const seen: Json[] = [];
    let pageToken = '';
    do {
      const page = await ok('GET', `supervisedFineTuningJobs/${id}:listEvents?pageSize=2${pageToken ? `&pageToken=${pageToken}` : ''}`);
      expect(page['events'].length).toBeLessThanOrEqual(2);
      seen.push(...(page['events'] as Json[]));
      pageToken = page['nextPageToken'] as string;
    } while (pageToken);
    expect(seen).toEqual(await events(id));
    expect((await call('GET', `fineTuningJobs/${id}:listEvents?pageToken=x`)).status).toBe(400);
  });

  it('refuse a Last-Event-ID that is none of theirs', async () => {
    const id = freshId('header');
    const job = await twoRowJob(id);
    await ok('POST', 'fineTuningJobs', { ...job, baseModel: 'temper-tiny' });
    for (const value of ['x', '-1', '1.5'])
      expect((await call('GET', `fineTuningJobs/${id}:streamEvents`, undefined, { 'last-event-id': value })).status).toBe(400);
    await ok('DELETE', `fineTuningJobs/${id}`);
  });
});

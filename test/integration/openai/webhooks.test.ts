/** Webhooks: signed so that the official client takes them, delivered until they are taken, and never to where they must not go. */
import OpenAI, { toFile } from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { call, freshId, ok, stack, toJsonl, twoRowJob, until, untilState, type Json } from '../../temper.js';
import { startReceiver, type Receiver } from './webhookReceiver.js';

let client: OpenAI;
let receiver: Receiver;
beforeAll(async () => {
  const { apiUrl, apiKey } = stack();
  client = new OpenAI({ baseURL: `${apiUrl}/v1`, apiKey, maxRetries: 0 });
  receiver = await startReceiver();
});
afterAll(() => receiver.stop());

const told = (type: string, about: string) =>
  receiver.received.filter(({ body }) => (JSON.parse(body) as Json)['type'] === type && (JSON.parse(body) as Json)['data'].id === about);
const untilTold = (type: string, about: string, times = 1) =>
  until(`${type} of ${about}`, async () => told(type, about).length >= times && told(type, about));

describe('webhooks', () => {
  const id = freshId('hook');
  let secret: string;

  it('are created with a secret that is shown once', async () => {
    const body = { webhookId: id, displayName: 'Hook', url: receiver.url, eventTypes: ['fine_tuning.job.cancelled', 'dataset.ready'] };
    const created = await ok('POST', 'webhooks', body);
    expect(created).toMatchObject({ name: `accounts/${stack().accountId}/webhooks/${id}`, state: 'ENABLED', url: receiver.url });
    secret = created['secret'] as string;
    expect(Buffer.from(secret.replace('whsec_', ''), 'base64')).toHaveLength(32);
    const again = await ok('POST', 'webhooks', body);
    expect(again['secret']).toBeUndefined();
    expect(JSON.stringify([await ok('GET', `webhooks/${id}`), await ok('GET', 'webhooks'), await ok('GET', 'secrets')])).not.toContain(
      secret,
    );
    expect((await call('POST', 'webhooks', { ...body, url: 'https://example.com/' })).status).toBe(409);
  });

  it('are told again after a failure, in words that the official client takes', async () => {
    const job = await twoRowJob(freshId('told'));
    await untilTold('dataset.ready', job['jobId'] as string);
    receiver.answers.push(500);
    await ok('POST', 'fineTuningJobs', { ...job, baseModel: 'accounts/fireworks/models/llama-v3p2-1b-instruct' });
    await call('POST', `fineTuningJobs/${job['jobId']}:cancel`, {});
    await untilState(job['jobId'] as string, 'JOB_STATE_CANCELLED');
    const [first, second] = (await untilTold('fine_tuning.job.cancelled', job['jobId'] as string, 2)) as unknown as [Json, Json];
    const event = await client.webhooks.unwrap(second['body'], second['headers'], secret);
    expect(event).toMatchObject({ object: 'event', type: 'fine_tuning.job.cancelled', data: { id: job['jobId'] } });
    expect([first['headers']['webhook-id'], second['headers']['webhook-id']]).toEqual([event.id, event.id]);
    await expect(client.webhooks.unwrap(second['body'].replace('cancelled', 'succeeded'), second['headers'], secret)).rejects.toThrow();

    const { deliveries } = await until('the delivery to be recorded', async () => {
      const found = await ok('GET', `webhooks/${id}/deliveries`);
      return found['deliveries'][0].state === 'DELIVERED' && found;
    });
    expect(deliveries[0]).toMatchObject({ eventId: event.id, eventType: 'fine_tuning.job.cancelled', attempts: 2, status: 200 });
    const page = await ok('GET', `webhooks/${id}/deliveries?pageSize=1`);
    expect(page['deliveries']).toHaveLength(1);
    expect((await ok('GET', `webhooks/${id}/deliveries?pageSize=1&pageToken=${page['nextPageToken']}`))['deliveries'][0].eventType).toBe(
      'dataset.ready',
    );

    await ok('POST', `${(deliveries[0].name as string).split('/').slice(2).join('/')}:redeliver`, {});
    const [, , third] = await untilTold('fine_tuning.job.cancelled', job['jobId'] as string, 3);
    expect(third!.headers['webhook-id']).toBe(event.id);
  });

  it('are tried on demand: what the endpoint answers is told, redirects are not followed', async () => {
    receiver.answers.push(202, 302);
    expect(await ok('POST', `webhooks/${id}:test`, { eventType: 'fine_tuning.job.failed' })).toMatchObject({
      delivered: true,
      status: 202,
    });
    expect(await ok('POST', `webhooks/${id}:test`, {})).toMatchObject({ delivered: false, status: 302 });
  });

  it('sign with both secrets while one takes over from the other', async () => {
    const { secret: next } = await ok('POST', `webhooks/${id}:rotateSecret`, { keepPreviousSecret: true });
    await ok('POST', `webhooks/${id}:test`, { eventType: 'fine_tuning.job.failed' });
    const { body, headers } = receiver.received.at(-1)!;
    for (const one of [secret, next as string]) await client.webhooks.verifySignature(body, headers as Record<string, string>, one);
    const { secret: last } = await ok('POST', `webhooks/${id}:rotateSecret`, {});
    await ok('POST', `webhooks/${id}:test`, {});
    const latest = receiver.received.at(-1)!;
    await client.webhooks.verifySignature(latest.body, latest.headers as Record<string, string>, last as string);
    await expect(client.webhooks.verifySignature(latest.body, latest.headers as Record<string, string>, next as string)).rejects.toThrow();
  });

  it('are disabled by an endpoint that is gone, and enabled again', async () => {
    receiver.answers.push(410);
    expect(await ok('POST', `webhooks/${id}:test`, {})).toMatchObject({ delivered: false, status: 410 });
    expect(await ok('GET', `webhooks/${id}`)).toMatchObject({ state: 'DISABLED', disabledReason: expect.stringContaining('410') });
    expect((await call('POST', `webhooks/${id}:test`, {})).status).toBe(400);
    expect(await ok('PATCH', `webhooks/${id}`, { state: 'ENABLED', displayName: 'Again' })).toMatchObject({
      state: 'ENABLED',
      displayName: 'Again',
    });
    await ok('DELETE', `webhooks/${id}`);
    expect((await call('GET', `webhooks/${id}`)).status).toBe(404);
    expect(JSON.stringify(await ok('GET', 'secrets?pageSize=200'))).not.toMatch(/webhook-/);
  });

  it.each([
    ['http://example.com/', 'https://'],
    ['https://10.0.0.1/', 'public'],
    ['https://[::ffff:169.254.169.254]/', 'public'],
    ['https://user:password@example.com/', 'password'],
    ['ftp://example.com/', 'https://'],
    ['nonsense', 'URL'],
  ])('do not lie at %s', async (url, expected) => {
    const { status, body } = await call('POST', 'webhooks', { webhookId: freshId('bad'), url, eventTypes: ['dataset.ready'] });
    expect([status, body['details'][0].field]).toEqual([400, 'url']);
    expect(body['message']).toContain(expected);
    expect(body['message']).not.toContain('user:password');
  });
});

it('are managed with the official client', async () => {
  const created = await client.webhooks.create({ name: 'From OpenAI', url: receiver.url, event_types: ['fine_tuning.job.succeeded'] });
  expect(created).toMatchObject({ object: 'webhook_endpoint', name: 'From OpenAI', signing_secret: expect.stringMatching(/^whsec_/) });
  expect((await client.webhooks.retrieve(created.id)).signing_secret_hint).toBe(`whsec_…${created.signing_secret.slice(-4)}`);
  expect((await client.webhooks.update(created.id, { name: 'Renamed' })).name).toBe('Renamed');
  const listed = [];
  for await (const one of client.webhooks.list({ limit: 1 })) listed.push(one.id);
  expect(listed).toContain(created.id);
  expect((await client.webhooks.eventTypes.list()).data).toContain('fine_tuning.job.failed');
  expect(await client.webhooks.test(created.id, { event_type: 'fine_tuning.job.failed' })).toMatchObject({
    status_code: 200,
    success: true,
  });
  const event = await client.webhooks.unwrap(
    receiver.received.at(-1)!.body,
    receiver.received.at(-1)!.headers as never,
    created.signing_secret,
  );
  expect(event.type).toBe('fine_tuning.job.failed');
  expect((await client.webhooks.rotateSecret(created.id)).signing_secret).not.toBe(created.signing_secret);
  expect(await client.webhooks.delete(created.id)).toMatchObject({ id: created.id, deleted: true });
  await expect(client.webhooks.create({ name: 'x', url: receiver.url, event_types: ['batch.completed'] })).rejects.toMatchObject({
    status: 400,
  });
});

it('are told of a file that cannot be used', async () => {
  const { id } = await client.webhooks.create({ name: 'Files', url: receiver.url, event_types: ['dataset.invalid' as never] });
  const file = await toFile(Buffer.from(`${toJsonl([{ messages: [] }])}`), 'bad.jsonl').then((data) =>
    client.files.create({ file: data, purpose: 'fine-tune' }),
  );
  await untilTold('dataset.invalid', file.id);
  await client.webhooks.delete(id);
});

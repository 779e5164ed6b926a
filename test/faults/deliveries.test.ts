/** Killing the workers that have one end of a line to the outside in their hands: what they were at is done all the same, once. */
import { afterAll, expect, it } from 'vitest';
import { TINY_MODEL_NAME } from '../../schemas/baseModels.js';
import { startHub } from '../hubServer.js';
import { startReceiver } from '../integration/openai/webhookReceiver.js';
import { devFile, freshId, killProcess, ok, stack, until, uploadDataset, type Json } from '../temper.js';

const stops: (() => Promise<unknown>)[] = [];
afterAll(() => Promise.all(stops.map((stop) => stop())));

it('a webhook is told, and a model imported, by whoever comes after a killed worker', async () => {
  const id = freshId('lines');
  const receiver = await startReceiver();
  stops.push(() => receiver.stop());
  await ok('POST', 'webhooks', { webhookId: id, displayName: 'Hook', url: receiver.url, eventTypes: ['dataset.ready'] });
  const files = await tinyModel();
  let isAsked = false;
  let isKilled = false;
  const untilKilled = () => ((isAsked = true), until('the kill', async () => isKilled));
  const hub = await startHub(stack().hubPort, { 'team/held': files }, untilKilled);
  stops.push(() => hub.stop());

  // The import first, which is held for as long as need be: a webhook that is not answered is soon called again.
  await ok('POST', 'models', { modelId: id, model: { kind: 'HF_BASE_MODEL' }, importFrom: { repository: 'team/held' } });
  await until('the import to be in the middle of it', async () => isAsked);
  receiver.answers.push('never');
  await uploadDataset(id, '{"prompt": "a", "completion": "b"}\n');
  await until('the webhook to be called', async () => receiver.received.length === 1);
  for (const pid of devFile().pids.workers) killProcess(pid);
  isKilled = true;

  const model = await until('the model to be ready', async () => {
    const found = await ok('GET', `models/${id}`);
    return found['state'] === 'READY' && found;
  });
  expect(model['importedFrom']).toContain('team/held@');
  const [first, second] = await until('the webhook to be called again', async () => receiver.received.length === 2 && receiver.received);
  expect([second!.body, second!.headers['webhook-id']]).toEqual([first!.body, first!.headers['webhook-id']]);
  const { deliveries } = await until('the delivery to be recorded', async () => {
    const found = await ok('GET', `webhooks/${id}/deliveries`);
    return found['deliveries'][0].state === 'DELIVERED' && found;
  });
  expect(deliveries).toMatchObject([{ eventType: 'dataset.ready', status: 200 }]);
  await ok('DELETE', `webhooks/${id}`);
});

/** The files of the stack's small base model. */
async function tinyModel(): Promise<Record<string, Buffer>> {
  const { apiUrl, apiKey } = stack();
  const reply = await fetch(`${apiUrl}/v1/${TINY_MODEL_NAME}:getDownloadEndpoint`, { headers: { authorization: `Bearer ${apiKey}` } });
  const { 'model.json': _, ...urls } = ((await reply.json()) as Json)['filenameToSignedUrls'] as Record<string, string>;
  const files = Object.entries(urls).map(async ([name, url]) => [name, Buffer.from(await (await fetch(url)).arrayBuffer())] as const);
  return Object.fromEntries(await Promise.all(files));
}

import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { withTimeLimit } from '../../../schemas/timeLimit.js';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;
const silent = createServer(() => {});
const never = new AbortController().signal;
let url: string;

beforeAll(async () => {
  await once(silent.listen(0, '127.0.0.1'), 'listening');
  url = `http://127.0.0.1:${(silent.address() as AddressInfo).port}`;
});
afterAll(() => silent.close());

test('a request to a server that never answers ends when its time is over, however often garbage is collected', async () => {
  const collecting = setInterval(collectGarbage, 10);
  const requests = Array.from({ length: 20 }, () => withTimeLimit(300, never, (signal) => fetch(url, { signal })));
  const ends = await Promise.allSettled(requests);
  clearInterval(collecting);
  for (const end of ends) expect(end).toMatchObject({ status: 'rejected', reason: { name: 'TimeoutError' } });
});

test('work is aborted with the signal that it was given, for its reason', async () => {
  const controller = new AbortController();
  const request = withTimeLimit(60_000, controller.signal, (signal) => fetch(url, { signal }));
  controller.abort(new Error('no longer wanted'));
  await expect(request).rejects.toThrow('no longer wanted');
});

test('what is done in time is given', async () => {
  expect(await withTimeLimit(60_000, never, async () => 'done')).toBe('done');
});

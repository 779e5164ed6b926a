/** `updateMask`: on every PATCH, with one meaning. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { call, freshId, ok, stack, twoRowJob, type Json } from '../../temper.js';

const id = freshId('mask');
let keyId: string;

beforeAll(async () => {
  // A base model that this machine does not have: the job waits, and nobody else writes to its model.
  const baseModel = 'accounts/fireworks/models/llama-v3p2-1b-instruct';
  await ok('POST', 'fineTuningJobs', { ...(await twoRowJob(id)), modelId: id, baseModel, priority: 5 });
  await ok('POST', `users?userId=${id}`, { role: 'user', email: 'a@example.org' });
  ({ keyId } = (await ok('POST', `users/${id}/apiKeys`, {})) as { keyId: string });
  await ok('POST', 'secrets', { name: id, keyName: 'KEY', value: 'value' });
});
afterAll(async () => {
  for (const name of [`fineTuningJobs/${id}`, `users/${id}`, `secrets/${id}`]) await call('DELETE', name);
});

it('every PATCH takes one', async () => {
  const description = (await (await fetch(`${stack().apiUrl}/openapi.json`)).json()) as { paths: Record<string, Json> };
  const patches = Object.entries(description.paths).flatMap(([path, methods]) =>
    methods['patch'] ? [[path, methods['patch']] as const] : [],
  );
  expect(patches.length).toBeGreaterThan(8);
  for (const [path, operation] of patches) {
    const names = (operation as { parameters: { name: string }[] }).parameters.map(({ name }) => name);
    expect([path, names]).toEqual([path, expect.arrayContaining(['updateMask'])]);
  }
});

/** Where, the field to change, another field that may change (if there is one), one that may not, and one that has to have a value. */
const RESOURCES: [path: string, field: string, other: string | null, immutable: string, lasting?: string][] = [
  [`datasets/${id}`, 'displayName', null, 'state'],
  [`models/${id}`, 'displayName', 'description', 'kind'],
  [`fineTuningJobs/${id}`, 'displayName', null, 'dataset', 'priority'],
  [`supervisedFineTuningJobs/${id}`, 'displayName', null, 'baseModel'],
  [`users/${id}`, 'displayName', 'email', 'createTime', 'role'],
  [`users/${id}/apiKeys/KEY`, 'displayName', null, 'prefix'],
  [`secrets/${id}`, 'keyName', null, 'createTime', 'value'],
];

it.each(RESOURCES)('of %s', async (path, field, other, immutable, lasting) => {
  const one = path.replace('KEY', keyId);
  const patch = (mask: string | null, body: object) => call('PATCH', mask === null ? one : `${one}?updateMask=${mask}`, body);
  const snake = field.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
  const otherValue = other === 'email' ? 'b@example.org' : 'other';

  // Without a mask: what the body has.
  expect((await patch(null, { [field]: 'first' })).body[field]).toBe('first');
  expect((await patch(null, {})).body[field]).toBe('first');
  // With one: these fields only, in either spelling.
  const before = other ? ((await ok('GET', one))[other] as string) : undefined;
  const changed = await patch(snake, { [field]: 'second', ...(other ? { [other]: otherValue } : {}) });
  expect([changed.status, changed.body[field]]).toEqual([200, 'second']);
  if (other) expect(changed.body[other]).toBe(before);
  if (other) expect((await patch(`${field},${other}`, { [field]: 'third', [other]: otherValue })).body[other]).toBe(otherValue);
  // Named and not there: cleared.
  expect((await patch(field, {})).body[field]).toBe('');
  // Unknown, immutable, empty, and what cannot be without a value.
  for (const [mask, words] of [
    ['dispalyName', 'unknown field dispalyName'],
    [immutable, `${immutable} cannot be changed`],
    ['', 'name the fields to change'],
    ...(lasting ? [[lasting, `${lasting} cannot be cleared`]] : []),
  ] as [string, string][]) {
    const { status, body } = await patch(mask, {});
    expect([mask, status, body['details']?.[0].reason]).toEqual([mask, 400, 'INVALID_UPDATE_MASK']);
    expect(body['message']).toContain(words);
  }
});

/** Killing what validates: the next attempt goes on from what was saved, and the verdict is that of an undisturbed one. */
import { randomBytes } from 'node:crypto';
import { Client, Connection } from '@temporalio/client';
import { expect, it } from 'vitest';
import type { DatasetOutcome } from '../../schemas/activities.js';
import { devFile, freshId, killProcess, listObjects, ok, stack, until } from '../temper.js';

/** A part is saved every 16 MiB; this is two of them, read in no time, and then rows whose faults take seconds to explain. */
const GOOD_ROWS = 35_000;
const BAD_ROWS = 200_000;
const text = randomBytes(24 * 1024).toString('base64');
const good = Array.from(
  { length: GOOD_ROWS },
  (_, index) => `{"text":"${text.slice(index % 9000, (index % 9000) + 980)}","n":${index}}\n`,
).join('');
const bad = '{"a":}\n'.repeat(BAD_ROWS);

it('a data worker killed in the middle of a large file: the validation goes on, and does not read what was done', async () => {
  const id = freshId('killed');
  const content = Buffer.from(good + bad);
  await ok('POST', 'datasets', { datasetId: id, dataset: { userUploaded: {} } });
  const { filenameToSignedUrls } = await ok('POST', `datasets/${id}:getUploadEndpoint`, {
    filenameToSize: { 'rows.jsonl': content.length },
  });
  expect((await fetch(filenameToSignedUrls['rows.jsonl'] as string, { method: 'PUT', body: content })).status).toBe(200);
  const parts = async () => (await listObjects('uploads/')).filter((key) => key.includes('.parts/'));
  expect(await parts()).toEqual([]);
  await ok('POST', `datasets/${id}:validateUpload`, {});

  await until('two parts to be saved', async () => (await parts()).length === 2);
  for (const pid of devFile().pids.workers) killProcess(pid);

  const dataset = await until('the verdict', async () => {
    const found = await ok('GET', `datasets/${id}`);
    return found['status'].code === 'OK' ? null : found;
  });
  expect(dataset['status'].message).toContain(`Line ${GOOD_ROWS + 1}, a:`);
  const report = await ok('GET', `datasets/${id}:getValidationReport`);
  expect(report).toMatchObject({
    lines: GOOD_ROWS + BAD_ROWS,
    examples: GOOD_ROWS,
    duplicates: 0,
    errors: [{ code: 'E_JSON', count: BAD_ROWS }],
  });
  expect(report['errors'][0].places[0]).toMatchObject({ line: GOOD_ROWS + 1, byteOffset: good.length + 5 });
  const { attempt, outcome } = await lastValidation(dataset['name'] as string);
  expect(attempt).toBe(2);
  expect(outcome.bytesRead).toBeLessThanOrEqual(content.length - 32 * 1024 * 1024);
  expect(await parts()).toEqual([]);
});

/** What the workflow's history holds of the activity. */
async function lastValidation(workflowId: string): Promise<{ attempt: number; outcome: DatasetOutcome }> {
  const { temporalAddress } = stack();
  const connection = await Connection.connect({ address: temporalAddress });
  try {
    const { events } = await new Client({ connection }).workflow.getHandle(workflowId).fetchHistory();
    const started = events?.find((event) => event.activityTaskStartedEventAttributes)?.activityTaskStartedEventAttributes;
    const completed = events?.find((event) => event.activityTaskCompletedEventAttributes)?.activityTaskCompletedEventAttributes;
    const payload = completed?.result?.payloads?.[0]?.data ?? Buffer.alloc(0);
    return { attempt: started?.attempt ?? 0, outcome: JSON.parse(Buffer.from(payload).toString()) as DatasetOutcome };
  } finally {
    await connection.close();
  }
}

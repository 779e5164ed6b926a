/** The API killed while it takes something in: what it answered is kept, what it did not is as if never sent, and asking again is right. */
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { Readable } from 'node:stream';
import { expect, it } from 'vitest';
import { TINY_MODEL_NAME } from '../../schemas/baseModels.js';
import { devFile, freeze, freshId, jobState, killProcess, ok, stack, toJsonl, twoRowJob, until, untilJudged } from '../temper.js';

const rows = toJsonl(Array.from({ length: 2000 }, (_, index) => ({ prompt: `question ${index} `.padEnd(500, '.'), completion: 'answer' })));

async function killApi(): Promise<void> {
  const killed = devFile().pids.api!;
  killProcess(killed);
  await until('the API to be back', async () => devFile().pids.api !== killed && (await fetch(`${stack().apiUrl}/readyz`)).ok);
}

/** Direct uploads that lie on the API's disk. */
function spooledUploads(): number {
  return readdirSync(path.join(stack().home, 'tmp')).filter((name) => name.startsWith('upload-')).length;
}

/** Sends a form whose file is cut off in the middle, and goes on when `rest` says so. */
function upload(id: string, rest: Promise<unknown>): Promise<Response> {
  const { apiUrl, apiKey, accountId } = stack();
  const form = `--x\r\ncontent-disposition: form-data; name="file"; filename="rows.jsonl"\r\n\r\n${rows}\r\n--x--\r\n`;
  const body = Readable.from(
    (async function* () {
      yield Buffer.from(form.slice(0, form.length / 2));
      await rest;
      yield Buffer.from(form.slice(form.length / 2));
    })(),
  );
  return fetch(`${apiUrl}/v1/accounts/${accountId}/datasets/${id}:upload`, {
    method: 'POST',
    headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'multipart/form-data; boundary=x' },
    body: Readable.toWeb(body) as ReadableStream,
    duplex: 'half',
  } as RequestInit);
}

it('in the middle of an upload: the dataset waits for it as before, and it can be sent again', async () => {
  const id = freshId('cut');
  await ok('POST', 'datasets', { datasetId: id, dataset: { userUploaded: {} } });
  const before = spooledUploads();
  const broken = upload(id, new Promise(() => {})).then(
    (reply) => reply.status,
    () => 'broken off',
  );
  await until('the upload to be in the middle of it', async () => spooledUploads() > before);
  await killApi();
  expect(await broken).toBe('broken off');
  expect(await ok('GET', `datasets/${id}`)).toMatchObject({ state: 'UPLOADING', status: { code: 'OK' } });

  expect((await upload(id, Promise.resolve())).status).toBe(200);
  expect(await untilJudged(id)).toMatchObject({ state: 'READY', exampleCount: '2000', sizeBytes: String(rows.length) });
});

it('between a job’s row and its workflow: the job begins all the same, once', async () => {
  const id = freshId('begun');
  const job = { ...(await twoRowJob(id)), baseModel: TINY_MODEL_NAME };
  const thaw = freeze(devFile().pids.temporal!);
  // Its answer waits for the workflow, or is lost with the API: the same request again is right after both.
  const create = () => ok('POST', 'fineTuningJobs', job).catch(() => null);
  const first = create();
  try {
    await until('the row', async () => (await jobState(id).catch(() => null)) === 'JOB_STATE_CREATING');
    killProcess(devFile().pids.api!);
  } finally {
    thaw();
  }
  await first;
  const again = await until('an answer', create);
  expect(again['name']).toMatch(new RegExp(`/${id}$`));
  await until('the job to begin', async () => (await jobState(id)) !== 'JOB_STATE_CREATING');
  await ok('POST', `fineTuningJobs/${id}:cancel`, {});
  await until('its end', async () => (await jobState(id)) === 'JOB_STATE_CANCELLED');
});

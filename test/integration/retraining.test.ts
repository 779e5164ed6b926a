/** Retraining as a user has it: a schedule that trains, promotes and skips, a sweep that goes on from the promoted model, aliases. */
import { Client, Connection } from '@temporalio/client';
import { describe, expect, it } from 'vitest';
import { loadSecrets } from '../../dev/secrets.js';
import { openObjectStore } from '../../stores/objects.js';
import { call, freshId, ok, stack, toJsonl, until, uploadDataset, type Json } from '../temper.js';

const colours = ['red', 'green', 'blue', 'black', 'white', 'brown'];
const rows = (from: number, count: number) =>
  toJsonl(
    Array.from({ length: count }, (_, index) => ({ prompt: `the colour of thing ${from + index}`, answer: colours[(from + index) % 6] })),
  );
const fineTuning = {
  baseModel: 'accounts/temper/models/temper-tiny',
  textCompletion: { inputTemplate: '{prompt}', outputTemplate: '{answer}' },
  epochs: 1,
  batchSize: 8,
  loraRank: 4,
  learningRate: 0.01,
};

/** Trains and evaluates up to three times: half a minute, and a multiple of that on a busy machine. */
const RUN_TIMEOUT_MS = 480_000;
const ended = (route: string, state?: string): Promise<Json> =>
  until(
    `${route} to end`,
    async () => {
      const run = await ok('GET', route);
      return state && run['state'] !== state ? null : state || run['endTime'] !== undefined ? run : null;
    },
    RUN_TIMEOUT_MS,
  );
const newestRun = async (schedule: string, after: string[]): Promise<string> =>
  until('a run', async () => {
    const { runs } = await ok('GET', `schedules/${schedule}/runs?orderBy=createTime desc`);
    const name = (runs as Json[])[0]?.['name'] as string | undefined;
    return name && !after.includes(name) ? name : null;
  });
const route = (name: string) => name.split('/').slice(2).join('/');

describe('retraining', { timeout: RUN_TIMEOUT_MS }, () => {
  const id = freshId('nightly').slice(0, 38);
  const alias = `${id}@production`;

  it('trains what a schedule says, promotes it when it is approved, and skips when nothing has changed', async () => {
    await uploadDataset(`${id}-a`, rows(0, 12));
    await uploadDataset(`${id}-b`, rows(12, 12));
    const retraining = {
      data: { merge: { prefix: `${id}-` } },
      fineTuning,
      promotion: { alias, minImprovement: 0.01, approval: 'MANUAL' },
    };
    const schedule = await ok('POST', 'schedules', { scheduleId: id, cron: '0 2 * * *', timeZone: 'Europe/Berlin', retraining });
    expect(schedule['nextRunTimes']).toHaveLength(10);
    expect(new Date((schedule['nextRunTimes'] as string[])[0]!).getUTCHours()).toBeOneOf([0, 1]);
    expect(await ok('POST', 'schedules', { scheduleId: id, cron: '0 2 * * *', timeZone: 'Europe/Berlin', retraining })).toMatchObject({
      createTime: schedule['createTime'],
    });

    await ok('POST', `schedules/${id}:trigger`, {});
    const first = await newestRun(id, []);
    const waiting = await ended(route(first), 'AWAITING_APPROVAL');
    const [job] = waiting['jobs'] as [Json];
    expect(job).toMatchObject({ state: 'COMPLETED', metric: 'perplexity', best: true });
    expect(waiting['promotion']).toMatchObject({ decision: 'PENDING', candidateValue: job['value'], currentValue: job['baseValue'] });
    expect((await ok('GET', route(waiting['dataset'] as string)))['exampleCount']).toBe('24');
    expect(await call('DELETE', `schedules/${id}`)).toMatchObject({ status: 400, body: { details: [{ reason: 'RESOURCE_IN_USE' }] } });
    expect(await call('GET', `models/${alias}`)).toMatchObject({ status: 404 });

    await ok('POST', `${route(first)}:approve`, { note: 'looks good' });
    const done = await ended(route(first));
    expect(done).toMatchObject({ state: 'COMPLETED', promotion: { decision: 'PROMOTED', decidedBy: expect.stringContaining('@') } });
    expect((await ok('GET', `models/${alias}`))['name']).toBe(job['model']);
    expect(await call('POST', `${route(first)}:reject`, {})).toMatchObject({
      status: 400,
      body: { details: [{ reason: 'ILLEGAL_STATE' }] },
    });

    await ok('POST', `schedules/${id}:trigger`, {});
    const second = await ended(route(await newestRun(id, [first])));
    expect(second).toMatchObject({ state: 'SKIPPED', jobs: [], reason: expect.stringContaining('Nothing has changed') });
    // Two nights that were missed, made up for: each is a run of its own, and finds nothing changed.
    const nights = { startTime: '2026-01-10T12:00:00Z', endTime: '2026-01-12T12:00:00Z' };
    await ok('POST', `schedules/${id}:backfill`, nights);
    const missed = await until('two runs more', async () => {
      const { runs } = await ok('GET', `schedules/${id}/runs`);
      return (runs as Json[]).length === 4 && (runs as Json[]).every((run) => run['endTime'] !== undefined) && (runs as Json[]);
    });
    expect(missed.filter(({ state }) => state === 'SKIPPED')).toHaveLength(3);
    expect(await call('POST', `schedules/${id}:backfill`, { ...nights, startTime: '2024-01-01T00:00:00Z' })).toMatchObject({
      status: 400,
      body: { details: [{ field: 'startTime' }] },
    });
    const history = await jobHistory(route(job['job'] as string).split('/')[1]!);
    expect(history.parent).toBe(`accounts/${stack().accountId}/schedules/${id}`);
  });

  it('sweeps a grid from the promoted model, and compares on the same rows', async () => {
    const sweepId = `${id}-s`.slice(0, 40);
    const retraining = {
      data: { dataset: `${id}-a` },
      fineTuning,
      grid: { learning_rate: [0.005, 0.02] },
      maxConcurrentJobs: 2,
      startFrom: 'PROMOTED_MODEL',
      promotion: { alias },
    };
    const before = await ok('GET', `aliases/${alias}`);
    await ok('POST', 'sweeps', { sweepId, retraining });
    const sweep = await ended(`sweeps/${sweepId}`);
    const jobs = sweep['jobs'] as Json[];
    expect(jobs.map(({ settings, state }) => [settings.learningRate, state])).toEqual([
      [0.005, 'COMPLETED'],
      [0.02, 'COMPLETED'],
    ]);
    expect(await ok('GET', `fineTuningJobs/${sweepId}-1`)).toMatchObject({ warmStartFrom: before['model'] });
    const { decision, candidate, candidateValue, current, currentValue } = sweep['promotion'] as Json;
    expect(candidateValue).toBe(Math.min(...jobs.map(({ value }) => value as number)));
    expect(current).toBe(before['model']);
    expect(decision).toBe(candidateValue < currentValue ? 'PROMOTED' : 'KEPT');

    // By hand, and back.
    const other = jobs.find(({ model }) => model !== (decision === 'PROMOTED' ? candidate : ''))!['model'] as string;
    await ok('PATCH', `aliases/${alias}`, { model: other, reason: 'a try' });
    expect(await call('DELETE', route(other))).toMatchObject({ status: 400, body: { message: expect.stringContaining(alias) } });
    const back = await ok('POST', `aliases/${alias}:rollback`, { reason: 'no good' });
    expect(back['model']).toBe(decision === 'PROMOTED' ? candidate : before['model']);
    const { moves } = await ok('GET', `aliases/${alias}:listMoves`);
    expect((moves as Json[]).slice(0, 2)).toMatchObject([
      { kind: 'ROLLBACK', from: other, to: back['model'], reason: 'no good' },
      { kind: 'MOVE', to: other, reason: 'a try' },
    ]);
    expect((moves as Json[]).at(-1)).toMatchObject({ kind: 'PROMOTION', sequence: 1, to: before['model'] });
  });

  it('imports objects from S3, and says what is wrong with them', async () => {
    const { s3Endpoint, s3Bucket, accountId, home } = stack();
    const { s3AccessKeyId, s3SecretAccessKey } = loadSecrets(home);
    process.env['AWS_ACCESS_KEY_ID'] = s3AccessKeyId;
    process.env['AWS_SECRET_ACCESS_KEY'] = s3SecretAccessKey;
    const objects = openObjectStore({ endpoint: s3Endpoint, bucket: s3Bucket, region: 'us-east-1' });
    const retraining = { data: { s3Import: { prefix: `${id}/` } }, fineTuning };
    await ok('POST', 'sweeps', { sweepId: `${id}-n`, retraining });
    expect(await ended(`sweeps/${id}-n`)).toMatchObject({ state: 'SKIPPED', reason: expect.stringContaining('No *.jsonl object lies') });
    await objects.putBytes(`imports/${accountId}/${id}/1.jsonl`, rows(0, 2).trimEnd());
    await objects.putBytes(`imports/${accountId}/${id}/2.jsonl`, '{"prompt": "unfinished\n');
    await objects.putBytes(`imports/${accountId}/${id}/readme.txt`, 'not a row');
    await ok('POST', 'sweeps', { sweepId: `${id}-i`, retraining });
    const run = await ended(`sweeps/${id}-i`);
    expect(run).toMatchObject({ state: 'FAILED', failure: { code: 'DATASET_INVALID', domain: 'DATASET' } });
    expect(run['reason']).toMatch(/Line 3/);
    objects.close();
  });

  it('cancels a run with its jobs', async () => {
    const sweepId = `${id}-c`;
    await ok('POST', 'sweeps', { sweepId, retraining: { data: { dataset: `${id}-a` }, fineTuning: { ...fineTuning, epochs: 1000 } } });
    await until('its job', async () => (await call('GET', `fineTuningJobs/${sweepId}`)).status === 200);
    await ok('POST', `sweeps/${sweepId}:cancel`, {});
    expect(await ended(`sweeps/${sweepId}`)).toMatchObject({ state: 'CANCELLED' });
    await until('its job to be cancelled', async () => {
      const [job] = (await ok('GET', `sweeps/${sweepId}`))['jobs'] as [Json];
      return job['state'] === 'CANCELLED';
    });
  });

  it('pauses, changes and deletes a schedule', async () => {
    const paused = await ok('POST', `schedules/${id}:pause`, { note: 'holidays' });
    expect(paused).toMatchObject({ paused: true, note: 'holidays', nextRunTimes: [] });
    const changed = await ok('PATCH', `schedules/${id}`, { interval: '3600s' });
    expect(changed).toMatchObject({ interval: '3600s', paused: true });
    expect(changed['cron']).toBeUndefined();
    expect(await ok('POST', `schedules/${id}:unpause`, {})).toMatchObject({ paused: false });
    expect((await ok('GET', 'schedules'))['schedules']).toContainEqual(expect.objectContaining({ scheduleId: id, interval: '3600s' }));
    await ok('DELETE', `schedules/${id}`);
    expect(await call('GET', `schedules/${id}`)).toMatchObject({ status: 404 });
  });

  it('takes no cron expression that Temporal would not', async () => {
    for (const cron of ['*/15 8-18 * * mon-fri', '5 4 * JAN sun', '0 0 * * 7', '0/20 * * * *', '@daily', '0 0 29 2 *']) {
      const made = await ok('POST', 'schedules', {
        scheduleId: `${id}-x`,
        cron,
        paused: true,
        retraining: { data: { dataset: 'd' }, fineTuning },
      });
      expect([cron, made['paused']]).toEqual([cron, true]);
      expect([cron, (await ok('PATCH', `schedules/${id}-x`, { paused: false }))['nextRunTimes'].length]).toEqual([cron, 10]);
      await ok('DELETE', `schedules/${id}-x`);
    }
  });

  const schedule = { scheduleId: 'never', cron: '0 2 * * *', retraining: { data: { dataset: 'd' }, fineTuning } };
  it.each([
    ['CRON_INVALID', 'cron', { ...schedule, cron: '0 25 * * *' }],
    ['INVALID_FIELD', 'timeZone', { ...schedule, timeZone: 'Europe/Berlim' }],
    ['MISSING_FIELD', 'cron', { ...schedule, cron: undefined }],
    ['INVALID_FIELD', 'interval', { ...schedule, cron: undefined, interval: '1h' }],
    ['INVALID_ID', 'scheduleId', { ...schedule, scheduleId: 'x'.repeat(41) }],
    ['MISSING_FIELD', 'retraining.data', { ...schedule, retraining: { data: {}, fineTuning } }],
    ['INVALID_FIELD', 'retraining.data', { ...schedule, retraining: { data: { dataset: 'd', newest: { prefix: 'd' } }, fineTuning } }],
    [
      'UNKNOWN_FIELD',
      'retraining.fineTuning.dataset',
      { ...schedule, retraining: { data: { dataset: 'd' }, fineTuning: { ...fineTuning, dataset: 'd' } } },
    ],
    ['BASE_MODEL_NOT_FOUND', 'baseModel', { ...schedule, retraining: { ...schedule.retraining, grid: { baseModel: ['nope'] } } }],
    [
      'LEARNING_RATE_OUT_OF_RANGE',
      'learningRate',
      { ...schedule, retraining: { ...schedule.retraining, grid: { learningRate: [0.1, 5] } } },
    ],
    [
      'JOB_KIND_MISSING',
      undefined,
      { ...schedule, retraining: { ...schedule.retraining, fineTuning: { baseModel: fineTuning.baseModel } } },
    ],
    [
      'INVALID_FIELD',
      'retraining.data.s3Import.prefix',
      { ...schedule, retraining: { data: { s3Import: { prefix: '../other/' } }, fineTuning } },
    ],
    ['MISSING_FIELD', 'retraining.promotion', { ...schedule, retraining: { ...schedule.retraining, startFrom: 'PROMOTED_MODEL' } }],
  ])('refuses a schedule with %s at %s', async (reason, field, body) => {
    const reply = await call('POST', 'schedules', body);
    expect(reply).toMatchObject({ status: reason.endsWith('NOT_FOUND') ? 404 : 400, body: { details: [{ reason }] } });
    expect((reply.body['details'] as Json[])[0]!['field']).toBe(field);
  });
});

/** Who the job's workflow is a child of, without the time that Temporal puts behind a schedule's. */
async function jobHistory(jobId: string): Promise<{ parent: string | undefined }> {
  const { temporalAddress, temporalNamespace, accountId } = stack();
  const connection = await Connection.connect({ address: temporalAddress });
  const client = new Client({ connection, namespace: temporalNamespace });
  const { parentExecution } = await client.workflow.getHandle(`accounts/${accountId}/fineTuningJobs/${jobId}`).describe();
  await connection.close();
  return { parent: parentExecution?.workflowId?.replace(/-\d{4}-\d\d-\d\dT[\d:]+Z$/, '') };
}

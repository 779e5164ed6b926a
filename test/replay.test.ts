/** Histories of every release replay on today's workflows: a job that was started by an older version goes on under this one. */
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import { bundleWorkflowCode, Worker, type WorkflowBundleWithSourceMap } from '@temporalio/worker';
import { beforeAll, describe, expect, it } from 'vitest';

const FOLDER = fileURLToPath(new URL('./histories/', import.meta.url));
const RELEASES = ['0.1.0'];
/** What each release must have a history of. */
const CASES: Record<string, string[]> = {
  DatasetWorkflow: ['ready', 'refused'],
  FineTuningWorkflow: [
    ...[
      'completed',
      'retried',
      'paused',
      'cancelled',
      'deleted',
      'failed',
      'turn',
      'deadline',
      'verified',
      'approved',
      'preempted',
      'lostAttempts',
      'reported',
      'extended',
      'resumed',
      'abandoned',
    ],
  ],
  RetrainingWorkflow: ['completed', 'promoted', 'skipped', 'failed', 'cancelled'],
  WebhookWorkflow: ['delivered'],
  ReportWorkflow: ['delivered', 'refused'],
  ModelWorkflow: ['ready', 'refused'],
  ExportWorkflow: ['merged', 'converted', 'failed', 'cancelled'],
};

const read = (type: string, name: string) =>
  JSON.parse(readFileSync(`${FOLDER}${type}/${name}`, 'utf8')) as { events: { eventType: string; [key: string]: unknown }[] };

const pathOf = (file: string) => fileURLToPath(new URL(`../${file}`, import.meta.url));
const bundle = (workflowInterceptorModules: string[] = []) =>
  bundleWorkflowCode({ workflowsPath: pathOf('workflows/index.ts'), workflowInterceptorModules, logger: quiet() });

let workflowBundle: WorkflowBundleWithSourceMap;
beforeAll(async () => {
  workflowBundle = await bundle();
});

function quiet() {
  const log = () => {};
  return { log, trace: log, debug: log, info: log, warn: log, error: log };
}

const replay = (history: object) => Worker.runReplayHistory({ workflowBundle }, history, 'replayed');

describe.each(Object.entries(CASES))('%s', (type, cases) => {
  it('has a history of every release and case', () => {
    const expected = RELEASES.flatMap((release) => cases.map((name) => `${release}-${name}.json`));
    expect(readdirSync(`${FOLDER}${type}`)).toEqual(expect.arrayContaining(expected));
  });

  it.each(readdirSync(`${FOLDER}${type}`))('replays %s', async (name) => {
    await replay(read(type, name));
  });

  it('does not replay a history of other steps', async () => {
    const history = read(type, `${RELEASES[0]}-${cases[0]}.json`);
    const scheduled = history.events.find((event) => event.eventType === 'EVENT_TYPE_ACTIVITY_TASK_SCHEDULED')!;
    (scheduled['activityTaskScheduledEventAttributes'] as { activityType: { name: string } }).activityType.name = 'somethingElse';
    await expect(replay(history)).rejects.toThrow();
  });
});

it('replays where a worker was started anew with traces on', async () => {
  const traced = await bundle([pathOf('telemetry/workflowInterceptors.ts')]);
  await Worker.runReplayHistory({ workflowBundle: traced }, read('FineTuningWorkflow', `${RELEASES[0]}-retried.json`), 'replayed');
});

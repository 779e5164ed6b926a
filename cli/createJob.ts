/** `temper create fine-tuning-job`: one request from a settings file and flags, and with --wait the job watched to its end. */
import { randomBytes } from 'node:crypto';
import type { Command } from 'commander';
import { accountOf, callApi, type Resource } from './client.js';
import { createSweep } from './createSweep.js';
import { ApiError, UsageError } from './failures.js';
import { formatTable, plainText } from './format.js';
import { buildJobRequest, mergeSettings, requestOrigins, SETTINGS, type JobRequest } from './jobSettings.js';
import { collectionPath, JOB } from './resources.js';
import { openSession, print, printJson, printResource, terminalWidth, type Session } from './session.js';
import { addSettingFlags, gatherSettings } from './settingFlags.js';
import { settingsOfJob } from './sourceJob.js';
import { watchJob } from './watchJob.js';

const HIDDEN = new Set(['wandbApiKey']);

export function defineCreateJob(command: Command): void {
  command
    .description('Start a fine-tuning job')
    .option('-w, --wait', 'stay until the job ends, and show how far it is')
    .option('--source-job <name>', 'take the settings of this job; the file and the flags win over them')
    .option('--sweep <file>', 'several jobs at once: a YAML file with `grid`, `variants`, `promotion` and the like (docs/retraining.md)');
  addSettingFlags(command, SETTINGS);
  command
    .addHelpText(
      'after',
      [
        '',
        'Examples:',
        '  temper create fine-tuning-job --settings-file settings.yaml --wait',
        '  temper create fine-tuning-job --dataset my-intents --text text --label intent --base-model temper-tiny',
        '  temper create fine-tuning-job --settings-file settings.yaml --epochs 2 --dry-run',
        '  temper create fine-tuning-job --source-job my-job --learning-rate 0.0001',
        '  temper create fine-tuning-job --from-checkpoint my-job@120 --learning-rate 0.0001',
        '  temper create fine-tuning-job --settings-file settings.yaml --sweep grid.yaml --wait',
      ].join('\n'),
    )
    .action(async (_: unknown, self: Command) => {
      const given = gatherSettings(self);
      const session = openSession(self);
      const { sweep, wait, sourceJob } = self.opts<{ sweep?: string; wait?: boolean; sourceJob?: string }>();
      const checkpoint = given.values.get('from_checkpoint')?.value as string | undefined;
      const source = sourceJob ?? checkpoint?.split('@')[0];
      const settings = source === undefined ? given : mergeSettings(await settingsOfJob(session, source), given);
      if (sweep !== undefined) return createSweep(session, settings, sweep, wait ?? false);
      const block = settings.blocks?.retraining ?? settings.blocks?.schedule;
      if (block)
        throw new UsageError(
          `${block.origin}: a single job knows no retraining or schedule: use temper create schedule, or --sweep for several jobs at once`,
        );
      await createJob(session, buildJobRequest(settings, await accountOf(session.connection)), wait ?? false);
    });
}

async function createJob(session: Session, request: JobRequest, wait: boolean): Promise<void> {
  const path = await collectionPath(session, JOB);
  if (session.dryRun) return printPlan(session, path, request);

  // Chosen here when it is not given, so that a create whose answer got lost can be repeated.
  const jobId = String(request.body.jobId ?? `ft-${randomBytes(6).toString('hex')}`);
  let job: Resource;
  try {
    job = await callApi(session.connection, { method: 'POST', path, body: { ...request.body, jobId }, idempotent: true });
  } catch (error) {
    if (error instanceof ApiError) error.origins = requestOrigins(request);
    throw error;
  }
  if (wait) return watchJob(session, `${path}/${jobId}`, jobId);
  printResource(session, job, jobId, `Created ${plainText(job.name)}\nWatch it with: temper get fine-tuning-job ${jobId} --wait`);
}

function printPlan(session: Session, path: string, request: JobRequest): void {
  const url = session.connection.apiUrl + path;
  const hide = (field: string, value: unknown) => (HIDDEN.has(field) ? '(hidden)' : value);
  if (session.json) {
    const body = Object.fromEntries(Object.entries(request.body).map(([field, value]) => [field, hide(field, value)]));
    return printJson({ method: 'POST', url, body, origins: Object.fromEntries(request.rows.map(({ field, origin }) => [field, origin])) });
  }
  print(`POST ${url}\n`);
  print(
    formatTable(
      ['FIELD', 'VALUE', 'FROM'],
      request.rows.map(({ field, value, origin }) => [field, JSON.stringify(hide(field, value)), origin]),
      terminalWidth(),
    ),
  );
}

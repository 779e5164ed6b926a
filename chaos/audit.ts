/** What must hold once all is quiet: every job at its right end, once; every byte as undisturbed; nothing left behind anywhere. */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client, Connection } from '@temporalio/client';
import { sql } from 'kysely';
import { loadSecrets } from '../dev/secrets.js';
import { canMove, isTerminal, type JobState } from '../schemas/states.js';
import { openDatabase, type Database } from '../stores/database.js';
import { openObjectStore } from '../stores/objects.js';
import { findOrphanObjects, findOrphanRows } from '../stores/orphans.js';
import { referenceId, type DrivenJob } from './jobs.js';
import { listTrainers, pidsOf } from './kills.js';
import type { Json, Target } from './target.js';

/** Left-overs that a later step of a workflow, or a restarted process, still removes by itself. */
const SETTLE_MS = 60_000;

/** What is wrong, one line each; empty when all is well. @param before  what `findLeftovers` said before the run */
export async function auditRun(target: Target, prefix: string, jobs: DrivenJob[], before: string[]): Promise<string[]> {
  const problems: string[] = [...target.brokenAnswers.map((answer) => `broken answer: ${answer}`)];
  for (const job of jobs) {
    if (!job.allowed.includes(job.end)) {
      problems.push(`${job.id} (${job.steering}): ended as ${job.end}, not ${job.allowed.join(' or ')}; ${await explain(target, job.id)}`);
      continue;
    }
    problems.push(...(await auditJob(target, prefix, job)).map((problem) => `${job.id} (${job.profile}, ${job.steering}): ${problem}`));
  }
  const deadline = Date.now() + SETTLE_MS;
  for (;;) {
    const left = (await findLeftovers(target)).filter((name) => !before.includes(name));
    if (left.length === 0) break;
    if (Date.now() > deadline) {
      problems.push(...left.map((name) => `left behind: ${name}`));
      break;
    }
    await sleep(1_000);
  }
  return problems;
}

async function auditJob(target: Target, prefix: string, job: DrivenJob): Promise<string[]> {
  const problems: string[] = [];
  const model = await target.call('GET', `models/${job.id}`);
  if (job.end !== 'COMPLETED') {
    if (model.status !== 404) problems.push(`it has a model (${model.status})`);
    if (job.end === 'DELETED') return problems;
  } else if (model.body['state'] !== 'READY') problems.push(`its model is ${model.status} ${model.body['state']}`);
  else {
    const [own, reference] = await Promise.all([adapterHash(target, job.id), adapterHash(target, referenceId(prefix, job.profile))]);
    if (own !== reference) problems.push(`its adapter is ${own}, the undisturbed one ${reference}`);
    problems.push(...(await compareCurves(target, prefix, job)));
  }
  const { attempts = [] } = await target.ok('GET', `fineTuningJobs/${job.id}:listAttempts`);
  const numbers = (attempts as Json[]).map(({ attempt }) => Number(attempt));
  if (numbers.some((number, index) => index > 0 && number <= numbers[index - 1]!)) problems.push(`its attempts are ${numbers.join(', ')}`);
  if ((attempts as Json[]).some(({ endTime }) => endTime === undefined)) problems.push('an attempt never ended');
  return [...problems, ...auditEvents(await readEvents(target, job.id), job.end)];
}

/** Numbers without gap or double, legal changes of state, one end. */
function auditEvents(events: Json[], end: string): string[] {
  const problems: string[] = [];
  const sequence = events.map((event) => Number(event['sequence']));
  if (sequence.some((number, index) => number !== index + 1)) problems.push(`its events are numbered ${sequence.join(',')}`);
  const states = events.filter(({ type }) => type === 'state').map(({ state }) => state as JobState);
  states.slice(1).forEach((state, index) => {
    if (state !== states[index] && !canMove(states[index]!, state)) problems.push(`it went from ${states[index]} to ${state}`);
  });
  const ends = states.filter(isTerminal);
  if (ends.length !== 1 || ends[0] !== end) problems.push(`its ends are ${ends.join(', ') || 'none'}`);
  return problems;
}

async function compareCurves(target: Target, prefix: string, { id, profile }: DrivenJob): Promise<string[]> {
  const curve = async (job: string): Promise<string[]> =>
    ((await target.ok('GET', `fineTuningJobs/${job}/metrics`))['metrics'] as Json[]).map(({ step, loss }) => `${step}: ${loss}`);
  const [own, reference] = await Promise.all([curve(id), curve(referenceId(prefix, profile))]);
  return own.join() === reference.join() ? [] : [`its ${own.length} losses are not the ${reference.length} undisturbed ones`];
}

async function readEvents(target: Target, id: string): Promise<Json[]> {
  return (await target.ok('GET', `fineTuningJobs/${id}:listEvents?pageSize=200`))['events'] as Json[];
}

async function explain(target: Target, id: string): Promise<string> {
  const { body } = await target.call('GET', `supervisedFineTuningJobs/${id}`);
  return JSON.stringify(body['status'] ?? body).slice(0, 400);
}

async function adapterHash(target: Target, model: string): Promise<string> {
  const { filenameToSignedUrls } = await target.ok('GET', `models/${model}:getDownloadEndpoint`);
  const reply = await fetch((filenameToSignedUrls as Record<string, string>)['adapter_model.safetensors']!);
  if (!reply.ok) return `not readable: ${reply.status}`;
  return createHash('sha256')
    .update(Buffer.from(await reply.arrayBuffer()))
    .digest('hex');
}

/** Everything that no living job needs: objects, rows, workflows, processes, folders, locks. */
export async function findLeftovers(target: Target): Promise<string[]> {
  const dev = target.dev();
  const database = openDatabase(dev.databaseUrl, { maxConnections: 2 });
  const secrets = loadSecrets(target.home);
  process.env['AWS_ACCESS_KEY_ID'] ??= secrets.s3AccessKeyId;
  process.env['AWS_SECRET_ACCESS_KEY'] ??= secrets.s3SecretAccessKey;
  const objects = openObjectStore({ endpoint: dev.s3Endpoint, region: 'us-east-1', bucket: dev.s3Bucket });
  const ages = { graceSeconds: 0, renderedSetSeconds: 3600 };
  try {
    const orphans = [...(await findOrphanObjects(database, objects, ages)), ...(await findOrphanRows(database, ages))];
    return [
      ...orphans.map(({ kind, name }) => `${kind} ${name}`),
      ...(await findOpenWorkflows(target, database)),
      ...listTrainers(target.home).map((pid) => `trainer ${pid}`),
      ...pidsOf(target, 'rendering').map((pid) => `child ${pid} of the data worker`),
      ...readdirSync(join(target.home, 'scratch')).map((name) => `scratch folder ${name}`),
      ...(spawnSync('flock', ['--nonblock', join(target.home, 'gpu.lock'), 'true']).status === 1 ? ['the lock of the GPU'] : []),
    ];
  } finally {
    objects.close();
    await database.destroy();
  }
}

/** Open workflows of jobs that have ended or are gone, and jobs of which there was more than one run. */
async function findOpenWorkflows({ dev }: Target, database: Database): Promise<string[]> {
  const connection = await Connection.connect({ address: dev().temporalAddress });
  try {
    const client = new Client({ connection, namespace: dev().temporalNamespace });
    const found: string[] = [];
    const runs = new Map<string, number>();
    for await (const { workflowId, status } of client.workflow.list({ query: 'WorkflowType = "FineTuningWorkflow"' })) {
      runs.set(workflowId, (runs.get(workflowId) ?? 0) + 1);
      const [, account = '', , id = ''] = workflowId.split('/');
      const job = await database
        .selectFrom('jobs')
        .select('state')
        .where('account_id', '=', account)
        .where('id', '=', id)
        .executeTakeFirst();
      if (status.name === 'RUNNING' && (!job || isTerminal(job.state))) found.push(`open workflow ${workflowId}`);
      if (status.name !== 'RUNNING' && status.name !== 'COMPLETED') found.push(`workflow ${workflowId} ended as ${status.name}`);
    }
    for (const [workflowId, count] of runs) if (count > 1) found.push(`${count} workflows of ${workflowId}`);
    const idle = await sql<{ pid: number }>`select pid from pg_stat_activity where state like 'idle in transaction%'`.execute(database);
    return [...found, ...idle.rows.map(({ pid }) => `open transaction of the database’s process ${pid}`)];
  } finally {
    await connection.close();
  }
}

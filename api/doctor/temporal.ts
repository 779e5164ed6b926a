/** Temporal: the server and its namespace, the search attributes, and each task queue with who polls it and what waits in it. */
import type { Connection } from '@temporalio/client';
import type { Check } from '../../schemas/doctor.js';
import { SEARCH_ATTRIBUTE_NAMES } from '../../schemas/searchAttributes.js';
import { CONTROL_QUEUE, DATA_QUEUE, gpuQueue, REPORT_QUEUE } from '../../schemas/taskQueues.js';
import { listWorkers } from '../../stores/workers.js';
import type { ApiDependencies } from '../server.js';
import { problem } from './stores.js';

/** Earlier servers have cross-namespace advisories (docs/design.md): of no matter where nobody else reaches them. */
const SERVER_VERSION = [1, 32, 2];
/** Closed workflows must be there for as long as operators look back. */
const RETENTION_DAYS = 3;
const WORKFLOW_TASKS = 1;
const ACTIVITY_TASKS = 2;
/** Tasks of the control and data queues take milliseconds to minutes; the GPU queue may be long. */
const BACKLOG_WARNING_SECONDS = 120;

export async function checkTemporal({ temporal, config }: ApiDependencies): Promise<Check[]> {
  const namespace = config.temporalNamespace;
  const { serverVersion } = await temporal.workflowService.getClusterInfo({});
  const description = await temporal.workflowService.describeNamespace({ namespace });
  const days = Number(description.config?.workflowExecutionRetentionTtl?.seconds ?? 0) / 86_400;
  // A development server, which nobody else reaches.
  const isLocal = /^(127\.|localhost|\[::1\])/.test((temporal.connection as Connection).options.address);
  return [
    isOlder(serverVersion ?? '', SERVER_VERSION) && !isLocal
      ? problem(
          'WARNING',
          'temporal',
          'version',
          `The server is ${serverVersion}.`,
          `Use ${SERVER_VERSION.join('.')} or later: earlier ones have advisories.`,
        )
      : { component: 'temporal', name: 'version', state: 'OK', message: `The server is ${serverVersion}.` },
    days > 0 && days < RETENTION_DAYS && !isLocal
      ? problem(
          'WARNING',
          'temporal',
          'namespace',
          `Namespace ${namespace} keeps closed workflows for ${days} days.`,
          `Keep them longer: temporal operator namespace update --retention 30d ${namespace}`,
        )
      : { component: 'temporal', name: 'namespace', state: 'OK', message: `Namespace ${namespace} is there.` },
  ];
}

export async function checkSearchAttributes({ temporal, config }: ApiDependencies): Promise<Check[]> {
  const { customAttributes } = await (temporal.connection as Connection).operatorService.listSearchAttributes({
    namespace: config.temporalNamespace,
  });
  const missing = SEARCH_ATTRIBUTE_NAMES.filter((name) => !(name in (customAttributes ?? {})));
  if (missing.length === 0)
    return [
      { component: 'temporal', name: 'search attributes', state: 'OK', message: `All ${SEARCH_ATTRIBUTE_NAMES.length} are registered.` },
    ];
  const flags = missing.map((name) => `--name ${name}`).join(' ');
  return [
    problem(
      'FAILED',
      'temporal',
      'search attributes',
      `Missing: ${missing.join(', ')}. No workflow can start without them.`,
      `temporal operator search-attribute create --namespace ${config.temporalNamespace} --type Keyword ${flags}`,
    ),
  ];
}

export async function checkQueues(dependencies: ApiDependencies): Promise<Check[]> {
  const classes = new Set((await listWorkers(dependencies.database)).map(({ report }) => report.queue));
  const queues = new Set([CONTROL_QUEUE, DATA_QUEUE, REPORT_QUEUE, gpuQueue(), ...classes]);
  const checks = [checkQueue(dependencies, CONTROL_QUEUE, WORKFLOW_TASKS, 'workflows')];
  for (const queue of queues) checks.push(checkQueue(dependencies, queue, ACTIVITY_TASKS, 'activities'));
  return Promise.all(checks);
}

async function checkQueue({ temporal, config }: ApiDependencies, queue: string, type: number, what: string): Promise<Check> {
  const { pollers, stats } = await temporal.workflowService.describeTaskQueue({
    namespace: config.temporalNamespace,
    taskQueue: { name: queue },
    taskQueueType: type,
    reportStats: true,
    reportPollers: true,
  });
  const count = pollers?.length ?? 0;
  const backlog = Number(stats?.approximateBacklogCount ?? 0);
  const ageSeconds = Number(stats?.approximateBacklogAge?.seconds ?? 0);
  const waiting = backlog === 0 ? 'nothing waits' : `${backlog} wait, the oldest for ${ageSeconds} s`;
  const message = `${count} ${count === 1 ? 'worker polls' : 'workers poll'}; ${waiting}.`;
  const name = `${queue} ${what}`;
  if (count === 0)
    return problem('FAILED', 'queue', name, message, `Start a worker of this queue: node --import tsx workers/${workerOf(queue)}.ts`);
  if (!queue.startsWith(gpuQueue()) && ageSeconds > BACKLOG_WARNING_SECONDS)
    return problem('WARNING', 'queue', name, message, 'Start more workers of this queue, or look why these are slow.');
  return { component: 'queue', name, state: 'OK', message };
}

function workerOf(queue: string): string {
  return { [CONTROL_QUEUE]: 'control', [DATA_QUEUE]: 'data', [REPORT_QUEUE]: 'reports' }[queue] ?? 'gpu';
}

function isOlder(version: string, than: number[]): boolean {
  const parts = version.split('.').map((part) => Number.parseInt(part, 10));
  for (const [index, wanted] of than.entries()) if ((parts[index] ?? 0) !== wanted) return (parts[index] ?? 0) < wanted;
  return false;
}

/**
 * Starting workflows and talking to them. The row is always first: a workflow that was not started because something died in
 * between is started later by `startPendingWorkflows`, and one that was started twice is the same workflow.
 */
import {
  ApplicationFailure,
  WorkflowExecutionAlreadyStartedError,
  WorkflowNotFoundError,
  WorkflowUpdateFailedError,
  type Client,
  type UpdateDefinition,
  type WorkflowStartOptions,
} from '@temporalio/client';
import { jobInput } from '../jobs/jobInput.js';
import type { DatasetInput, DeliveryInput, DeliveryResult, ModelInput } from '../schemas/activities.js';
import { isErrorCode, TemperError } from '../schemas/errors.js';
import type { ExportInput } from '../schemas/export.js';
import { resourceName } from '../schemas/names.js';
import { jobStartOptions, startAttributes } from '../schemas/jobStart.js';
import { TEMPER_ACCOUNT, TEMPER_KIND, TEMPER_MODEL, TEMPER_STAGE, TEMPER_STATE } from '../schemas/searchAttributes.js';
import { CONTROL_QUEUE } from '../schemas/taskQueues.js';
import { reportWorkflowId, TRACKER_TITLES, type ReportInput, type Tracker } from '../schemas/tracker.js';
import type { Database } from '../stores/database.js';
import { markValidationStarted, requestValidation, validationsToStart } from '../stores/datasets.js';
import { exportName, exportsWithoutWorkflow, markExportStarted, type ExportRecord } from '../stores/exports.js';
import { modelsToStart, setModelWorkDue, type ModelRecord } from '../stores/models.js';
import { abandonJob, jobsWithoutWorkflow, livingJobs, markWorkflowStarted, type JobRecord } from '../stores/jobs.js';
import { findPreemption } from '../stores/queue.js';
import { nextInLine } from '../stores/quotas.js';
import { deliveriesWithoutWorkflow, markDeliveryStarted } from '../stores/webhooks.js';
import {
  DATASET_WORKFLOW,
  deliverAgainSignal,
  EXPORT_WORKFLOW,
  FINE_TUNING_WORKFLOW,
  MODEL_WORKFLOW,
  REPORT_WORKFLOW,
  stepAsideUpdate,
  turnSignal,
  WEBHOOK_WORKFLOW,
} from '../workflows/messages.js';

/** A start is a few milliseconds; one that takes this long has found no server. */
const START_TIMEOUT_MS = 3_000;
/** An update waits for the state it asks for, the workflow's side for 20 s at most. */
const UPDATE_TIMEOUT_MS = 25_000;

/** Starts the job's workflow unless it has one, and remembers that it has. */
export async function startJob(client: Client, database: Database, job: JobRecord): Promise<void> {
  const input = jobInput(job);
  const memo = { uid: job.uid, ...(job.resumed > 0 ? { resumed: job.resumed } : {}) };
  await startOnce(client, FINE_TUNING_WORKFLOW, input.name, memo, { args: [input], ...jobStartOptions(input, job.created_by) });
  await markWorkflowStarted(database, job.uid);
}

/** Starts the jobs whose start was missed. A job whose name is still held by the workflow of a deleted one waits for the next round. */
export async function startPendingWorkflows(
  client: Client,
  database: Database,
  olderThanSeconds: number,
  onError: (error: unknown, job: JobRecord) => void,
): Promise<void> {
  for (const job of await jobsWithoutWorkflow(database, olderThanSeconds)) {
    try {
      await startJob(client, database, job);
    } catch (error) {
      onError(error, job);
    }
  }
}

/** For how long a workflow that ended without its job is looked for: longer than the API is ever away. */
const ABANDONED_FOR_MS = 24 * 3600_000;

/**
 * Jobs whose workflow has ended without them, because an operator terminated it: nobody would ever end them. Each gets another workflow,
 * which cancels it and removes what it left.
 */
export async function cancelAbandonedJobs(client: Client, database: Database): Promise<void> {
  const since = new Date(Date.now() - ABANDONED_FOR_MS).toISOString();
  const statuses = '"Terminated", "Failed", "TimedOut", "Canceled"';
  const query = `WorkflowType = "${FINE_TUNING_WORKFLOW}" and ExecutionStatus in (${statuses}) and CloseTime > "${since}"`;
  const ended = new Map<string, string>();
  for await (const { workflowId, memo } of client.workflow.list({ query }))
    if (typeof memo?.['uid'] === 'string') ended.set(memo['uid'], workflowId);
  for (const uid of await livingJobs(database, [...ended.keys()])) {
    // A workflow that was reset has another run, and a job may have been resumed.
    const { status, memo } = await client.workflow.getHandle(ended.get(uid)!).describe();
    if (memo?.['uid'] === uid && status.name !== 'RUNNING' && status.name !== 'COMPLETED') await abandonJob(database, uid, status.name);
  }
}

/** Starts an export's workflow unless it has one, and remembers that it has. */
export async function startExport(client: Client, database: Database, record: ExportRecord): Promise<void> {
  const name = exportName(record);
  const input: ExportInput = { uid: record.uid, name, accountId: record.account_id };
  await startOnce(
    client,
    EXPORT_WORKFLOW,
    name,
    { uid: record.uid },
    {
      args: [input],
      staticSummary: `export as ${record.format}`,
      staticDetails: `**Export** \`${name}\`, asked for by ${record.created_by}`,
      typedSearchAttributes: [
        ...startAttributes({ account: record.account_id, state: 'PENDING', stage: 'queued' }),
        { key: TEMPER_KIND, value: record.format },
        { key: TEMPER_MODEL, value: resourceName(record.account_id, 'models', record.model_id) },
      ],
    },
  );
  await markExportStarted(database, record.uid);
}

/** Starts the exports whose start was missed. */
export async function startPendingExports(
  client: Client,
  database: Database,
  olderThanSeconds: number,
  onError: (error: unknown, name: string) => void,
): Promise<void> {
  for (const record of await exportsWithoutWorkflow(database, olderThanSeconds)) {
    try {
      await startExport(client, database, record);
    } catch (error) {
      onError(error, exportName(record));
    }
  }
}

/** What a delivery's workflow is started with. */
export interface DeliveryStart {
  id: string;
  accountId: string;
  webhookId: string;
  type: string;
}

/** Starts the deliveries that stand in the records: at once those that were just written, and those that a crash left. */
export async function startPendingDeliveries(
  client: Client,
  database: Database,
  onError: (error: unknown, id: string) => void,
): Promise<void> {
  for (const delivery of await deliveriesWithoutWorkflow(database)) {
    try {
      await startDelivery(client, delivery, false);
      await markDeliveryStarted(database, delivery.id);
    } catch (error) {
      onError(error, delivery.id);
    }
  }
}

/** One attempt of a delivery, and how it went. */
export async function runTrialDelivery(client: Client, delivery: DeliveryStart): Promise<DeliveryResult> {
  const workflowId = await startDelivery(client, delivery, true);
  return client.withDeadline(
    Date.now() + UPDATE_TIMEOUT_MS,
    () => client.workflow.getHandle(workflowId).result() as Promise<DeliveryResult>,
  );
}

/** One workflow a delivery, however often it is started. */
async function startDelivery(client: Client, { id, accountId, webhookId, type }: DeliveryStart, once: boolean): Promise<string> {
  const webhookName = resourceName(accountId, 'webhooks', webhookId);
  const workflowId = `${webhookName}/deliveries/${id}`;
  const input: DeliveryInput = { id, webhookName, eventType: type, once };
  try {
    await start(client, WEBHOOK_WORKFLOW, workflowId, {
      args: [input],
      workflowIdReusePolicy: 'REJECT_DUPLICATE',
      staticSummary: `tell ${webhookId}: ${type}`,
      typedSearchAttributes: startAttributes({ account: accountId, state: 'PENDING', stage: 'delivering' }),
    });
  } catch (error) {
    if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
  }
  return workflowId;
}

/** Has the job's reporter to a tracker deliver at once; it is started where it has not begun, or has given up. */
export async function startReport(client: Client, job: JobRecord, tracker: Tracker): Promise<void> {
  const { name, uid, accountId } = jobInput(job);
  const input: ReportInput = { uid, name, accountId, tracker };
  await client.withDeadline(Date.now() + START_TIMEOUT_MS, () =>
    client.workflow.signalWithStart(REPORT_WORKFLOW, {
      workflowId: reportWorkflowId(input),
      taskQueue: CONTROL_QUEUE,
      args: [input],
      signal: deliverAgainSignal,
      workflowIdReusePolicy: 'ALLOW_DUPLICATE',
      staticSummary: `report to ${TRACKER_TITLES[tracker]}`,
    }),
  );
}

/**
 * Has an upload validated. It stands in the records from here on: if its workflow cannot be started now, it will be within seconds
 * of Temporal's return. The same upload is validated once; a new one takes the place of one that is still being validated.
 */
export async function validateDataset(
  client: Client,
  database: Database,
  accountId: string,
  input: DatasetInput,
  onDelay: (error: Error) => void,
): Promise<void> {
  await requestValidation(database, input);
  await startValidation(client, database, accountId, input).catch(onDelay);
}

/** Has a model's files imported and validated, in the same way. @returns false when it is not started yet */
export async function validateModel(
  client: Client,
  database: Database,
  model: ModelRecord,
  onDelay: (error: Error) => void,
): Promise<boolean> {
  await setModelWorkDue(database, model.uid, true);
  return startModelWork(client, database, model).then(
    () => true,
    (error: Error) => (onDelay(error), false),
  );
}

/** Starts what was asked for while Temporal was away, or by a process that died then. */
export async function startPendingWork(
  client: Client,
  database: Database,
  olderThanSeconds: number,
  onError: (error: unknown, name: string) => void,
): Promise<void> {
  for (const { accountId, input } of await validationsToStart(database, olderThanSeconds))
    await startValidation(client, database, accountId, input).catch((error: unknown) => onError(error, input.name));
  for (const model of await modelsToStart(database, olderThanSeconds))
    await startModelWork(client, database, model).catch((error: unknown) =>
      onError(error, resourceName(model.account_id, 'models', model.id)),
    );
}

async function startValidation(client: Client, database: Database, accountId: string, input: DatasetInput): Promise<void> {
  await startForUpload(client, DATASET_WORKFLOW, input.name, input.uploadKey, {
    args: [input],
    staticSummary: 'validate a dataset',
    staticDetails: `**Dataset** \`${input.name}\``,
    typedSearchAttributes: startAttributes({ account: accountId, dataset: input.name, state: 'UPLOADING', stage: 'uploaded' }),
  });
  await markValidationStarted(database, input);
}

/** The files of a model that someone brings are imported first when they come from the hub. */
async function startModelWork(client: Client, database: Database, model: ModelRecord): Promise<void> {
  const name = resourceName(model.account_id, 'models', model.id);
  const { import: imported, upload } = model;
  const importedFrom = imported ? `${imported.repository}@${imported.revision ?? 'main'}` : undefined;
  const input: ModelInput = { uid: model.uid, name, ...(importedFrom ? { importedFrom } : { uploadId: upload?.id }) };
  await startForUpload(client, MODEL_WORKFLOW, name, importedFrom ?? upload!.id, {
    args: [input],
    staticSummary: importedFrom ? `import ${importedFrom}` : 'validate a model',
    staticDetails: `**Model** \`${name}\`, ${model.kind}, created by ${model.created_by}`,
    typedSearchAttributes: [
      { key: TEMPER_ACCOUNT, value: model.account_id },
      { key: TEMPER_MODEL, value: name },
      { key: TEMPER_KIND, value: model.kind },
      { key: TEMPER_STATE, value: 'UPLOADING' },
      { key: TEMPER_STAGE, value: 'uploaded' },
    ],
  });
  await setModelWorkDue(database, model.uid, false);
}

/** One workflow at a time for a resource: the one of its present upload. */
async function startForUpload(client: Client, type: string, name: string, upload: string, options: StartOptions): Promise<void> {
  const own = { ...options, memo: { upload } };
  try {
    await start(client, type, name, { ...own, workflowIdReusePolicy: 'ALLOW_DUPLICATE', workflowIdConflictPolicy: 'FAIL' });
  } catch (error) {
    if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
    const { memo } = await client.workflow.getHandle(name).describe();
    if (memo?.['upload'] === upload) return;
    await start(client, type, name, { ...own, workflowIdConflictPolicy: 'TERMINATE_EXISTING' });
  }
}

/** Ends the workflow of a dataset or model that is being deleted; none running is fine. */
export async function stopWork(client: Client, name: string): Promise<void> {
  try {
    await client.withDeadline(Date.now() + START_TIMEOUT_MS, () => client.workflow.getHandle(name).terminate('The resource was deleted.'));
  } catch (error) {
    if (!(error instanceof WorkflowNotFoundError)) throw error;
  }
}

/** Asks a workflow to end what it does. False when none is running. */
export async function cancelWork(client: Client, name: string): Promise<boolean> {
  try {
    await client.withDeadline(Date.now() + START_TIMEOUT_MS, () => client.workflow.getHandle(name).cancel());
    return true;
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return false;
    throw error;
  }
}

/**
 * Asks a job's workflow for something and waits for its answer.
 * @returns the workflow's answer, or null when it has no running workflow
 * @throws TemperError ILLEGAL_STATE, or a code of the workflow's, with its reason, when it refuses
 */
export async function updateJob<Result, Request>(
  client: Client,
  job: JobRecord,
  definition: UpdateDefinition<Result, [Request]>,
  request: Request,
): Promise<Result | null> {
  try {
    return await client.withDeadline(Date.now() + UPDATE_TIMEOUT_MS, () =>
      client.workflow.getHandle(jobInput(job).name).executeUpdate(definition, { args: [request] }),
    );
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return null;
    if (error instanceof WorkflowUpdateFailedError && error.cause instanceof ApplicationFailure)
      throw new TemperError(isErrorCode(error.cause.type) ? error.cause.type : 'ILLEGAL_STATE', error.cause.message);
    throw error;
  }
}

/** Has a job make way for a more urgent one, where there is one that should. It may have ended or been paused meanwhile: then nothing is done. */
export async function preempt(client: Client, database: Database): Promise<void> {
  const found = await findPreemption(database);
  if (!found) return;
  const { id, priority } = found.waiting;
  await updateJob(client, found.running, stepAsideUpdate, { for: `job ${id} of priority ${priority}` }).catch((error: unknown) => {
    if (!(error instanceof TemperError)) throw error;
  });
}

/** After a quota was raised: the account's jobs that there is room for now ask for their turn. */
export async function callNextInLine(client: Client, database: Database, accountId: string): Promise<void> {
  for (const id of await nextInLine(database, accountId)) {
    const handle = client.workflow.getHandle(resourceName(accountId, 'fineTuningJobs', id));
    try {
      await client.withDeadline(Date.now() + START_TIMEOUT_MS, () => handle.signal(turnSignal));
    } catch (error) {
      if (!(error instanceof WorkflowNotFoundError)) throw error;
    }
  }
}

/** Tells a job's workflow from others that had its name. */
interface JobMemo extends Record<string, unknown> {
  uid: string;
  /** How often it was resumed after a failure; absent: never. */
  resumed?: number;
}

type StartOptions = Omit<WorkflowStartOptions, 'taskQueue' | 'workflowId'>;

function start(client: Client, type: string, workflowId: string, options: StartOptions): Promise<unknown> {
  return client.withDeadline(Date.now() + START_TIMEOUT_MS, () =>
    client.workflow.start(type, { ...options, taskQueue: CONTROL_QUEUE, workflowId } as WorkflowStartOptions),
  );
}

/**
 * One workflow for each memo. The name may have been another job's, deleted since, or the job's own before it was resumed: that one's
 * end is waited for, and only then is its name used again. A plain "already started is success" would take the other for this one.
 */
async function startOnce(client: Client, type: string, workflowId: string, memo: JobMemo, options: StartOptions): Promise<void> {
  const own = { ...options, memo, workflowIdConflictPolicy: 'FAIL' as const };
  try {
    await start(client, type, workflowId, { ...own, workflowIdReusePolicy: 'REJECT_DUPLICATE' });
  } catch (error) {
    if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
    const { memo: found } = await client.workflow.getHandle(workflowId).describe();
    if (found?.['uid'] === memo.uid && (found['resumed'] ?? 0) === (memo.resumed ?? 0)) return;
    await start(client, type, workflowId, { ...own, workflowIdReusePolicy: 'ALLOW_DUPLICATE' });
  }
}

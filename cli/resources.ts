/** The resources that commands name, as data: how each is called, where it lies in the API, what a list and a `get` show of it. */
import { isId } from '../schemas/names.js';
import { accountOf, callApi, type Resource } from './client.js';
import { UsageError } from './failures.js';
import { formatCount, formatSize, formatTime, idOf, plainText } from './format.js';
import { describeTiming, nextRun } from './retrainingText.js';
import type { Session } from './session.js';

export interface ResourceType {
  noun: string;
  aliases: string[];
  /** Also the key of a list's answer. */
  collection: string;
  columns: [title: string, cell: (resource: Resource) => string][];
  fields: (resource: Resource) => [label: string, value: string | undefined][];
}

const text = (field: string) => (resource: Resource) => plainText(resource[field]);
const id = (resource: Resource) => idOf(resource.name);
const time = (field: string) => (resource: Resource) => (resource[field] ? formatTime(String(resource[field])) : '');
/** For lists: to the minute. */
const shortTime = (field: string) => (resource: Resource) => time(field)(resource).slice(0, 16);
const count = (value: unknown) => (value === undefined || value === null || value === '' ? '' : formatCount(Number(value)));
/** `JOB_STATE_RUNNING` and `RUNNING` read the same. */
export const stateOf = (resource: Resource) => plainText(resource.state).replace(/^JOB_STATE_/, '');
/**
 * A job's state as it is. The older route knows fewer states, because its clients refuse others: there a cancelled job is
 * FAILED and a paused one PENDING, and only status and stage tell.
 */
export function shownState(job: Resource): string {
  if (stateOf(job) === 'FAILED' && (job.status as { code?: string } | undefined)?.code === 'CANCELLED') return 'CANCELLED';
  return ['paused', 'cancelling'].includes(plainText(job.stage)) ? plainText(job.stage).toUpperCase() : stateOf(job);
}
/** The message of a status that is not OK. */
export function statusMessage(resource: Resource): string {
  const status = resource.status as { code?: string; message?: string } | undefined;
  return status?.code && status.code !== 'OK' ? plainText(status.message || status.code) : '';
}

export const DATASET: ResourceType = {
  noun: 'dataset',
  aliases: ['datasets'],
  collection: 'datasets',
  columns: [
    ['ID', id],
    ['STATE', (dataset) => (statusMessage(dataset) ? 'INVALID' : stateOf(dataset))],
    ['EXAMPLES', (dataset) => count(dataset.exampleCount)],
    ['FORMAT', (dataset) => text('format')(dataset).replace('FORMAT_UNSPECIFIED', '')],
    ['CREATED', shortTime('createTime')],
    ['DISPLAY NAME', text('displayName')],
  ],
  fields: (dataset) => [
    ['Name', text('name')(dataset)],
    ['Display name', text('displayName')(dataset)],
    ['State', stateOf(dataset)],
    ['Problem', statusMessage(dataset)],
    ['Examples', stateOf(dataset) === 'READY' ? count(dataset.exampleCount) : ''],
    ['Format', text('format')(dataset).replace('FORMAT_UNSPECIFIED', '')],
    ['Created', `${time('createTime')(dataset)} ${dataset.createdBy ? `by ${text('createdBy')(dataset)}` : ''}`],
  ],
};

export const JOB: ResourceType = {
  noun: 'fine-tuning-job',
  aliases: ['fine-tuning-jobs', 'sftj', 'supervised-fine-tuning-job'],
  collection: 'fineTuningJobs',
  columns: [
    ['ID', id],
    ['STATE', shownState],
    ['KIND', (job) => text('kind')(job).replace('text', '').toLowerCase()],
    ['DATASET', (job) => idOf(job.dataset)],
    ['BASE MODEL', (job) => idOf(job.baseModel || job.warmStartFrom)],
    ['MODEL', (job) => idOf(job.modelId)],
    ['CREATED', shortTime('createTime')],
    ['DISPLAY NAME', text('displayName')],
  ],
  // Said by cli/jobText.ts, which knows a job's stages.
  fields: () => [],
};

export const MODEL: ResourceType = {
  noun: 'model',
  aliases: ['models'],
  collection: 'models',
  columns: [
    ['ID', id],
    ['STATE', stateOf],
    ['KIND', text('kind')],
    ['BASE MODEL', (model) => idOf(peft(model).baseModel)],
    ['RANK', (model) => plainText(peft(model).r)],
    ['CREATED', shortTime('createTime')],
    ['DISPLAY NAME', text('displayName')],
  ],
  fields: (model) => [
    ['Name', text('name')(model)],
    ['Display name', text('displayName')(model)],
    ['Description', text('description')(model)],
    ['State', stateOf(model)],
    ['Problem', statusMessage(model)],
    ['Kind', text('kind')(model)],
    ['Base model', plainText(peft(model).baseModel)],
    ['LoRA rank', plainText(peft(model).r)],
    ['Target modules', Array.isArray(peft(model).targetModules) ? (peft(model).targetModules as string[]).map(plainText).join(', ') : ''],
    ['Parameters', count((model.baseModelDetails as Resource | undefined)?.parameterCount)],
    ['Context length', count(model.contextLength)],
    ['Defaults', defaults(model)],
    ['Hugging Face', text('huggingFaceUrl')(model)],
    ['Imported from', text('importedFrom')(model)],
    ['Warnings', (model.warnings as string[] | undefined)?.map(plainText).join('\n')],
    ['Job', text('fineTuningJob')(model)],
    [
      'Files',
      (model.files as Resource[] | undefined)?.map((file) => `${plainText(file.name)}  ${formatSize(Number(file.sizeBytes))}`).join('\n'),
    ],
    ['Created', time('createTime')(model)],
  ],
};

/** `MODEL/EXPORT`, as commands take it. */
export function exportId(resource: Resource): string {
  const [, , , model = '', , last = ''] = plainText(resource.name).split('/');
  return `${model}/${last}`;
}

export const EXPORT: ResourceType = {
  noun: 'model-export',
  aliases: ['model-exports', 'exports'],
  collection: 'exports',
  columns: [
    ['EXPORT', exportId],
    ['STATE', stateOf],
    ['STAGE', (found) => (stateOf(found) === 'RUNNING' ? `${plainText(found.stage)} ${plainText(found.percent)} %` : '')],
    ['FORMAT', text('format')],
    ['QUANTIZATION', text('quantization')],
    ['SIZE', (found) => (stateOf(found) === 'COMPLETED' ? formatSize(Number(found.sizeBytes)) : '')],
    ['CREATED', shortTime('createTime')],
  ],
  fields: (found) => [
    ['Name', text('name')(found)],
    ['Format', `${text('format')(found)} ${text('quantization')(found)}`.trim()],
    ['State', stateOf(found) === 'RUNNING' ? `RUNNING ${plainText(found.stage)} ${plainText(found.percent)} %` : stateOf(found)],
    ['Problem', statusMessage(found)],
    ['Checked', checkOf(found)],
    [
      'Files',
      (found.files as Resource[] | undefined)
        ?.map((file) => `${plainText(file.name)}  ${formatSize(Number(file.sizeBytes))}  ${plainText(file.sha256)}`)
        .join('\n'),
    ],
    ['Created', `${time('createTime')(found)} ${found.createdBy ? `by ${text('createdBy')(found)}` : ''}`],
    ['Ended', time('completedTime')(found)],
  ],
};

/** What the check of an export found, in words. */
function checkOf({ check }: Resource): string {
  const { difference, tolerance, effect, tensors, weights, weightDifference } = (check ?? {}) as Record<string, number>;
  if (difference !== undefined)
    return `logits differ by ${difference.toFixed(4)} of their spread (at most ${tolerance}; the adapter itself makes ${effect!.toFixed(2)})`;
  return tensors === undefined
    ? ''
    : `${tensors} tensors, ${count(weights)} weights in matrices, mean size off by ${weightDifference!.toPrecision(1)}`;
}

export const USER: ResourceType = {
  noun: 'user',
  aliases: ['users'],
  collection: 'users',
  columns: [
    ['ID', id],
    ['ROLE', text('role')],
    ['EMAIL', text('email')],
    ['CREATED', shortTime('createTime')],
    ['DISPLAY NAME', text('displayName')],
  ],
  fields: (user) => [
    ['Name', text('name')(user)],
    ['Display name', text('displayName')(user)],
    ['Email', text('email')(user)],
    ['Role', text('role')(user)],
    ['Created', time('createTime')(user)],
  ],
};

export const API_KEY: ResourceType = {
  noun: 'api-key',
  aliases: ['api-keys'],
  collection: 'apiKeys',
  columns: [
    ['KEY ID', text('keyId')],
    ['PREFIX', text('prefix')],
    ['CREATED', shortTime('createTime')],
    ['EXPIRES', shortTime('expireTime')],
    ['LAST USED', shortTime('lastUsedTime')],
    ['DISPLAY NAME', text('displayName')],
  ],
  fields: (key) => [
    ['Key ID', text('keyId')(key)],
    ['Display name', text('displayName')(key)],
    ['Prefix', text('prefix')(key)],
    ['Email', text('email')(key)],
    ['Created', time('createTime')(key)],
    ['Expires', time('expireTime')(key)],
    ['Last used', time('lastUsedTime')(key)],
  ],
};

export const SECRET: ResourceType = {
  noun: 'secret',
  aliases: ['secrets'],
  collection: 'secrets',
  columns: [
    ['ID', id],
    ['KEY NAME', text('keyName')],
  ],
  fields: (secret) => [
    ['Name', text('name')(secret)],
    ['Key name', text('keyName')(secret)],
  ],
};

export const WEBHOOK: ResourceType = {
  noun: 'webhook',
  aliases: ['webhooks'],
  collection: 'webhooks',
  columns: [
    ['ID', id],
    ['STATE', stateOf],
    ['URL', text('url')],
    ['CREATED', shortTime('createTime')],
    ['DISPLAY NAME', text('displayName')],
  ],
  fields: (webhook) => [
    ['Name', text('name')(webhook)],
    ['Display name', text('displayName')(webhook)],
    ['URL', text('url')(webhook)],
    ['Told of', Array.isArray(webhook.eventTypes) ? (webhook.eventTypes as string[]).map(plainText).join(', ') : ''],
    ['State', stateOf(webhook)],
    ['Problem', text('disabledReason')(webhook)],
    ['Secret', text('secretHint')(webhook)],
    ['Created', time('createTime')(webhook)],
  ],
};

export const QUOTA: ResourceType = {
  noun: 'quota',
  aliases: ['quotas'],
  collection: 'quotas',
  columns: [
    ['ID', id],
    ['IN USE', (quota) => count(quota.usage)],
    ['VALUE', (quota) => count(quota.value)],
    ['MAX', (quota) => count(quota.maxValue)],
    ['OF WHAT', text('description')],
  ],
  fields: (quota) => [
    ['Name', text('name')(quota)],
    ['Of what', text('description')(quota)],
    ['In use', count(quota.usage)],
    ['Value', count(quota.value)],
    ['Max value', count(quota.maxValue)],
    ['Changed', time('updateTime')(quota)],
  ],
};

export const AUDIT_EVENT: ResourceType = {
  noun: 'audit-event',
  aliases: ['audit-events'],
  collection: 'auditEvents',
  columns: [
    ['TIME', time('time')],
    ['WHO', (event) => text('email')(event) || text('user')(event)],
    ['DID', text('method')],
    ['TO', (event) => text('resource')(event).replace(/^accounts\/[^/]+\//, '')],
    ['OUTCOME', (event) => `${plainText(event.status)} ${text('reason')(event)}`.trim()],
    ['FROM', text('address')],
    ['KEY', text('keyId')],
  ],
  fields: (event) => [
    ['Name', text('name')(event)],
    ['Time', time('time')(event)],
    ['User', `${text('user')(event)} ${text('email')(event)}`],
    ['Key', text('keyId')(event)],
    ['Request', `${text('method')(event)} ${text('path')(event)}`],
    ['Resource', text('resource')(event)],
    ['Outcome', `${plainText(event.status)} ${text('reason')(event)}`.trim()],
    ['Address', text('address')(event)],
  ],
};

export const JANITOR_REPORT: ResourceType = {
  noun: 'janitor-report',
  aliases: ['janitor-reports'],
  collection: 'janitorReports',
  columns: [
    ['ID', id],
    ['TIME', time('createTime')],
    ['REMOVED', (report) => count(report.removedCount)],
    ['BYTES', (report) => formatSize(Number(report.removedBytes))],
    ['LEFT ALONE', (report) => count(report.keptCount)],
  ],
  fields: (report) => [
    ['Name', text('name')(report)],
    ['Time', time('createTime')(report)],
    ['Removed', `${count(report.removedCount)} (${formatSize(Number(report.removedBytes))})`],
    ['Left alone', count(report.keptCount)],
    [
      'Orphans',
      (report.orphans as Resource[] | undefined)
        ?.map(
          ({ kind, orphan, reason, removed }) =>
            `${removed ? 'removed' : 'left   '}  ${plainText(kind)}  ${plainText(orphan)}  ${plainText(reason)}`,
        )
        .join('\n'),
    ],
  ],
};

export const ACCOUNT: ResourceType = {
  noun: 'account',
  aliases: ['accounts'],
  collection: 'accounts',
  columns: [
    ['ID', id],
    ['EMAIL', text('email')],
    ['CREATED', shortTime('createTime')],
    ['DISPLAY NAME', text('displayName')],
  ],
  fields: (account) => [
    ['Name', text('name')(account)],
    ['Display name', text('displayName')(account)],
    ['Email', text('email')(account)],
    ['Created', time('createTime')(account)],
  ],
};

export const SCHEDULE: ResourceType = {
  noun: 'schedule',
  aliases: ['schedules'],
  collection: 'schedules',
  columns: [
    ['ID', id],
    ['RUNS', describeTiming],
    ['NEXT RUN', nextRun],
    ['RUNNING', (schedule) => ((schedule.runningRuns as string[] | undefined) ?? []).map(idOf).join(' ')],
    ['PROMOTES TO', (schedule) => plainText(((schedule.retraining as Resource | undefined)?.promotion as Resource | undefined)?.alias)],
    ['DISPLAY NAME', text('displayName')],
  ],
  fields: () => [],
};

const runColumns: ResourceType['columns'] = [
  ['ID', id],
  ['STATE', stateOf],
  ['JOBS', (run) => count(((run.jobs as unknown[] | undefined) ?? []).length)],
  ['PROMOTION', (run) => plainText((run.promotion as Resource | undefined)?.decision)],
  ['DATASET', (run) => idOf(run.dataset)],
  ['CREATED', shortTime('createTime')],
  ['REASON', text('reason')],
];
/** A run of a schedule; its ID begins with the schedule's. */
export const RUN: ResourceType = {
  noun: 'schedule-run',
  aliases: ['schedule-runs'],
  collection: 'runs',
  columns: runColumns,
  fields: () => [],
};
export const SWEEP: ResourceType = { noun: 'sweep', aliases: ['sweeps'], collection: 'sweeps', columns: runColumns, fields: () => [] };

export const ALIAS: ResourceType = {
  noun: 'alias',
  aliases: ['aliases'],
  collection: 'aliases',
  columns: [
    ['ALIAS', id],
    ['MODEL', (alias) => idOf(alias.model)],
    ['MOVED', shortTime('updateTime')],
  ],
  fields: () => [],
};

/** No resource of its own: what the account has used, read as a whole. */
export const USAGE: ResourceType = { noun: 'usage', aliases: [], collection: 'usage', columns: [], fields: () => [] };

export function pluralOf({ noun }: ResourceType): string {
  return noun.endsWith('s') ? `${noun}es` : `${noun}s`;
}

/** Path of a collection; API keys lie under their user, runs under their schedule. */
export async function collectionPath(session: Session, type: ResourceType, parent?: string): Promise<string> {
  if (type === ACCOUNT) return '/v1/accounts';
  const account = `/v1/accounts/${encodeURIComponent(await accountOf(session.connection))}`;
  if (type === API_KEY) return `${account}/users/${encodeURIComponent(parent ?? (await currentUser(session)))}/apiKeys`;
  if (type === EXPORT) return `${await resourcePath(session, MODEL, parent ?? '')}/exports`;
  return type === RUN ? `${account}/schedules/${encodeURIComponent(idOf(parent))}/runs` : `${account}/${type.collection}`;
}

/**
 * Path of a resource, by bare ID or by full name (which may be of another account).
 * @throws UsageError  when it is neither
 */
export async function resourcePath(session: Session, type: ResourceType, name: string): Promise<string> {
  if (type === RUN) return runPath(session, name);
  if (type === EXPORT) return exportPath(session, name);
  const isOwnId = (text: string) => (type === ALIAS ? ALIAS_ID.test(text) : isId(text) || (type === MODEL && ALIAS_ID.test(text)));
  if (isOwnId(name)) return `${await collectionPath(session, type)}/${name}`;
  const [accounts, account, collection, last, ...more] = name.split('/');
  const collections = type === JOB ? [JOB.collection, 'supervisedFineTuningJobs'] : [type.collection];
  if (
    accounts === 'accounts' &&
    isId(account ?? '') &&
    collections.includes(collection ?? '') &&
    isOwnId(last ?? '') &&
    more.length === 0
  ) {
    return `/v1/accounts/${account}/${type.collection}/${last}`;
  }
  if (type === ALIAS) throw new UsageError(`"${plainText(name)}" is not an alias: give MODEL@ALIAS, such as support-bot@production`);
  throw new UsageError(
    `"${plainText(name)}" is not the name of a ${type.noun}: give an ID (1 to 63 characters of a-z, 0-9 and hyphen) or accounts/ACCOUNT/${type.collection}/ID`,
  );
}

const ALIAS_ID = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?@[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;

/** `nightly-20261124-020000`, or the full name with the schedule in it. */
async function runPath(session: Session, name: string): Promise<string> {
  const full = /^accounts\/([^/]+)\/schedules\/([^/]+)\/runs\/([^/]+)$/.exec(name);
  if (full && full.slice(1).every(isId)) return `/v1/${name}`;
  const schedule = /^(.+)-\d{8}-\d{6}$/.exec(name)?.[1];
  if (schedule && isId(name)) return `${await collectionPath(session, RUN, schedule)}/${name}`;
  throw new UsageError(`"${plainText(name)}" is not the name of a run: give its ID, such as nightly-20261124-020000, or its full name`);
}

/** `MODEL/EXPORT`, or the full name. */
async function exportPath(session: Session, name: string): Promise<string> {
  const [, model, id] = /^(.+?)\/(?:exports\/)?([^/]+)$/.exec(name) ?? [];
  if (model && isId(id ?? '')) return `${await resourcePath(session, MODEL, model)}/exports/${id}`;
  throw new UsageError(`"${plainText(name)}" is not the name of an export: give MODEL/EXPORT, such as my-model/merged, or its full name`);
}

/** The user that the key belongs to. */
async function currentUser(session: Session): Promise<string> {
  const { userId } = await callApi<{ userId: string }>(session.connection, { method: 'GET', path: '/verifyApiKey' });
  return userId;
}

/** `epochs 1, learning rate 0.0001, …`: what a job on a base model takes when it says nothing. */
function defaults(model: Resource): string {
  const entries = Object.entries((model.tuningDefaults as Resource | undefined) ?? {});
  return entries
    .map(([name, value]) => `${name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`).replace('lora', 'LoRA')} ${plainText(value)}`)
    .join(', ');
}

function peft(model: Resource): Resource {
  return (model.peftDetails as Resource | undefined) ?? {};
}

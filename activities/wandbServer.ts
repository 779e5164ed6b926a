/**
 * Asking a Weights & Biases server: who a key belongs to, and what the server holds of a run. The SDK can send only, and says
 * that it succeeded when rows were lost, so this is how we know.
 */
import { TemperError } from '../schemas/errors.js';
import type { WandbRun } from './wandbRun.js';

export interface WandbServer {
  /** https://api.wandb.ai or the address of one's own, without a slash at the end. */
  baseUrl: string;
  apiKey: string;
}

/** Why a delivery failed; the `reason` of the error's first detail. */
export type TrackerProblem = 'KEY_MISSING' | 'KEY_REFUSED' | 'ENTITY_REFUSED' | 'NO_ANSWER' | 'SERVER_ERROR' | 'ROWS_MISSING';

export interface Viewer {
  entity: string;
  teams: string[];
}
export interface RunFound {
  /** `running` until the end of the run has arrived, then `finished`, `failed` or `crashed`. */
  state: string;
  summary: Record<string, unknown>;
  /** 0 on servers that do not count. */
  rowCount: number;
}

const ANSWER_TIMEOUT_MS = 15_000;

/** @throws TemperError TRACKER_REFUSED (KEY_REFUSED) or TRACKER_FAILED */
export async function readViewer(server: WandbServer, signal: AbortSignal): Promise<Viewer> {
  const { viewer } = (await query(server, VIEWER_QUERY, {}, signal)) as { viewer?: ViewerAnswer | null };
  if (!viewer) throw keyRefused(server);
  const teams = viewer.teams?.edges?.flatMap((edge) => edge.node?.name ?? []) ?? [];
  return { entity: viewer.entity ?? '', teams };
}

/** What the server holds of a run: null when it has none, 'unknown' when it cannot tell (some self-hosted servers lack the query). */
export async function findRun(
  server: WandbServer,
  entity: string,
  run: WandbRun,
  signal: AbortSignal,
): Promise<RunFound | null | 'unknown'> {
  const answer = (await query(server, RUN_QUERY, { entity, project: run.project, run: run.id }, signal)) as RunAnswer;
  if (answer.project === undefined) return 'unknown';
  const found = answer.project?.run;
  if (!found) return null;
  return { state: String(found.state), summary: parseObject(found.summaryMetrics), rowCount: Number(found.historyLineCount) || 0 };
}

/** True when all rows of the job and the end of the run have arrived. */
export function holdsRun(found: RunFound, run: WandbRun): boolean {
  const last = run.rows.at(-1)!;
  const { _step, job_uid, job_state } = found.summary;
  const summarized = _step === last.step && job_uid === last.values['job_uid'] && job_state === last.values['job_state'];
  return summarized && found.state !== 'running' && (found.rowCount === 0 || found.rowCount >= run.rows.length);
}

/** The page of the run for people. */
export function runUrl(server: WandbServer, entity: string, run: WandbRun): string {
  const site = server.baseUrl.replace('//api.wandb.', '//wandb.');
  return `${site}/${[entity, run.project, 'runs', run.id].map(encodeURIComponent).join('/')}`;
}

export function trackerError(code: 'TRACKER_FAILED' | 'TRACKER_REFUSED', problem: TrackerProblem, message: string): TemperError {
  return new TemperError(code, message, [{ reason: problem }]);
}

export function keyRefused(server: WandbServer): TemperError {
  const advice = 'Get a valid one from its authorize page, and give that to the next job.';
  return trackerError('TRACKER_REFUSED', 'KEY_REFUSED', `Weights & Biases (${hostOf(server)}) does not accept the API key. ${advice}`);
}

export function entityRefused(server: WandbServer, entity: string, run: WandbRun): TemperError {
  const target = `${entity || 'its default entity'}/${run.project}`;
  const message = `Weights & Biases (${hostOf(server)}) does not let this API key write to ${target}.`;
  return trackerError('TRACKER_REFUSED', 'ENTITY_REFUSED', `${message} Check both names, or use the key of a member.`);
}

export function noAnswer(server: WandbServer): TemperError {
  return trackerError('TRACKER_FAILED', 'NO_ANSWER', `Weights & Biases (${hostOf(server)}) does not answer; reporting is tried again.`);
}

export function serverError(server: WandbServer, status?: number): TemperError {
  const how = status ? `answered with HTTP ${status}` : 'did not take the run';
  return trackerError('TRACKER_FAILED', 'SERVER_ERROR', `Weights & Biases (${hostOf(server)}) ${how}; reporting is tried again.`);
}

/** Only the host: an address may carry credentials. */
export function hostOf(server: WandbServer): string {
  return URL.canParse(server.baseUrl) ? new URL(server.baseUrl).host : 'at an address that is no URL, see WANDB_BASE_URL';
}

interface ViewerAnswer {
  entity?: string | null;
  teams?: { edges?: { node?: { name?: string } | null }[] } | null;
}
interface RunAnswer {
  project?: { run?: { state?: unknown; summaryMetrics?: unknown; historyLineCount?: unknown } | null } | null;
}

const VIEWER_QUERY = 'query Viewer { viewer { id entity teams { edges { node { name } } } } }';
const RUN_QUERY = `query Run($entity: String!, $project: String!, $run: String!) {
  project(name: $project, entityName: $entity) { run(name: $run) { id state summaryMetrics historyLineCount } }
}`;

/** The `data` of the answer; empty where the server rejects the query itself. */
async function query(server: WandbServer, text: string, variables: Record<string, string>, signal: AbortSignal): Promise<object> {
  const authorization = `Basic ${Buffer.from(`api:${server.apiKey}`).toString('base64')}`;
  let response: Response;
  let body: string;
  try {
    response = await fetch(`${server.baseUrl}/graphql`, {
      method: 'POST',
      headers: { authorization, 'content-type': 'application/json' },
      body: JSON.stringify({ query: text, variables }),
      signal: AbortSignal.any([signal, AbortSignal.timeout(ANSWER_TIMEOUT_MS)]),
    });
    body = await response.text();
  } catch {
    signal.throwIfAborted();
    throw noAnswer(server);
  }
  if (response.status === 401 || response.status === 403) throw keyRefused(server);
  if (response.status === 429 || response.status >= 500) throw serverError(server, response.status);
  const { data } = parseObject(body);
  return typeof data === 'object' && data !== null ? data : {};
}

function parseObject(text: unknown): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(String(text));
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

/**
 * Asking a Weights & Biases server what it holds of a run, with the query that its own client resumes runs by. The client only knows what
 * it has sent; this is how we know what arrived, and why something does not.
 */
import { ask, parseObject, type Server } from './http.js';
import { hostOf, TrackerError } from './tracker.js';

export interface RunPlace {
  entity: string;
  project: string;
  id: string;
}

export interface RunFound {
  /** `running` until the end of the run has arrived, then `finished`, `failed` or `crashed`; '' where the server does not say. */
  state: string;
  /** Of our rows; 0: none; null: it cannot be told from what the server says. */
  lastStep: number | null;
  /** Of all rows, whoever logged them; 0 on servers that do not count. */
  rows: number;
}

const TITLE = 'Weights & Biases';

export function wandbServer(baseUrl: string, apiKey: string, timeoutMs?: number): Server {
  return { title: TITLE, baseUrl, timeoutMs, authorization: `Basic ${Buffer.from(`api:${apiKey}`).toString('base64')}` };
}

/** Whose the key is: the entity of runs that name none. @throws TrackerError */
export async function readEntity(server: Server, signal: AbortSignal): Promise<string> {
  const { viewer } = await query(server, VIEWER_QUERY, {}, signal);
  const { entity } = (viewer ?? {}) as { entity?: unknown };
  if (typeof entity === 'string' && entity) return entity;
  throw new TrackerError(
    'TRACKER_REFUSED',
    'KEY_REFUSED',
    `${TITLE} (${hostOf(server.baseUrl)}) does not know the key. Give the job a valid one, from the authorize page of the service.`,
  );
}

/** null: the server has no such run. @throws TrackerError */
export async function findRun(server: Server, { entity, project, id }: RunPlace, signal: AbortSignal): Promise<RunFound | null> {
  const { model } = await query(server, RUN_QUERY, { entity, project, name: id }, signal);
  const { bucket } = (model ?? {}) as { bucket?: Record<string, unknown> | null };
  if (!bucket) return null;
  return { state: String(bucket['state'] ?? ''), lastStep: lastStepOf(bucket), rows: Number(bucket['historyLineCount']) || 0 };
}

/** The page of the run for people. */
export function runUrl({ baseUrl }: Server, { entity, project, id }: RunPlace): string {
  const site = baseUrl.replace('//api.wandb.', '//wandb.');
  return `${site}/${[entity, project, 'runs', id].map(encodeURIComponent).join('/')}`;
}

/**
 * By our own count of steps, in the last row. Where that is someone else's, in the summary: unless it runs ahead of the rows, for the
 * client may send it first.
 */
function lastStepOf({ historyTail, summaryMetrics }: Record<string, unknown>): number | null {
  let tail: unknown;
  try {
    tail = JSON.parse(String(historyTail ?? '[]'));
  } catch {
    return null;
  }
  const last = parseObject(Array.isArray(tail) ? tail.at(-1) : undefined);
  if (!last) return 0;
  const summary = parseObject(summaryMetrics);
  const ours =
    last['train/global_step'] ?? (Number(summary?.['_step']) <= Number(last['_step']) ? (summary?.['train/global_step'] ?? 0) : null);
  return ours === null ? null : Number(ours);
}

const VIEWER_QUERY = 'query Viewer { viewer { id entity } }';
const RUN_QUERY = `query RunResumeStatus($project: String, $entity: String, $name: String!) {
  model(name: $project, entityName: $entity) {
    id
    bucket(name: $name, missingOk: true) { id name state summaryMetrics historyLineCount historyTail }
  }
}`;

async function query(
  server: Server,
  text: string,
  variables: Record<string, string>,
  signal: AbortSignal,
): Promise<Record<string, unknown>> {
  const { status, body } = await ask(
    server,
    { method: 'POST', path: '/graphql', body: { query: text, variables }, expected: [404] },
    signal,
  );
  const { data, errors } = body as { data?: Record<string, unknown> | null; errors?: unknown };
  if (status === 200 && data) return data;
  const host = hostOf(server.baseUrl);
  if (!errors)
    throw new TrackerError('TRACKER_FAILED', 'ADDRESS_WRONG', `${TITLE} is not at ${host} (HTTP ${status}): see WANDB_BASE_URL.`);
  throw new TrackerError(
    status === 200 || status >= 500 ? 'TRACKER_FAILED' : 'TRACKER_REFUSED',
    status === 200 ? 'SERVER_ERROR' : 'ENTITY_REFUSED',
    `${TITLE} (${host}) does not answer for the run${status === 200 ? '' : ` (HTTP ${status})`}. Check entity and project of the job, and that its key may write there.`,
  );
}

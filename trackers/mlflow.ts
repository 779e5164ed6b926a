/**
 * MLflow, by its REST API: a batch of metrics is answered when it is stored, and one that is sent again changes nothing, for MLflow keeps a
 * value by key, step and time. A job finds its run by a tag.
 */
import { ask, type Answer, type Server } from './http.js';
import { hostOf, TrackerError, type Delivery, type Row, type Run, type RunEnd } from './tracker.js';

export interface MlflowTarget {
  /** Of the tracking server, without a slash at the end. */
  trackingUri: string;
  /** Of the `authorization` header; null: none. */
  authorization: string | null;
  experiment: string;
}

const TITLE = 'MLflow';
const METRICS_AT_ONCE = 1_000;
const PARAMS_AT_ONCE = 100;
const MAX_PARAM = 6_000;
const JOB_TAG = 'temper.job_uid';
const STATUS = { finished: 'FINISHED', failed: 'FAILED', killed: 'KILLED' } as const;

/** @throws TrackerError; the signal's reason when it is aborted */
export async function openMlflow(target: MlflowTarget, run: Run, signal: AbortSignal): Promise<Delivery> {
  const { trackingUri, authorization, experiment } = target;
  const server: Server = { title: TITLE, baseUrl: trackingUri, authorization };
  const call = (method: string, path: string, body?: object) => ask(server, { method, path: `/api/2.0/mlflow/${path}`, body }, signal);
  const post = async (path: string, body: object) => accepted(await call('POST', path, body));

  const experimentId = await findExperiment();
  const found = await findRun();
  const runId = found?.runId ?? (await createRun());
  if (found) await post('runs/update', { run_id: runId, status: 'RUNNING' });
  await logParams();
  let confirmed = found?.lastStep ?? 0;

  return {
    url: `${trackingUri}/#/experiments/${experimentId}/runs/${runId}`,
    position: confirmed,
    warnings: [],
    async send(rows: Row[]) {
      const metrics = rows.flatMap(({ step, time, values }) =>
        Object.entries(values).map(([key, value]) => ({ key, value, step, timestamp: time.getTime() })),
      );
      for (let from = 0; from < metrics.length; from += METRICS_AT_ONCE)
        await post('runs/log-batch', { run_id: runId, metrics: metrics.slice(from, from + METRICS_AT_ONCE) });
      confirmed = rows.at(-1)!.step;
    },
    confirmed: async () => confirmed,
    async finish({ outcome, summary, samples, model }: RunEnd) {
      const timestamp = Date.now();
      const metrics = Object.entries(summary).flatMap(([key, value]) =>
        typeof value === 'number' ? [{ key, value, step: confirmed, timestamp }] : [],
      );
      const tags = Object.entries({ ...summary, ...(model ? { model: model.uri } : {}) }).flatMap(([key, value]) =>
        typeof value === 'string' ? [{ key, value }] : [],
      );
      if (samples && (await putSamples(found?.artifactUri ?? (await readRun()).artifactUri, samples)))
        tags.push({ key: 'mlflow.loggedArtifacts', value: JSON.stringify([{ path: 'samples.json', type: 'table' }]) });
      await post('runs/log-batch', { run_id: runId, metrics, tags });
      await post('runs/update', { run_id: runId, status: STATUS[outcome], end_time: timestamp });
    },
    close: async () => {},
  };

  async function findExperiment(): Promise<string> {
    const query = `experiments/get-by-name?experiment_name=${encodeURIComponent(experiment)}`;
    const { status, body } = await call('GET', query);
    if (status === 200) return (body as { experiment: { experiment_id: string } }).experiment.experiment_id;
    const created = await call('POST', 'experiments/create', { name: experiment });
    if (created.status === 200) return String(created.body['experiment_id']);
    // Another job may have made it meanwhile.
    const { experiment: other } = accepted(await call('GET', query)) as { experiment: { experiment_id: string } };
    return other.experiment_id;
  }

  async function findRun() {
    const { runs } = (await post('runs/search', {
      experiment_ids: [experimentId],
      filter: `tags.\`${JOB_TAG}\` = '${run.uid}'`,
      max_results: 1,
    })) as { runs?: MlflowRun[] };
    return runs?.[0] ? describe(runs[0]) : null;
  }

  async function readRun() {
    return describe((accepted(await call('GET', `runs/get?run_id=${runId}`)) as { run: MlflowRun }).run);
  }

  async function createRun(): Promise<string> {
    const tags = [
      { key: JOB_TAG, value: run.uid },
      { key: 'temper.job', value: run.job },
      { key: 'mlflow.note.content', value: run.notes },
      ...run.tags.map((tag, index) => ({ key: ['kind', 'base_model', 'dataset'][index] ?? `tag${index}`, value: tag })),
    ];
    const created = await post('runs/create', { experiment_id: experimentId, start_time: Date.now(), run_name: run.displayName, tags });
    return (created as { run: MlflowRun }).run.info.run_id;
  }

  /** A parameter cannot change, and neither can a job's settings. */
  async function logParams(): Promise<void> {
    const params = flatten(run.config).map(([key, value]) => ({ key, value: value.slice(0, MAX_PARAM) }));
    for (let from = 0; from < params.length; from += PARAMS_AT_ONCE)
      await post('runs/log-batch', { run_id: runId, params: params.slice(from, from + PARAMS_AT_ONCE) });
  }

  /** Through the tracking server, where that serves artifacts; false where the clients write to a store of their own. */
  async function putSamples(artifactUri: string, { columns, rows }: NonNullable<RunEnd['samples']>): Promise<boolean> {
    const [, place] = /^mlflow-artifacts:\/+(?:[^/]+:\d+\/)?(.+)$/.exec(artifactUri) ?? [];
    if (!place) return false;
    const path = `/api/2.0/mlflow-artifacts/artifacts/${place}/samples.json`;
    // Answered without a body.
    const { status } = await ask(server, { method: 'PUT', path, body: { columns, data: rows }, expected: [200] }, signal);
    return status < 300;
  }

  function accepted({ status, body }: Answer): Record<string, unknown> {
    if (status < 300) return body;
    const code = typeof body['error_code'] === 'string' ? `, ${body['error_code'].slice(0, 60)}` : '';
    const message = `${TITLE} (${hostOf(trackingUri)}) does not take the run (HTTP ${status}${code}). Check the experiment ${experiment}.`;
    throw new TrackerError('TRACKER_REFUSED', 'RUN_REFUSED', message);
  }
}

interface MlflowRun {
  info: { run_id: string; artifact_uri?: string };
  data?: { metrics?: { key: string; step?: number | string }[] };
}

function describe({ info, data }: MlflowRun) {
  const last = data?.metrics?.find(({ key }) => key === 'train/global_step');
  return { runId: info.run_id, artifactUri: info.artifact_uri ?? '', lastStep: Number(last?.step) || 0 };
}

/** `task.kind`, `settingOrigins.epochs`, …: parameters are text by name. */
function flatten(value: unknown, name = ''): [string, string][] {
  if (typeof value !== 'object' || value === null) return value === null || value === undefined ? [] : [[name, String(value)]];
  if (Array.isArray(value)) return [[name, JSON.stringify(value)]];
  return Object.entries(value).flatMap(([key, inner]) => flatten(inner, name ? `${name}.${key}` : key));
}

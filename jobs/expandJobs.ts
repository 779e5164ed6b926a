/** The jobs of a run: the template with each variant, for each combination of the grid. */
import { fieldError } from '../schemas/errors.js';
import { MAX_RUN_JOBS } from '../schemas/limits.js';
import type { Retraining } from '../schemas/schedule.js';

export interface PlannedJob {
  /** What differs from the template: shown beside the job's result. */
  settings: Record<string, unknown>;
  /** The whole body, as it would create the job; without dataset and IDs. */
  body: Record<string, unknown>;
}

/** Which data a job learns from is the run's to say; what it is evaluated on must be the same for all. */
const FIXED_SETTINGS = ['dataset', 'jobId', 'modelId', 'outputModel', 'evaluation', 'evaluationSplit', 'evaluationDataset'];

/** In order: variants first, then the grid's last list fastest. @throws TemperError for lists that cannot be a plan */
export function expandJobs({ fineTuning, variants, grid }: Pick<Retraining, 'fineTuning' | 'variants' | 'grid'>): PlannedJob[] {
  const lists = Object.entries(grid ?? {});
  const given = variants ?? [{}];
  const count = lists.reduce((product, [, values]) => product * values.length, given.length);
  if (count > MAX_RUN_JOBS)
    throw fieldError('INVALID_FIELD', 'grid', `variants and grid make ${count} jobs, and a run has at most ${MAX_RUN_JOBS}.`);
  let combinations: Record<string, unknown>[] = [{}];
  for (const [setting, values] of lists)
    combinations = combinations.flatMap((combination) => values.map((value) => ({ ...combination, [setting]: value })));
  const jobs = given.flatMap((variant) => combinations.map((combination) => ({ ...variant, ...combination })));
  for (const settings of jobs) {
    const fixed = FIXED_SETTINGS.find((name) => name in settings);
    if (fixed)
      throw fieldError('INVALID_FIELD', fixed, `${fixed} must be the same for all jobs of a run: take it out of variants and grid.`);
  }
  return jobs.map((settings) => ({ settings, body: { ...fineTuning, ...settings } }));
}

/** The job's part of the run's ID: a run of one job needs none. */
export function runJobId(runId: string, index: number, jobs: number): string {
  return jobs === 1 ? runId : `${runId}-${index + 1}`;
}

/** What a worker process says of itself and its machine, for operators. Names and numbers only: no addresses, no secrets. */

export type WorkerKind = 'control' | 'data' | 'gpu' | 'reports';

export interface WorkerReport {
  /** Of the task queue it polls. */
  queue: string;
  /** Activities that it runs at once, at most. */
  slots: number;
  /** Activities that it runs now. */
  busy: number;
  host: string;
  node: string;
  /** Of the disk that TEMPER_HOME lies on. */
  diskFreeBytes: number;
  diskBytes: number;
  /** Base models in its cache. */
  models: string[];
  /** Of a GPU worker. */
  trainer?: TrainerReport;
}

export interface TrainerReport {
  /** Of Python and the trainer's packages; empty when the environment does not work. */
  versions: Record<string, string>;
  /** Why the environment does not work, in a line; absent when it does. */
  error?: string;
  /** Empty on a machine without: training is on its CPUs then. */
  gpus: { name: string; memoryBytes: number; driver: string }[];
}

/** How often a worker says so, and after how long without a word it is taken for gone. */
export const WORKER_HEARTBEAT_MS = 10_000;
export const WORKER_SILENT_SECONDS = 45;

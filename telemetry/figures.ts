/** The deployment's own figures as metrics, counted from the records when Prometheus asks: by the API, so that they stand once. */
import { Gauge } from 'prom-client';
import type { Database } from '../stores/database.js';
import { readFigures, type Figures } from '../stores/figures.js';

/** Several scrapers, one count. */
const GOOD_FOR_MS = 5_000;

type Sample = [labels: Record<string, string>, value: number];
interface FigureMetric {
  name: string;
  help: string;
  labelNames: string[];
  read(figures: Figures): Sample[];
}

export const FIGURE_METRICS: FigureMetric[] = [
  {
    name: 'temper_jobs',
    help: 'Jobs on record',
    labelNames: ['state'],
    read: ({ jobs }) => jobs.map(({ state, count }) => [{ state }, count]),
  },
  {
    name: 'temper_gpu_queue_jobs',
    help: 'Jobs that wait for a GPU',
    labelNames: ['priority'],
    read: ({ queue }) => queue.map(({ priority, count }) => [{ priority: String(priority) }, count]),
  },
  {
    name: 'temper_gpu_queue_oldest_seconds',
    help: 'For how long the first of them has waited',
    labelNames: ['priority'],
    read: ({ queue }) => queue.map(({ priority, oldestSeconds }) => [{ priority: String(priority) }, oldestSeconds]),
  },
  {
    name: 'temper_datasets',
    help: 'Datasets on record',
    labelNames: ['state'],
    read: ({ datasets }) => datasets.map(({ state, count }) => [{ state }, count]),
  },
  {
    name: 'temper_workers',
    help: 'Worker processes that were heard of within a minute',
    labelNames: ['kind', 'version'],
    read: ({ workers }) => workers.map(({ kind, version, count }) => [{ kind, version }, count]),
  },
  {
    name: 'temper_gpu_slots',
    help: 'Jobs that the GPU workers run at once, by whether they do',
    labelNames: ['state'],
    read: ({ slots }) => [
      [{ state: 'busy' }, slots.busy],
      [{ state: 'free' }, slots.all - slots.busy],
    ],
  },
  {
    name: 'temper_webhook_deliveries_pending',
    help: 'Deliveries of webhooks that have not succeeded yet',
    labelNames: [],
    read: ({ webhooks }) => [[{}, webhooks.count]],
  },
  {
    name: 'temper_webhook_delivery_oldest_seconds',
    help: 'For how long the oldest of them has been tried',
    labelNames: [],
    read: ({ webhooks }) => [[{}, webhooks.oldestSeconds]],
  },
  {
    name: 'temper_reports_pending',
    help: 'Ended jobs whose tracker has not all of it',
    labelNames: [],
    read: ({ reports }) => [[{}, reports.count]],
  },
  {
    name: 'temper_report_lag_seconds',
    help: 'Since the first of them ended',
    labelNames: [],
    read: ({ reports }) => [[{}, reports.oldestSeconds]],
  },
];

/** Registers them; `temper_database_up` says whether they could be counted. */
export function exposeFigures(database: Database): void {
  let counted: { at: number; figures: Promise<Figures | null> } | undefined;
  const figures = (): Promise<Figures | null> => {
    if (!counted || performance.now() - counted.at > GOOD_FOR_MS)
      counted = { at: performance.now(), figures: readFigures(database).catch(() => null) };
    return counted.figures;
  };
  for (const { name, help, labelNames, read } of FIGURE_METRICS) {
    new Gauge({
      name,
      help,
      labelNames,
      async collect() {
        const found = await figures();
        this.reset();
        for (const [labels, value] of found ? read(found) : []) this.set(labels, value);
      },
    });
  }
  new Gauge({
    name: 'temper_database_up',
    help: '1 when the records could be counted',
    async collect() {
      this.set((await figures()) ? 1 : 0);
    },
  });
}

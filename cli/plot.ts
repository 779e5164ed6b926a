/** A job's loss as a curve of characters: `temper get fine-tuning-job NAME --plot`. */
import { callApi, type Connection } from './client.js';
import { formatNumber } from './format.js';

export interface Metric {
  step: number;
  loss: number;
  evaluationLoss?: number;
}

const HEIGHT = 12;
const DEFAULT_WIDTH = 80;

/** @param points  about so many at most: the extremes of each stretch */
export async function fetchMetrics(connection: Connection, path: string, points: number): Promise<Metric[]> {
  const { metrics = [] } = await callApi<{ metrics?: Metric[] }>(connection, { method: 'GET', path: `${path}/metrics?points=${points}` });
  return metrics;
}

/**
 * Training loss as dots (the mean of the steps that share a column) and the loss on held-out examples as `o`, over the steps.
 * @param width  columns of the terminal
 */
export function plotLoss(metrics: Metric[], width: number = DEFAULT_WIDTH): string {
  if (metrics.length === 0) return 'No step has been made yet.';
  const held = metrics.filter((metric) => metric.evaluationLoss !== undefined);
  const values = [...metrics.map(({ loss }) => loss), ...held.map(({ evaluationLoss }) => evaluationLoss!)];
  const [low, high] = values.reduce(([least, most], value) => [Math.min(least, value), Math.max(most, value)], [Infinity, -Infinity]);
  const labels = [high, low].map((value) => formatNumber(value));
  const margin = Math.max(...labels.map((label) => label.length));
  const columns = Math.max(10, Math.min(width - margin - 3, metrics.length));
  const lastStep = metrics.at(-1)!.step;
  const columnOf = (step: number) => Math.min(columns - 1, Math.floor(((step - 1) / Math.max(1, lastStep)) * columns));
  const rowOf = (value: number) => (high === low ? 0 : Math.round(((high - value) / (high - low)) * (HEIGHT - 1)));

  const grid = Array.from({ length: HEIGHT }, () => Array<string>(columns).fill(' '));
  const sums = Array.from({ length: columns }, () => ({ loss: 0, steps: 0 }));
  for (const { step, loss } of metrics) {
    const sum = sums[columnOf(step)]!;
    sum.loss += loss;
    sum.steps += 1;
  }
  sums.forEach(({ loss, steps }, column) => steps > 0 && (grid[rowOf(loss / steps)]![column] = '·'));
  for (const { step, evaluationLoss } of held) grid[rowOf(evaluationLoss!)]![columnOf(step)] = 'o';

  const axis = (row: number) => (row === 0 ? labels[0]! : row === HEIGHT - 1 ? labels[1]! : '').padStart(margin);
  const lines = grid.map((cells, row) => `${axis(row)} │${cells.join('')}`.trimEnd());
  const scale = `1${String(lastStep).padStart(columns - 1)}`;
  return [
    ...lines,
    `${' '.repeat(margin)} └${'─'.repeat(columns)}`,
    `${' '.repeat(margin)}  ${scale}`,
    `${' '.repeat(margin)}  step   · training loss${held.length > 0 ? '   o loss on the held-out examples' : ''}`,
  ].join('\n');
}

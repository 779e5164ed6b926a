/** A job as one HTML page that needs no network and no script: loss, evaluation, confusions, samples, settings. For `temper get … --open`. */
import type { Resource } from './client.js';
import { formatNumber, formatTime } from './format.js';
import type { Metric } from './plot.js';

/** As the trainer writes it; what a kind of job does not have is absent. */
export interface EvaluationReport {
  examples?: number;
  base?: Target;
  tuned?: Target;
  samples?: Record<string, string | number>[];
}
interface Target {
  metric: string;
  value: number;
  low: number;
  high: number;
  labels?: { label: string; expected: number; predicted: number; correct: number }[];
  confusions?: { expected: string; predicted: string; count: number }[];
}

/** With so many labels or fewer, all of them are a table. */
const MATRIX_LABELS = 16;
const MAX_CONFUSIONS = 30;

export function renderJobReport(job: Resource, metrics: Metric[], evaluation: EvaluationReport | null): string {
  const name = text(job.name);
  const sections = [
    section('Loss', lossChart(metrics)),
    evaluation ? section('Evaluation', scores(evaluation)) : '',
    evaluation ? confusions(evaluation) : '',
    evaluation?.samples?.length ? section('Samples where base and tuned model differ most', table(evaluation.samples)) : '',
    section('Settings', settings(job)),
  ];
  const facts = [job.state, job.kind, job.baseModel, job.dataset, job.createTime ? formatTime(String(job.createTime)) : ''];
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${name}</title>
<style>${STYLE}</style>
</head>
<body>
<h1>${text(job.displayName || String(job.name).split('/').at(-1))}</h1>
<p class="quiet">${name}<br>${facts.filter(Boolean).map(text).join(' · ')}</p>
${sections.filter(Boolean).join('\n')}
</body>
</html>
`;
}

const STYLE = `
:root { color-scheme: light dark; --ink: #1c2430; --quiet: #66707d; --line: #d9dee5; --ground: #fff; --train: #2f6fde; --held: #d9622b; --right: #2e9e5b; --wrong: #d1495b }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --quiet: #98a2b0; --line: #343c48; --ground: #14181e; --train: #7aa7ff; --held: #ff9a62; --right: #6fd39b; --wrong: #ff8a98 } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--ground); max-width: 68rem; margin: 2rem auto; padding: 0 1.5rem }
h1 { font-size: 1.5rem; margin-bottom: 0 } h2 { font-size: 1.1rem; margin: 2.2rem 0 .6rem } h3 { font-size: .95rem; margin: 1.2rem 0 .4rem }
.quiet { color: var(--quiet); margin-top: .2rem } .scroll { overflow-x: auto }
table { border-collapse: collapse; font-size: .88rem } th, td { text-align: left; vertical-align: top; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line) }
th { color: var(--quiet); font-weight: 500 } td.number, th.number { text-align: right; font-variant-numeric: tabular-nums } td.sample { white-space: pre-wrap; overflow-wrap: break-word; max-width: 34rem }
td.hit { font-weight: 600; color: var(--right) } td.miss { color: var(--wrong) }
svg { width: 100%; height: auto } svg text { font: 11px system-ui, sans-serif; fill: var(--quiet) }
.grid { stroke: var(--line) } .train { fill: none; stroke: var(--train); stroke-width: 1.6 } .held { fill: none; stroke: var(--held); stroke-width: 1.6 } .dot { fill: var(--held) }
.key { display: inline-block; width: .9rem; height: .2rem; margin: 0 .4rem .2rem 0; vertical-align: middle }
`;

function section(title: string, content: string): string {
  return `<section><h2>${text(title)}</h2>${content}</section>`;
}

const WIDTH = 960;
const HEIGHT = 300;
const MARGIN = { left: 56, right: 12, top: 10, bottom: 26 };

function lossChart(metrics: Metric[]): string {
  if (metrics.length === 0) return '<p class="quiet">No step has been made yet.</p>';
  const held = metrics
    .filter((metric) => metric.evaluationLoss !== undefined)
    .map(({ step, evaluationLoss }) => [step, evaluationLoss!] as const);
  const train = metrics.map(({ step, loss }) => [step, loss] as const);
  const values = [...train, ...held].map(([, value]) => value).filter(Number.isFinite);
  const [low, high] = values.reduce(([least, most], value) => [Math.min(least, value), Math.max(most, value)], [Infinity, -Infinity]);
  const [first, last] = [train[0]![0], train.at(-1)![0]];
  const x = (step: number) => MARGIN.left + ((step - first) / Math.max(1, last - first)) * (WIDTH - MARGIN.left - MARGIN.right);
  const y = (value: number) => MARGIN.top + ((high - value) / (high - low || 1)) * (HEIGHT - MARGIN.top - MARGIN.bottom);
  const line = (points: (readonly [number, number])[]) =>
    points.map(([step, value]) => `${x(step).toFixed(1)},${y(value).toFixed(1)}`).join(' ');
  const levels = [0, 0.25, 0.5, 0.75, 1].map((share) => low + share * (high - low));
  const grid = levels.map(
    (value) =>
      `<line class="grid" x1="${MARGIN.left}" x2="${WIDTH - MARGIN.right}" y1="${y(value).toFixed(1)}" y2="${y(value).toFixed(1)}"/>` +
      `<text x="${MARGIN.left - 8}" y="${(y(value) + 4).toFixed(1)}" text-anchor="end">${text(formatNumber(value))}</text>`,
  );
  const scale = [first, Math.round((first + last) / 2), last].map(
    (step, index) =>
      `<text x="${x(step).toFixed(1)}" y="${HEIGHT - 8}" text-anchor="${['start', 'middle', 'end'][index]}">step ${step}</text>`,
  );
  const dots = held.map(([step, value]) => `<circle class="dot" cx="${x(step).toFixed(1)}" cy="${y(value).toFixed(1)}" r="3"/>`);
  const legend = ['<span class="key" style="background: var(--train)"></span>training loss'];
  if (held.length > 0) legend.push('<span class="key" style="background: var(--held)"></span>loss on held-out examples');
  return (
    `<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="Loss over the steps">${grid.join('')}${scale.join('')}` +
    `<polyline class="train" points="${line(train)}"/>${held.length > 0 ? `<polyline class="held" points="${line(held)}"/>${dots.join('')}` : ''}</svg>` +
    `<p class="quiet">${legend.join(' &nbsp; ')}</p>`
  );
}

function scores({ base, tuned, examples }: EvaluationReport): string {
  const rows = Object.entries({ base, tuned }).flatMap(([model, score]) =>
    score ? [{ model, [score.metric]: score.value, 'from (95 %)': score.low, 'to (95 %)': score.high }] : [],
  );
  return `${table(rows)}${examples ? `<p class="quiet">On ${examples} held-out examples, the same for both.</p>` : ''}`;
}

/** A matrix where the labels are few, else the most frequent mistakes. */
function confusions({ base, tuned }: EvaluationReport): string {
  const parts = Object.entries({ tuned, base }).flatMap(([model, target]) => {
    if (!target?.labels || !target.confusions) return [];
    const few = target.labels.length <= MATRIX_LABELS;
    const mistakes = target.confusions.slice(0, MAX_CONFUSIONS);
    if (!few && mistakes.length === 0) return [`<h3>${model} model</h3><p class="quiet">No mistakes.</p>`];
    return [`<h3>${model} model</h3>${few ? matrix(target.labels, target.confusions) : table(mistakes)}`];
  });
  return parts.length > 0 ? section('Confusions', parts.join('')) : '';
}

function matrix(labels: NonNullable<Target['labels']>, mistakes: NonNullable<Target['confusions']>): string {
  const counts = new Map(mistakes.map(({ expected, predicted, count }) => [JSON.stringify([expected, predicted]), count]));
  const head = labels.map(({ label }) => `<th class="number">${text(label)}</th>`).join('');
  const rows = labels.map(({ label, correct }) => {
    const cells = labels.map(({ label: predicted }) => {
      const count = predicted === label ? correct : (counts.get(JSON.stringify([label, predicted])) ?? 0);
      const kind = predicted === label ? ' hit' : count > 0 ? ' miss' : '';
      return `<td class="number${kind}">${count || '·'}</td>`;
    });
    return `<tr><th>${text(label)}</th>${cells.join('')}</tr>`;
  });
  return `<div class="scroll"><table><tr><th>expected ↓ answered →</th>${head}</tr>${rows.join('')}</table></div>`;
}

function settings(job: Resource): string {
  const values = (job.settings ?? {}) as Record<string, unknown>;
  const origins = (job.settingOrigins ?? {}) as Record<string, string>;
  const rows = Object.entries(values).map(([setting, value]) => ({
    setting,
    value: typeof value === 'object' && value !== null ? JSON.stringify(value, null, 1) : String(value),
    'came from': origins[setting] ?? '',
  }));
  return table(rows);
}

function table(rows: Record<string, unknown>[]): string {
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const isNumber = (column: string) => rows.every((row) => typeof (row[column] ?? 0) === 'number');
  const kinds = new Map(columns.map((column) => [column, isNumber(column) ? 'number' : 'sample']));
  const head = columns.map((column) => `<th class="${kinds.get(column)}">${text(column)}</th>`).join('');
  const body = rows.map((row) => {
    const cells = columns.map((column) => {
      const value = row[column];
      return `<td class="${kinds.get(column)}">${typeof value === 'number' ? text(formatNumber(value)) : text(value ?? '')}</td>`;
    });
    return `<tr>${cells.join('')}</tr>`;
  });
  return `<div class="scroll"><table><tr>${head}</tr>${body.join('')}</table></div>`;
}

const ENTITIES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };

/** Rows and names are of users: nothing of them is markup. */
function text(value: unknown): string {
  return String(value).replace(/[&<>"']/g, (character) => ENTITIES[character]!);
}

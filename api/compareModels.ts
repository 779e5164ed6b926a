/** Holds models against each other by what their lineages and evaluations recorded; nothing is run for it. */
import { COMPARED_SAMPLES, type ModelComparison } from '../schemas/comparison.js';
import type { Lineage } from '../schemas/lineage.js';

export interface ComparedModel {
  name: string;
  createTime: string;
  /** Null for one that was brought here, or made by a release that recorded less. */
  lineage: Lineage | null;
  /** Shown of those without a lineage too. */
  facts: Record<string, unknown>;
  /** The trainer's own file with the result of every row; null without an evaluation. */
  report: EvaluationReport | null;
}

/** The parts of `evaluation.json` that are compared (trainer/temper_trainer/evaluate.py). */
export interface EvaluationReport {
  base?: Score;
  tuned?: Score;
  samples?: Sample[];
}
interface Score {
  metric: string;
  value: number;
  low?: number;
  high?: number;
}
interface Sample {
  line: number;
  prompt?: string;
  text?: string;
  expected?: string;
  base?: string;
  tuned?: string;
  basePerplexity?: number;
  tunedPerplexity?: number;
}

export function compareModels(models: ComparedModel[]): ModelComparison {
  const rowsReason = whyRowsDiffer(models);
  const sameRows = rowsReason === '';
  const shown = models.map(describe);
  return {
    models: shown,
    differences: findDifferences(models),
    sameRows,
    rowsReason,
    ...(sameRows ? bestOf(shown) : {}),
    samples: sameRows ? sideBySide(models) : [],
  };
}

function describe({ name, createTime, lineage, report }: ComparedModel): ModelComparison['models'][number] {
  const evaluation = lineage?.evaluation;
  return {
    name,
    createTime,
    ...(lineage ? { job: lineage.job } : {}),
    ...(evaluation
      ? {
          metric: evaluation.metric,
          value: evaluation.tuned,
          base: evaluation.base,
          examples: evaluation.examples,
          ...(report?.tuned?.low !== undefined ? { low: report.tuned.low, high: report.tuned.high } : {}),
        }
      : {}),
  };
}

/** Perplexity is better when it is lower. Nothing where two are equally good. */
function bestOf(models: ModelComparison['models']): { best?: string } {
  const sign = models[0]!.metric === 'perplexity' ? -1 : 1;
  const [first, next] = models.toSorted((a, b) => sign * (b.value! - a.value!));
  return first!.value === next!.value ? {} : { best: first!.name };
}

/** Empty when all were evaluated on the same rows, in the same way. */
function whyRowsDiffer(models: ComparedModel[]): string {
  const without = models.filter(({ lineage }) => !lineage?.evaluation).map(({ name }) => name);
  if (without.length > 0) return `${without.join(', ')}: no evaluation is recorded.`;
  const lineages = models.map(({ lineage }) => lineage!);
  if (!areEqual(lineages.map(({ evaluation }) => evaluation!.metric))) return 'They were evaluated by different metrics.';
  if (!areEqual(lineages.map(({ prepared }) => prepared.evaluationSha256)))
    return 'They were evaluated on different rows (another dataset, split, seed or template): each value is of its own rows.';
  if (!areEqual(lineages.map(({ evaluation }) => evaluation!.examples)))
    return 'They were evaluated on different numbers of the same rows.';
  return '';
}

function findDifferences(models: ComparedModel[]): ModelComparison['differences'] {
  const facts = models.map(({ lineage, facts: known }) => ({ ...known, ...(lineage ? flatten(lineage) : {}) }) as Record<string, unknown>);
  const names = [...new Set(facts.flatMap(Object.keys))];
  return names
    .map((name) => ({ name, values: facts.map((fact) => fact[name] ?? null) }))
    .filter(({ values }) => !areEqual(values.map((value) => JSON.stringify(value))));
}

function flatten({ settings, dataset, evaluationDataset, baseModel, warmStart, training, hardware, versions }: Lineage): object {
  return {
    ...settings,
    dataset: dataset.name,
    datasetSha256: dataset.sha256,
    ...(evaluationDataset ? { evaluationDatasetSha256: evaluationDataset.sha256 } : {}),
    baseModelContent: baseModel.content,
    warmStartFrom: warmStart?.name ?? null,
    steps: training.steps,
    trainedTokens: training.trainedTokens,
    finalLoss: training.finalLoss,
    device: hardware.device,
    ...Object.fromEntries(Object.entries(versions).map(([name, version]) => [`versions.${name}`, version])),
  };
}

function sideBySide(models: ComparedModel[]): ModelComparison['samples'] {
  const samples = models.map(({ report }) => new Map((report?.samples ?? []).map((sample) => [sample.line, sample])));
  const lines = [...new Set(samples.flatMap((of) => [...of.keys()]))].sort((a, b) => a - b);
  const rows = lines.flatMap((line) => {
    const found = samples.map((of) => of.get(line));
    const told = found.filter((sample) => sample !== undefined);
    if (told.length < 2) return [];
    const [one] = told as [Sample];
    const answers = found.map((sample) => sample?.tuned ?? sample?.tunedPerplexity ?? null);
    const base = one.base ?? one.basePerplexity;
    return {
      line,
      text: one.prompt ?? one.text ?? '',
      ...(one.expected !== undefined ? { expected: one.expected } : {}),
      answers,
      ...(base !== undefined ? { base } : {}),
    };
  });
  const spread = (row: (typeof rows)[number]) => Number(!areEqual(row.answers.filter((answer) => answer !== null)));
  return rows.sort((a, b) => spread(b) - spread(a)).slice(0, COMPARED_SAMPLES);
}

function areEqual(values: unknown[]): boolean {
  return values.every((value) => value === values[0]);
}

/** The metrics of a job as the file that OpenAI's clients download: a CSV with its columns, a row a step. */
import type { EvaluationResult } from '../schemas/activities.js';
import type { Database, StoredFile } from '../stores/database.js';
import { listMetrics, recordResults, type MetricRecord } from '../stores/jobs.js';
import type { ObjectStore } from '../stores/objects.js';

const COLUMNS = 'step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy';

export async function publishResults(
  { database, objects }: { database: Database; objects: ObjectStore },
  uid: string,
  evaluation: EvaluationResult | null,
): Promise<void> {
  const key = `jobs/${uid}/results.csv`;
  const digest = await objects.putBytes(key, resultsText(await listMetrics(database, uid), evaluation));
  const results: StoredFile = { name: 'results.csv', key, ...digest };
  await recordResults(database, uid, results);
}

/** Token accuracies are not measured and stay empty; the loss on the validation rows is that of the finished model, at the last step. */
export function resultsText(metrics: Pick<MetricRecord, 'step' | 'loss'>[], evaluation: EvaluationResult | null): string {
  const validLoss = evaluation?.metric === 'perplexity' ? Math.log(evaluation.tuned).toFixed(6) : '';
  const rows = metrics.map(({ step, loss }, index) => `${step},${loss.toFixed(6)},,${index === metrics.length - 1 ? validLoss : ''},`);
  return `${[COLUMNS, ...rows].join('\n')}\n`;
}

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

/**
 * Token accuracies are not measured and stay empty. The loss on the validation rows stands at the steps at which it was measured;
 * at the last step, where it was not, it is that of the finished model.
 */
export function resultsText(
  metrics: Pick<MetricRecord, 'step' | 'loss' | 'evaluation_loss'>[],
  evaluation: EvaluationResult | null,
): string {
  const last = evaluation?.metric === 'perplexity' ? Math.log(evaluation.tuned) : null;
  const rows = metrics.map(({ step, loss, evaluation_loss: measured }, index) => {
    const validLoss = measured ?? (index === metrics.length - 1 ? last : null);
    return `${step},${loss.toFixed(6)},,${validLoss?.toFixed(6) ?? ''},`;
  });
  return `${[COLUMNS, ...rows].join('\n')}\n`;
}

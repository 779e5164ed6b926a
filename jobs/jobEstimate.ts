/** What a new job is expected to take, as far as it is known without rendering: its dataset's tokens, and how fast they were trained before. */
import { planJob } from '../estimates/plan.js';
import type { Prices } from '../schemas/prices.js';
import type { Database, JobEstimate } from '../stores/database.js';
import { measureThroughput } from '../stores/throughput.js';
import type { ResolvedJob } from './resolveSettings.js';

export async function estimateNewJob(
  database: Database,
  { settings, dataset }: Pick<ResolvedJob, 'settings' | 'dataset'>,
  prices: Prices | null,
): Promise<JobEstimate> {
  const { tokens: datasetTokens, tokens_base_model: countedWith, examples } = dataset;
  const { examplesSeen } = planJob(settings, examples);
  const tokens =
    datasetTokens !== null && countedWith === settings.baseModel ? Math.round((datasetTokens / examples) * examplesSeen) : null;
  const measured = await measureThroughput(database, settings.baseModel);
  const usual = measured.find(({ quantization }) => quantization === (settings.quantization === 'auto' ? 'none' : settings.quantization));
  const seconds = tokens === null || usual === undefined ? null : Math.round(tokens / usual.tokensPerSecond);
  return { tokens, seconds, ...(usual ? { device: usual.device } : {}), prices };
}

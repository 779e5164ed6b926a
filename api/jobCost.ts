/** What a job costs, by the prices at its creation: as measured once it is done, as projected while it trains, as estimated before. */
import { asMoney, priceOf, type Money } from '../schemas/prices.js';
import type { JobRecord } from '../stores/jobs.js';

export function estimatedCost({ estimate, progress, settings, completed_time: end }: JobRecord): Money | undefined {
  if (!estimate?.prices) return undefined;
  const { step = 0, totalSteps = 0, etaSeconds, tokens } = progress;
  const isTraining = step > 0 && step < totalSteps;
  const seconds = trainingSeconds();
  if (seconds === undefined) return undefined;
  const price = priceOf(
    {
      device: progress.device ?? estimate.device,
      gpuSeconds: seconds * (settings.acceleratorCount ?? 1),
      baseModel: settings.baseModel,
      tokens: end !== null ? (tokens ?? 0) : isTraining && tokens ? (tokens * totalSteps) / step : estimate.tokens,
    },
    estimate.prices,
  );
  return price === undefined ? undefined : asMoney(price, estimate.prices.currency);

  function trainingSeconds(): number | undefined {
    if (end !== null) return progress.trainerSeconds ?? 0;
    if (isTraining && etaSeconds) return (etaSeconds * totalSteps) / (totalSteps - step);
    return estimate?.seconds ?? undefined;
  }
}

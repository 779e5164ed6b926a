/** What a job costs, by the prices at its creation: as measured once it is done, as projected while it trains, as estimated before. */
import { asMoney, pricePerHour, type Money } from '../schemas/prices.js';
import type { JobRecord } from '../stores/jobs.js';

export function estimatedCost({ estimate, progress, completed_time: end }: JobRecord): Money | undefined {
  if (!estimate?.prices) return undefined;
  const price = pricePerHour(estimate.prices, progress.device ?? estimate.device);
  const seconds = trainingSeconds();
  return price === undefined || seconds === undefined ? undefined : asMoney((seconds / 3600) * price, estimate.prices.currency);

  function trainingSeconds(): number | undefined {
    if (end !== null) return progress.trainerSeconds ?? 0;
    const { step = 0, totalSteps = 0, etaSeconds } = progress;
    if (step > 0 && step < totalSteps && etaSeconds) return (etaSeconds * totalSteps) / (totalSteps - step);
    return estimate?.seconds ?? undefined;
  }
}

/** How many examples and steps a job will have: the trainer's arithmetic (trainer/temper_trainer/data.py, `make_plan`) and that of the split. */

export interface Plan {
  trainExamples: number;
  evalExamples: number;
  stepsPerEpoch: number;
  totalSteps: number;
  /** Examples that all steps together see. */
  examplesSeen: number;
}

/** `examples`: rows that render. `droppedShare`: of those, the share that keeps no trained token within the cut-off. */
export function planJob(
  settings: { batchSize: number; epochs: number; evaluationSplit: number },
  examples: number,
  droppedShare = 0,
): Plan {
  const { batchSize, epochs, evaluationSplit } = settings;
  const evalExamples =
    evaluationSplit === 0 || examples < 2 ? 0 : Math.min(Math.max(Math.round(examples * evaluationSplit), 1), examples - 1);
  const given = examples - evalExamples;
  const trainExamples = Math.round(given * (1 - droppedShare));
  // What is dropped is missing in its step, which stays a step.
  const stepsPerEpoch = trainExamples === 0 ? 0 : Math.ceil(given / batchSize);
  const totalSteps = multiplyUp(epochs, stepsPerEpoch);
  const wholeEpochs = stepsPerEpoch === 0 ? 0 : Math.floor(totalSteps / stepsPerEpoch);
  const seenLast = Math.min((totalSteps - wholeEpochs * stepsPerEpoch) * batchSize, given);
  const examplesSeen = wholeEpochs * trainExamples + Math.round(seenLast * (1 - droppedShare));
  return { trainExamples, evalExamples, stepsPerEpoch, totalSteps, examplesSeen };
}

/** ceil(factor × count) with the factor as the decimal that was written: 1.1 × 10 is 11, not the 12 that binary rounding makes. */
function multiplyUp(factor: number, count: number): number {
  const [mantissa, exponent = '0'] = String(factor).split('e');
  const [whole, fraction = ''] = mantissa!.split('.');
  const scale = fraction.length - Number(exponent);
  const product = BigInt(whole! + fraction) * BigInt(count);
  if (scale <= 0) return Number(product * 10n ** BigInt(-scale));
  const unit = 10n ** BigInt(scale);
  return Number((product + unit - 1n) / unit);
}

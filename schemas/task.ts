/** What a job learns from its rows: the three kinds of the reference, as stored with the job and used by rendering, training and evaluation. */
export type Task =
  | { kind: 'textCompletion'; inputTemplate: string; outputTemplate: string }
  | { kind: 'textClassification'; text: string; label: string }
  | { kind: 'conversation'; jinjaTemplate?: string };

/** Where a setting's value came from: the request, the base model's row of the catalogue, or a limit or default of the product. */
export type SettingOrigin = 'given' | 'baseModel' | 'default' | 'derived';

/** A job's settings as resolved at creation: every value that training depends on, none left to be decided later. */
export interface JobSettings {
  task: Task;
  baseModel: string;
  warmStartFrom?: string;
  /** Instead: a checkpoint of another job, whose adapter was copied to this one's own folder (`startKey`) when it was created. */
  fromCheckpoint?: { job: string; step: number; files: { name: string; sha256: string; sizeBytes: number }[] };
  epochs: number;
  /** How it came to so many epochs, when the job was made longer while it lived; in order. */
  extensions?: Extension[];
  learningRate: number;
  /** Examples of one optimizer step over all GPUs: the global batch. */
  batchSize: number;
  /** GPUs of one machine that the job trains on together. Absent: one. */
  acceleratorCount?: number;
  loraRank: number;
  loraAlpha: number;
  loraDropout: number;
  /** auto: LoRA where the GPU's memory allows it, else QLoRA. */
  quantization: 'none' | 'nf4' | 'auto';
  /** null: a share of all steps, fixed by the train step once their number is known. */
  warmupSteps: number | null;
  schedule: 'linear' | 'cosine' | 'constant';
  weightDecay: number;
  maxGradNorm: number;
  /** Tokens an example may have; longer ones are cut. */
  cutoffLength: number;
  seed: number;
  evaluation: boolean;
  evaluationSplit: number;
  /** A dataset of its own instead of a split. */
  evaluationDataset?: string;
  /** Steps between two evaluations while training. null: once an epoch, more often with `earlyStop`. Absent, as in jobs of before: none. */
  evaluationSteps?: number | null;
  /** What a template that prints the date prints, where it is not the day of the job: of a model that is made once more. RFC 3339. */
  renderTime?: string;
  /** Training ends when the loss on the evaluation set has stopped falling. */
  earlyStop?: boolean;
  /** Most seconds of all attempts together. Absent: no limit. */
  maxGpuSeconds?: number;
  /** When training ends at the latest: ISO 8601. Absent: no limit. */
  deadline?: string;
  /** The step that training ends with, of a model made once more whose training a limit of time had ended. Absent: the last. */
  stopAtStep?: number;
  /** Someone must approve before it trains. */
  requireApproval?: boolean;
}
/**
 * From the end of `step` on the training is one of `toEpochs`, by its schedule of the learning rate, too; the warm-up stays that of the
 * first plan. The same settings make the same bytes, whether the extension was known beforehand or not.
 */
export interface Extension {
  fromEpochs: number;
  toEpochs: number;
  /** null: no trainer knows of it yet. */
  step: number | null;
}
export type SettingOrigins = Record<string, SettingOrigin>;

/** Where the file of the adapter lies that a job starts from, when that is a checkpoint's. */
export function startKey(uid: string, name: string): string {
  return `jobs/${uid}/start/${name}`;
}

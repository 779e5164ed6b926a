/** Token lengths for a dataset's validation report: with the base model that the upload names, or the deployment's own. */
import type { DatasetInput } from '../schemas/activities.js';
import { TemperError } from '../schemas/errors.js';
import { parseName } from '../schemas/names.js';
import type { TokenReport, ValidationReport } from '../schemas/validationReport.js';
import { findTunableModel } from '../stores/baseModels.js';
import type { Database } from '../stores/database.js';
import { readModelFiles } from '../stores/modelFiles.js';
import type { ObjectStore } from '../stores/objects.js';
import { countLengths } from '../tokens/countTokens.js';
import { TOKENIZER_SOURCES } from '../tokens/tokenizer.js';
import { TokenizerUnsupported } from '../tokens/tokenizerRules.js';

/** A few thousand rows take seconds; a dataset is not held up for its token counts. */
const DEADLINE_MS = 120_000;

/** Never fails a validation: what cannot be counted is said to be so. */
export async function reportTokens(
  { database, objects, defaultBaseModel }: { database: Database; objects: ObjectStore; defaultBaseModel: string },
  { name, baseModel = defaultBaseModel }: DatasetInput,
  file: string,
  report: ValidationReport,
  signal: AbortSignal,
): Promise<TokenReport> {
  const unavailable = (reason: string): TokenReport => ({ baseModel, counts: { tokenCounts: 'UNAVAILABLE', reason } });
  const model = await findTunableModel(database, parseName(name, 'datasets', '')?.accountId ?? '', baseModel);
  if (!model) return unavailable('there is no base model of this name');
  try {
    const sources = await readModelFiles(model.source, TOKENIZER_SOURCES, objects);
    const counts = await countLengths(
      sources,
      { file, lines: report.lines, examples: report.examples },
      { deadlineMs: DEADLINE_MS, signal },
    );
    return { baseModel: model.name, counts };
  } catch (error) {
    if (error instanceof TokenizerUnsupported) return unavailable(`the tokenizer cannot be used for counting: ${error.message}`);
    if (error instanceof TemperError && NOT_REACHED[error.code] !== undefined) return unavailable(NOT_REACHED[error.code]!);
    throw error;
  }
}

const NOT_REACHED: Record<string, string> = {
  HUB_UNREACHABLE: 'the Hugging Face hub, where its tokenizer is, did not answer',
  MODEL_GATED: 'the Hugging Face hub does not give its tokenizer to this deployment',
};

/** Reads an upload once, checks every line, and publishes it under its hash: from then on it never changes. */
import { mkdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { summariseProblems } from '../datasets/describeReport.js';
import { validateFile } from '../datasets/validate.js';
import type { DataActivities, DatasetInput, DatasetOutcome, Failure } from '../schemas/activities.js';
import type { ErrorDetail } from '../schemas/errors.js';
import type { ValidationReport } from '../schemas/validationReport.js';
import type { Database } from '../stores/database.js';
import { type digestFile, type ObjectStore } from '../stores/objects.js';
import { reportTokens } from './datasetTokens.js';
import { withHeartbeats } from './heartbeat.js';

interface Dependencies {
  database: Database;
  objects: ObjectStore;
  scratch: string;
  /** Whose tokenizer counts where an upload names none. */
  defaultBaseModel: string;
}

export function makeValidate(deps: Dependencies): Pick<DataActivities, 'validateDataset'> {
  const { objects, scratch } = deps;
  return { validateDataset: (input) => withHeartbeats((signal) => validateDataset(input, signal), undefined) };

  async function validateDataset(input: DatasetInput, signal: AbortSignal): Promise<DatasetOutcome> {
    const folder = path.join(scratch, `validate-${process.pid}-${input.uid}`);
    const file = path.join(folder, 'data.jsonl');
    try {
      await mkdir(folder, { recursive: true });
      const digest = await objects.getFile(input.uploadKey, file, undefined, signal);
      const incomplete = checkDeclared(input, digest);
      if (incomplete) return { valid: false, examples: 0, format: 'FORMAT_UNSPECIFIED', averageTurns: null, failure: incomplete };

      const report = await validateFile(file, { signal, sha256: digest.sha256 });
      if (report.valid) report.tokens = await reportTokens(deps, input, file, report, signal);
      const reportKey = `datasets/${input.uid}/reports/${digest.sha256}.json`;
      await objects.putBytes(reportKey, JSON.stringify(report));
      const found = {
        examples: report.examples,
        format: report.format,
        averageTurns: report.conversations?.averageTurnCount ?? null,
        reportKey,
        ...countedTokens(report),
      };
      if (!report.valid) return { valid: false, ...found, failure: invalid(report) };

      const key = `datasets/${input.uid}/${digest.sha256}.jsonl`;
      await objects.putFile(key, file, { digest, writeOnce: true });
      return { valid: true, ...found, object: { key, ...digest } };
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }
}

function countedTokens({ tokens }: ValidationReport): Pick<DatasetOutcome, 'tokens'> {
  if (tokens === undefined || tokens.counts.tokenCounts === 'UNAVAILABLE') return {};
  return { tokens: { baseModel: tokens.baseModel, total: tokens.counts.total } };
}

/** What arrived against what was declared at the upload's start: a cut upload is not a small dataset. */
function checkDeclared(input: DatasetInput, digest: Awaited<ReturnType<typeof digestFile>>): Failure | null {
  const size = input.declaredSizeBytes;
  if (size !== undefined && size !== digest.sizeBytes) return incompleteUpload(`${digest.sizeBytes} of ${size} bytes arrived`);
  if (input.declaredSha256 !== undefined && input.declaredSha256 !== digest.sha256)
    return incompleteUpload('the content does not have the hash it was sent with');
  return null;
}

function incompleteUpload(found: string): Failure {
  return {
    code: 'UPLOAD_INCOMPLETE',
    domain: 'DATASET',
    retryable: true,
    message: `The upload is not complete: ${found}. Upload the file again.`,
  };
}

function invalid(report: ValidationReport): Failure {
  const details: ErrorDetail[] = report.errors.flatMap((problem) =>
    problem.places
      .slice(0, 3)
      .map((place) => ({ reason: problem.code, line: place.line, field: place.field, message: problem.message, hint: place.fix })),
  );
  return {
    code: 'DATASET_INVALID',
    domain: 'DATASET',
    retryable: false,
    message: summariseProblems(report),
    details: details.slice(0, 20),
  };
}

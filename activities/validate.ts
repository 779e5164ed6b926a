/**
 * Reads an upload once, checks every line, and publishes it under its hash: from then on it never changes. What is checked so
 * far lies beside the upload in parts, so that after a crash the next attempt goes on from there.
 */
import { rm } from 'node:fs/promises';
import { Context } from '@temporalio/activity';
import { summariseProblems } from '../datasets/describeReport.js';
import type { ValidatedPart, ValidateProgress } from '../datasets/rangeQueue.js';
import { validateUnpacked } from '../datasets/validate.js';
import type { DataActivities, DatasetInput, DatasetOutcome, Failure } from '../schemas/activities.js';
import type { ErrorDetail } from '../schemas/errors.js';
import type { ValidationReport } from '../schemas/validationReport.js';
import type { Database } from '../stores/database.js';
import { recordValidationProgress } from '../stores/datasets.js';
import type { FileDigest, ObjectStore } from '../stores/objects.js';
import { reportTokens } from './datasetTokens.js';
import { withHeartbeats } from './heartbeat.js';
import { receiveUpload } from './receiveUpload.js';

/** Between two updates of the dataset's status: short validations have none. */
const PROGRESS_INTERVAL_MS = 2_000;

interface Dependencies {
  objects: ObjectStore;
  database: Database;
  /** Folder for files that can be had again. */
  cache: string;
  /** Whose tokenizer counts where an upload names none. */
  defaultBaseModel: string;
}

export function makeValidate(deps: Dependencies): Pick<DataActivities, 'validateDataset'> {
  const { objects, database, cache } = deps;
  return {
    validateDataset(input) {
      let progress: ValidateProgress | undefined;
      return withHeartbeats(
        (signal) => validateDataset(input, signal, (now) => (progress = now)),
        () => progress,
      );
    },
  };

  async function validateDataset(
    input: DatasetInput,
    signal: AbortSignal,
    onProgress: (progress: ValidateProgress) => void,
  ): Promise<DatasetOutcome> {
    const { digest, unpacked, folder } = await receiveUpload(objects, cache, input.uploadKey, signal);
    try {
      const incomplete = checkDeclared(input, digest);
      if (incomplete) return { valid: false, examples: 0, format: 'FORMAT_UNSPECIFIED', averageTurns: null, failure: incomplete };

      const sha256 = unpacked.compression === undefined ? digest.sha256 : 'sha256' in unpacked ? unpacked.sha256 : digest.sha256;
      const partsKey = `${input.uploadKey}.parts/${sha256}/`;
      const parts = await readParts(partsKey);
      let bytesRead = 0;
      const show = showProgress(input);
      const report = await validateUnpacked(unpacked, {
        signal,
        sha256,
        parts: parts.map(({ content }) => content),
        onPart: async (part) => void (await objects.putBytes(partKey(partsKey, part), part.content)),
        onProgress(progress) {
          bytesRead = progress.bytes - progress.savedBytes;
          onProgress(progress);
          show(progress);
        },
      });
      const found = {
        examples: report.examples,
        format: report.format,
        averageTurns: report.conversations?.averageTurnCount ?? null,
        reportKey: `datasets/${input.uid}/reports/${sha256}.json`,
        bytesRead,
      };
      if (report.valid && 'path' in unpacked) report.tokens = await reportTokens(deps, input, unpacked.path, report, signal);
      await objects.putBytes(found.reportKey, JSON.stringify(report));
      if (!report.valid || !('path' in unpacked)) return { valid: false, ...found, failure: invalid(report) };

      const key = `datasets/${input.uid}/${sha256}.jsonl`;
      const published = { sha256, sizeBytes: report.sizeBytes };
      await objects.putFile(key, unpacked.path, { digest: published, writeOnce: true });
      return { valid: true, ...found, ...countedTokens(report), object: { key, ...published } };
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }

  /** What earlier attempts saved, in order and without a gap. They are removed with the upload, when its verdict is recorded. */
  async function readParts(partsKey: string): Promise<ValidatedPart[]> {
    const parts: ValidatedPart[] = [];
    for (const { key } of (await objects.list(partsKey)).toSorted((a, b) => (a.key < b.key ? -1 : 1))) {
      const [start = 0, end = 0] = key.slice(partsKey.length).split('-').map(Number);
      if (start !== (parts.at(-1)?.end ?? 0)) break;
      parts.push({ start, end, content: await objects.getBytes(key) });
    }
    const last = parts.at(-1);
    if (last !== undefined) Context.current().log.info('The validation goes on after what was saved', { bytes: last.end });
    return parts;
  }

  /** A function that tells the dataset's readers how far it is, every few seconds. */
  function showProgress({ uid, uploadKey }: DatasetInput): (progress: ValidateProgress) => void {
    let lastMs = Date.now();
    return ({ bytes, totalBytes, examples }) => {
      if (Date.now() - lastMs < PROGRESS_INTERVAL_MS) return;
      lastMs = Date.now();
      const percent = Math.floor((100 * bytes) / totalBytes);
      const message = `Validating: ${percent} %, ${examples.toLocaleString('en-US')} rows so far.`;
      // It is for people only: a database that is away holds up the verdict, not the work.
      recordValidationProgress(database, uid, uploadKey, message).catch(() => undefined);
    };
  }
}

function partKey(partsKey: string, { start, end }: ValidatedPart): string {
  return `${partsKey}${[start, end].map((bytes) => String(bytes).padStart(12, '0')).join('-')}`;
}

function countedTokens({ tokens }: ValidationReport): Pick<DatasetOutcome, 'tokens'> {
  if (tokens === undefined || tokens.counts.tokenCounts === 'UNAVAILABLE') return {};
  return { tokens: { baseModel: tokens.baseModel, total: tokens.counts.total } };
}

/** What arrived against what was declared at the upload's start: a cut upload is not a small dataset. */
function checkDeclared(input: DatasetInput, digest: FileDigest): Failure | null {
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

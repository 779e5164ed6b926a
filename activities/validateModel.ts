/**
 * Checks the files of a model that someone brings, and makes it READY or says what is wrong. The files are first copied to where
 * no signed URL leads, so that what was checked is what is used. Headers and configuration come first; only what can be right by
 * these is read whole, for its hash and for values that are not finite.
 */
import { randomUUID } from 'node:crypto';
import { rm } from 'node:fs/promises';
import path from 'node:path';
import type { DataActivities, ModelInput, ModelOutcome } from '../schemas/activities.js';
import { TemperError } from '../schemas/errors.js';
import { resourceName } from '../schemas/names.js';
import { scanFiniteValues } from '../models/finiteValues.js';
import { problemDetails, summariseProblems, type ModelProblem } from '../models/problems.js';
import type { TensorInfos } from '../models/safetensorsHeader.js';
import type { Database, StoredFile } from '../stores/database.js';
import {
  findModelByUid,
  publishUploadedModel,
  recordModelProgress,
  refuseModel,
  type CheckedModel,
  type ModelRecord,
} from '../stores/models.js';
import { digestTap, type ObjectStore } from '../stores/objects.js';
import type { SecretKeys } from '../stores/secretKeys.js';
import { withHeartbeats } from './heartbeat.js';
import { checkAddonFiles, checkBaseModelFiles } from './modelChecks.js';
import type { CopiedFile } from './modelSources.js';

export interface ModelDependencies {
  database: Database;
  objects: ObjectStore;
  secretKeys: SecretKeys;
  cache: string;
  scratch: string;
  python: string;
}

/** What the checks of either kind find, before the files are read whole. */
export interface ModelFindings {
  problems: ModelProblem[];
  warnings: string[];
  /** Headers by file. */
  headers: Map<string, TensorInfos>;
  /** The files of the model as it will be: without what was converted, with what it became. */
  files: CopiedFile[];
  facts: Pick<CheckedModel, 'peft' | 'baseDetails' | 'conversation' | 'contextLength'> | null;
}

const PROGRESS_EVERY_BYTES = 256 * 1024 * 1024;

export function makeValidateModel(deps: ModelDependencies): Pick<DataActivities, 'validateModel'> {
  return { validateModel: (input) => withHeartbeats((signal) => validateModel(deps, input, signal)) };
}

async function validateModel(deps: ModelDependencies, { uid, name }: ModelInput, signal: AbortSignal): Promise<ModelOutcome> {
  const { database, objects } = deps;
  const model = await findModelByUid(database, uid);
  if (!model || model.state === 'READY') return { valid: model !== undefined, message: model ? 'It is READY.' : 'It was deleted.' };
  const { upload } = model;
  if (!upload) throw new TemperError('UPLOAD_MISSING', `${name} has no files yet.`);
  const prefix = `models/${uid}/${randomUUID()}`;
  const folder = path.join(deps.scratch, `model-${process.pid}-${uid}`);
  let published = false;
  try {
    // What attempts that were killed had copied.
    await objects.removePrefix(`models/${uid}/`);
    await recordModelProgress(database, uid, `Validation goes on: ${upload.files.length} files are being checked.`);
    const files: CopiedFile[] = [];
    for (const file of upload.files) files.push(await copyFile(file, prefix, objects));
    const findings = await check(deps, model, { files, prefix, folder }, signal);
    const digests = findings.problems.length === 0 ? await readWhole(deps, uid, findings, signal) : [];
    if (findings.problems.length > 0 || !findings.facts) return await refuse(deps, model, upload.id, findings.problems);

    const stored = [...digests, ...(await writeOwnFiles(model, findings, digests, prefix, objects))].sort((a, b) =>
      a.name < b.name ? -1 : 1,
    );
    const checked = { files: stored, warnings: findings.warnings, ...findings.facts };
    published = await publishUploadedModel(database, uid, upload.id, checked);
    if (!published) return { valid: false, message: 'Its files have changed meanwhile; they are checked anew.' };
    await objects.removePrefix(`uploads/${uid}/`);
    return { valid: true, message: `${stored.length} files, ${findings.warnings.length} warnings.` };
  } catch (error) {
    if (error instanceof TemperError && error.code === 'HUB_UNREACHABLE') await recordModelProgress(database, uid, error.message);
    throw error;
  } finally {
    await rm(folder, { recursive: true, force: true });
    if (!published || !(await findModelByUid(database, uid))) await objects.removePrefix(`${prefix}/`);
  }
}

/** @throws TemperError UPLOAD_INCOMPLETE */
async function copyFile({ name, key, sizeBytes }: CopiedFile, prefix: string, objects: ObjectStore): Promise<CopiedFile> {
  const target = `${prefix}/${name}`;
  const incomplete = (found: string) =>
    new TemperError('UPLOAD_INCOMPLETE', `${name} is not complete: ${found}. PUT the whole file to its URL again.`);
  const before = await objects.head(key);
  if (!before) throw incomplete('it has not arrived');
  await objects.copy(key, target);
  const found = await objects.head(target);
  if (found?.sizeBytes !== sizeBytes) throw incomplete(`${found?.sizeBytes ?? 0} of ${sizeBytes} bytes have arrived`);
  return { name, key: target, sizeBytes };
}

/** What the steps of one validation share. */
export interface Validation {
  files: CopiedFile[];
  /** Where the model's files will be. */
  prefix: string;
  /** For files that the trainer's Python looks into. */
  folder: string;
}

function check(deps: ModelDependencies, model: ModelRecord, validation: Validation, signal: AbortSignal): Promise<ModelFindings> {
  return model.kind === 'HF_BASE_MODEL'
    ? checkBaseModelFiles(deps, model, validation, signal)
    : checkAddonFiles(deps, model, validation, signal);
}

/** Hashes every file, and looks at every weight on the way. */
async function readWhole(deps: ModelDependencies, uid: string, findings: ModelFindings, signal: AbortSignal): Promise<StoredFile[]> {
  const { database, objects } = deps;
  const totalBytes = findings.files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const stored: StoredFile[] = [];
  let doneBytes = 0;
  let saidBytes = 0;
  for (const { name, key, sizeBytes } of findings.files) {
    const header = findings.headers.get(name);
    const scan = header && scanFiniteValues(header);
    const tap = digestTap();
    tap.stream.resume();
    for await (const chunk of objects.readObject(key)) {
      signal.throwIfAborted();
      scan?.take(chunk);
      if (!tap.stream.write(chunk)) await new Promise((resolve) => tap.stream.once('drain', resolve));
      doneBytes += chunk.length;
      if (doneBytes - saidBytes < PROGRESS_EVERY_BYTES) continue;
      saidBytes = doneBytes;
      await recordModelProgress(database, uid, `Validation goes on: ${gigabytes(doneBytes)} of ${gigabytes(totalBytes)} GB are read.`);
    }
    await new Promise<void>((resolve) => tap.stream.end(resolve));
    const digest = tap.digest();
    if (digest.sizeBytes !== sizeBytes)
      throw new TemperError('OBJECT_STORE_UNAVAILABLE', `The object store gave ${digest.sizeBytes} of ${sizeBytes} bytes of ${name}.`);
    const bad = scan?.found();
    if (bad)
      findings.problems.push({
        code: 'VALUES_NOT_FINITE',
        file: name,
        message: `The weight ${bad} in ${name} has values that are NaN or infinite: nothing can be computed with it.`,
      });
    stored.push({ name, key, ...digest });
  }
  return stored;
}

async function refuse(
  { database }: ModelDependencies,
  model: ModelRecord,
  uploadId: string,
  problems: ModelProblem[],
): Promise<ModelOutcome> {
  const message = summariseProblems(problems);
  await refuseModel(database, model.uid, uploadId, { code: 'INVALID_ARGUMENT', message, details: problemDetails(problems) });
  return { valid: false, message };
}

/** The lineage, which is never the uploader's to write; and the reference's own file for a template that came with the record. */
async function writeOwnFiles(
  model: ModelRecord,
  { facts, files }: ModelFindings,
  digests: StoredFile[],
  prefix: string,
  objects: ObjectStore,
): Promise<StoredFile[]> {
  const written: Record<string, unknown> = {
    'lineage.json': {
      version: 1,
      model: resourceName(model.account_id, 'models', model.id),
      ...(model.import
        ? { importedBy: model.created_by, importedFrom: { repository: model.import.repository, commit: model.import.commit ?? null } }
        : { uploadedBy: model.created_by }),
      createTime: model.create_time.toISOString(),
      ...(facts!.peft ? { baseModel: facts!.peft.baseModel } : {}),
      files: digests.map(({ name, sha256, sizeBytes }) => ({ name, sha256, sizeBytes })),
    },
  };
  const template = (facts!.conversation as { template?: string } | null)?.template;
  if (template !== undefined && !files.some(({ name }) => name === 'fireworks.json'))
    written['fireworks.json'] = { conversation_config: { style: 'jinja', args: { template } } };
  const stored: StoredFile[] = [];
  for (const [name, content] of Object.entries(written)) {
    const key = `${prefix}/${name}`;
    stored.push({ name, key, ...(await objects.putBytes(key, `${JSON.stringify(content, null, 2)}\n`)) });
  }
  return stored;
}

function gigabytes(bytes: number): string {
  return (bytes / 1e9).toFixed(1);
}

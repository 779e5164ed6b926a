/** `temper create model NAME FOLDER` and `temper import model NAME --from ORG/NAME`: a model of one's own, checked before it counts. */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Option, type Command } from 'commander';
import { isModelFile, type ModelKind } from '../schemas/modelFiles.js';
import { isId } from '../schemas/names.js';
import { callApi, type ApiRequest, type Resource } from './client.js';
import { ApiError, isPassing, OperationError, UsageError } from './failures.js';
import { formatFields, formatSize, plainText } from './format.js';
import { collectionPath, MODEL, statusMessage } from './resources.js';
import { openSession, printRequest, printResource, type Session } from './session.js';
import { putFile, transferProgress, type FileToSend } from './upload.js';

const FILES_AT_ONCE = 3;
const RETRY_WAITS_MS = [1000, 3000, 9000];
const POLL_MS = 500;

interface ModelOptions {
  kind?: ModelKind;
  baseModel?: string;
  displayName?: string;
  description?: string;
  contextLength?: string;
  huggingFaceUrl?: string;
  githubUrl?: string;
  supportsTools?: boolean;
  supportsImageInput?: boolean;
  wait: boolean;
}

function defineModelOptions(command: Command): void {
  command
    .addOption(new Option('--kind <kind>', 'what it is (default: by its files)').choices(['HF_PEFT_ADDON', 'HF_BASE_MODEL']))
    .option('--base-model <name>', 'the base model that an add-on was made for')
    .option('--display-name <name>', 'name for people')
    .option('--description <text>', 'what the model is for')
    .option('--context-length <tokens>', 'most tokens that the model takes')
    .option('--hugging-face-url <url>', 'where it is on the hub (shown, never fetched)')
    .option('--github-url <url>', 'where its source is (shown)')
    .option('--supports-tools', 'the model knows function calls')
    .option('--supports-image-input', 'the model takes images')
    .option('--no-wait', 'return before the files are checked');
}

export function defineCreateModel(command: Command): void {
  defineModelOptions(command);
  command
    .description('Upload a PEFT add-on or a base model and check it')
    .argument('<name>', 'ID of the model')
    .argument('<folder>', 'folder with its files')
    .addHelpText(
      'after',
      '\nExamples:\n  temper create model my-adapter ./adapter --base-model accounts/fireworks/models/llama-v3p1-8b-instruct\n' +
        '  temper create model my-base ./my-base-model\n\nAn upload that was cut short is begun anew when the command is run again.',
    )
    .action(async (name: string, folder: string, options: ModelOptions, self: Command) =>
      createModel(openSession(self), name, folder, options),
    );
}

export function defineImportModel(command: Command): void {
  defineModelOptions(command);
  command
    .description('Import a model from the Hugging Face hub')
    .argument('<name>', 'ID of the model')
    .requiredOption('--from <model>', 'ORG/NAME on the hub, or ORG/NAME@REVISION')
    .option('--token-secret <name>', 'a secret of the account that holds a token for the hub, for gated models')
    .addHelpText('after', '\nExample:\n  temper import model my-qwen --from Qwen/Qwen2.5-0.5B-Instruct@main')
    .action(async (name: string, options: ModelOptions & { from: string; tokenSecret?: string }, self: Command) =>
      importModel(openSession(self), name, options),
    );
}

async function createModel(session: Session, name: string, folder: string, options: ModelOptions): Promise<void> {
  const kind = options.kind ?? kindOf(folder);
  const { files, left } = filesToSend(folder, kind);
  const request = await createRequest(session, name, kind, options);
  if (session.dryRun) return printRequest(session, request);
  const { connection, status } = session;
  const created = await callApi(connection, request);
  const path = `${request.path}/${name}`;
  if (created.state === 'READY')
    return printResource(session, created, name, `It is there already.\n${formatFields(MODEL.fields(created))}`);
  if (left.length > 0) status.print(`not part of a model, left out: ${left.map(plainText).join(', ')}`);
  await uploadFiles(session, path, files);
  status.clear();
  status.print(`uploaded ${files.length} files (${formatSize(files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0))})`);
  await finish(session, path, name, options.wait);
}

async function importModel(session: Session, name: string, options: ModelOptions & { from: string; tokenSecret?: string }): Promise<void> {
  const [, repository, revision] = /^([^@]+)(?:@(.+))?$/.exec(options.from) ?? [];
  if (!repository?.includes('/')) throw new UsageError(`--from must be ORG/NAME or ORG/NAME@REVISION, not "${plainText(options.from)}"`);
  const kind = options.kind ?? (options.baseModel === undefined ? 'HF_BASE_MODEL' : 'HF_PEFT_ADDON');
  const request = await createRequest(session, name, kind, options);
  const importFrom = {
    repository,
    ...(revision ? { revision } : {}),
    ...(options.tokenSecret ? { tokenSecret: options.tokenSecret } : {}),
  };
  request.body = { ...(request.body as Resource), importFrom };
  if (session.dryRun) return printRequest(session, request);
  await callApi(session.connection, request);
  await finish(session, `${request.path}/${name}`, name, options.wait);
}

async function createRequest(session: Session, name: string, kind: ModelKind, options: ModelOptions): Promise<ApiRequest> {
  if (!isId(name))
    throw new UsageError(
      `"${plainText(name)}" cannot be the ID of a model: use 1 to 63 characters of a-z, 0-9 and hyphen, with no hyphen at either end`,
    );
  if (kind === 'HF_PEFT_ADDON' && options.baseModel === undefined)
    throw new UsageError('an add-on needs --base-model: the model that it was made for');
  const { displayName, description, contextLength, huggingFaceUrl, githubUrl, supportsTools, supportsImageInput } = options;
  const model = {
    kind,
    ...(kind === 'HF_PEFT_ADDON' ? { peftDetails: { baseModel: options.baseModel } } : {}),
    ...(contextLength === undefined ? {} : { contextLength: Number(contextLength) }),
    ...withoutUndefined({ displayName, description, huggingFaceUrl, githubUrl, supportsTools, supportsImageInput }),
  };
  return { method: 'POST', path: await collectionPath(session, MODEL), body: { modelId: name, model }, idempotent: true };
}

function withoutUndefined(fields: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}

function kindOf(folder: string): ModelKind {
  const names = namesIn(folder);
  if (names.includes('adapter_config.json')) return 'HF_PEFT_ADDON';
  if (names.includes('config.json')) return 'HF_BASE_MODEL';
  throw new UsageError(`${folder} has neither adapter_config.json (a PEFT add-on) nor config.json (a base model)`);
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder).sort();
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    throw new UsageError(code === 'ENOENT' ? `${folder}: no such folder` : `${folder} is no folder that can be read`);
  }
}

/** The files that belong to a model, and the names of those that do not. */
function filesToSend(folder: string, kind: ModelKind): { files: FileToSend[]; left: string[] } {
  const names = namesIn(folder).filter((name) => statSync(join(folder, name)).isFile());
  const own = names.filter((name) => isModelFile(kind, name) && !isSecondCopy(folder, name, names));
  const files = own.map((name) => ({ path: join(folder, name), name, sizeBytes: statSync(join(folder, name)).size }));
  return { files, left: names.filter((name) => !own.includes(name)) };
}

/** The same weights in another format or under other names, as folders of the hub have them. */
function isSecondCopy(folder: string, name: string, names: string[]): boolean {
  const safe = names.filter((one) => one.endsWith('.safetensors'));
  if (safe.length > 0 && (name.endsWith('.bin') || name === 'pytorch_model.bin.index.json')) return true;
  if (!names.includes('model.safetensors.index.json') || !name.endsWith('.safetensors')) return false;
  return !readFileSync(join(folder, 'model.safetensors.index.json'), 'utf8').includes(`"${name}"`);
}

/** Some at a time, each again from its beginning when its connection was lost. */
async function uploadFiles(session: Session, path: string, files: FileToSend[]): Promise<void> {
  const { connection, status } = session;
  const { filenameToSignedUrls } = await callApi<{ filenameToSignedUrls: Record<string, string> }>(connection, {
    method: 'POST',
    path: `${path}:getUploadEndpoint`,
    body: { filenameToSize: Object.fromEntries(files.map(({ name, sizeBytes }) => [name, String(sizeBytes)])) },
  });
  const totalBytes = files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const show = transferProgress(status, `uploading ${files.length} files`, totalBytes);
  const sent = new Map<string, number>();
  const report = (name: string, bytes: number) => {
    sent.set(name, bytes);
    show([...sent.values()].reduce((sum, value) => sum + value, 0));
  };
  const waiting = [...files];
  const worker = async () => {
    for (let file = waiting.shift(); file; file = waiting.shift())
      await sendOne(session, filenameToSignedUrls[file.name] ?? '', file, report);
  };
  await Promise.all(Array.from({ length: Math.min(FILES_AT_ONCE, files.length) }, worker));
}

async function sendOne({ status }: Session, url: string, file: FileToSend, report: (name: string, bytes: number) => void): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    try {
      return await putFile(url, file, (bytes) => report(file.name, bytes));
    } catch (error) {
      const waitMs = RETRY_WAITS_MS[attempt];
      if (!isPassing(error) || waitMs === undefined) throw error;
      status.print(`${error.message} Uploading ${file.name} again in ${Math.ceil(waitMs / 1000)}s.`);
      await sleep(waitMs);
    }
  }
}

/** Has the files checked and, by default, stays until the verdict. */
async function finish(session: Session, path: string, name: string, wait: boolean): Promise<void> {
  const { connection, status } = session;
  if (wait) await waitForVerdict(session, path);
  const model = await callApi(connection, { method: 'GET', path });
  status.clear();
  for (const warning of (model.warnings as string[] | undefined) ?? []) status.print(`Warning: ${plainText(warning)}`);
  printResource(session, model, name, formatFields(MODEL.fields(model)));
}

async function waitForVerdict({ connection, status }: Session, path: string): Promise<void> {
  for (;;) {
    try {
      const model = await callApi(connection, { method: 'GET', path });
      if (model.state === 'READY') return;
      const problem = statusMessage(model);
      status.show(plainText((model.status as { message?: string } | undefined)?.message) || 'checking the files');
      const verdict = await callApi<{ state?: string }>(connection, { method: 'GET', path: `${path}:validateUpload` });
      if (verdict.state === 'READY') return;
      if (problem) status.show(problem);
    } catch (error) {
      if (error instanceof ApiError && error.status >= 400 && error.status < 429)
        throw new OperationError(
          `${error.message}${error.details.length > 1 ? `\n${error.details.map(({ message }) => `  ${plainText(message)}`).join('\n')}` : ''}`,
        );
      if (!isPassing(error)) throw error;
      status.show(`The model is still being checked, but ${error.message} Trying again.`);
    }
    await sleep(POLL_MS);
  }
}

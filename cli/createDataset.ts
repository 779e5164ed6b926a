/** `temper create dataset FILE`: the record, the upload, and by default the wait for the verdict of its validation. */
import { createHash } from 'node:crypto';
import { createReadStream, statSync, type Stats } from 'node:fs';
import { basename } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import { isId } from '../schemas/names.js';
import { callApi, type ApiRequest, type Resource } from './client.js';
import { describeDataset, fetchReport } from './datasetText.js';
import { isPassing, OperationError, UsageError } from './failures.js';
import { formatSize, plainText } from './format.js';
import { collectionPath, DATASET, statusMessage } from './resources.js';
import { openSession, print, printJson, printRequest, printResource, type Session } from './session.js';
import { withUnpacked } from './unpacked.js';
import { uploadDataset, type FileToSend } from './upload.js';

const POLL_MS = 300;

export function defineCreateDataset(command: Command): void {
  command
    .description('Upload a JSONL file (plain, gzip or zstd) as a dataset and validate it')
    .argument('<arguments...>', 'FILE, or ID FILE')
    .option('--dataset-id <id>', 'ID of the dataset (default: from the name of the file)')
    .option('--display-name <name>', 'name for people')
    .option('--no-wait', 'return when the file is uploaded, before it is validated')
    .addHelpText(
      'after',
      '\nExamples:\n  temper create dataset intents.jsonl\n  temper create dataset my-intents data/train.jsonl --display-name "Intents, July"',
    )
    .action(async (given: string[], options: { datasetId?: string; displayName?: string; wait: boolean }) => {
      await createDataset(openSession(command), placeArguments(given, options.datasetId), options);
    });
}

async function createDataset(
  session: Session,
  { id, path: filePath }: { id: string; path: string },
  options: { displayName?: string; wait: boolean },
): Promise<void> {
  const file = fileToSend(filePath);
  const request: ApiRequest = {
    method: 'POST',
    path: await collectionPath(session, DATASET),
    idempotent: true,
    body: {
      datasetId: id,
      dataset: { ...(options.displayName === undefined ? {} : { displayName: options.displayName }), userUploaded: {} },
    },
  };
  if (session.dryRun) return printRequest(session, request);

  const { connection, status } = session;
  const created = await callApi(connection, request);
  if (created.state === 'READY') {
    if (created.sha256 !== (await sha256Of(file.path))) {
      throw new OperationError(
        `the dataset ${plainText(created.name)} exists already with other content, and a dataset never changes: choose another ID with --dataset-id`,
      );
    }
    return printResource(session, created, id, `The same file is already there.\n${describeDataset(created, undefined)}`);
  }
  const path = `${request.path}/${id}`;
  await uploadDataset(connection, status, path, file);
  status.clear();
  status.print(`uploaded ${file.name} (${formatSize(file.sizeBytes)})`);

  const dataset = options.wait ? await waitForVerdict(session, path) : await callApi(connection, { method: 'GET', path });
  if (options.wait && dataset.state !== 'READY') {
    status.clear();
    if (session.json) printJson(dataset);
    else print(describeDataset(dataset, await fetchReport(connection, path)));
    throw new OperationError(`the dataset is not valid: ${statusMessage(dataset)}\nCorrect the file and run the same command again.`);
  }
  const report = options.wait && !session.json && !session.quiet ? await fetchReport(connection, path) : undefined;
  printResource(session, dataset, id, describeDataset(dataset, report));
}

/** Until READY or found invalid, through lost connections for as long as it takes. */
async function waitForVerdict({ connection, status }: Session, path: string): Promise<Resource> {
  const startMs = performance.now();
  for (;;) {
    try {
      const dataset = await callApi(connection, { method: 'GET', path });
      if (dataset.state === 'READY' || statusMessage(dataset)) return dataset;
      const seconds = Math.floor((performance.now() - startMs) / 1000);
      const progress = plainText((dataset.status as { message?: string } | undefined)?.message ?? '');
      status.show(`${progress || 'validating'}${seconds > 1 ? ` (${seconds}s)` : ''}`);
    } catch (error) {
      if (!isPassing(error)) throw error;
      status.show(`The validation goes on, but ${error.message} Trying again.`);
    }
    await sleep(POLL_MS);
  }
}

/** Both orders that the reference uses: `FILE` and `ID FILE`. */
function placeArguments(given: string[], datasetId: string | undefined): { id: string; path: string } {
  if (given.length > 2 || (given.length === 2 && datasetId !== undefined))
    throw new UsageError('too many arguments: give FILE, or ID FILE');
  const path = given.at(-1)!;
  const id = datasetId ?? (given.length === 2 ? given[0]! : idFromFile(path));
  if (!isId(id))
    throw new UsageError(
      `"${id}" cannot be the ID of a dataset: use 1 to 63 characters of a-z, 0-9 and hyphen, with no hyphen at either end`,
    );
  return { id, path };
}

/** `data/My Rows_v2.jsonl`, compressed or not → `my-rows-v2`. */
function idFromFile(path: string): string {
  const id = basename(path)
    .replace(/\.(gz|zst)$/i, '')
    .replace(/\.[^.]*$/, '')
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .slice(0, 63)
    .replace(/^-+|-+$/g, '');
  if (!id) throw new UsageError('the name of the file gives no ID: choose one with --dataset-id');
  return id;
}

function fileToSend(path: string): FileToSend {
  let stats: Stats;
  try {
    stats = statSync(path);
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
    throw new UsageError(missing ? `${path}: no such file` : `${path} cannot be read: ${(error as Error).message}`);
  }
  if (!stats.isFile()) throw new UsageError(`${path} is not a file`);
  if (stats.size === 0) throw new UsageError(`${path} is empty: a dataset has one JSON object a line`);
  return { path, name: basename(path), sizeBytes: stats.size };
}

/** Of the rows: a dataset is stored decompressed. */
async function sha256Of(path: string): Promise<string> {
  return withUnpacked(path, async (unpacked) => {
    if ('sha256' in unpacked) return unpacked.sha256;
    const hash = createHash('sha256');
    await pipeline(createReadStream(path), hash);
    return hash.digest('hex');
  });
}

/** `temper export model`: a model in another form, and what is done with exports that are there. */
import { setTimeout as sleep } from 'node:timers/promises';
import { InvalidArgumentError, Option, type Command } from 'commander';
import { EXPORT_FORMATS, GGUF_QUANTIZATIONS } from '../schemas/export.js';
import { callApi, type ApiRequest, type Resource } from './client.js';
import { downloadFiles } from './download.js';
import { isPassing, OperationError } from './failures.js';
import { formatFields, idOf, plainText } from './format.js';
import { EXPORT, exportId, MODEL, resourcePath, stateOf, statusMessage } from './resources.js';
import { openSession, printRequest, printResource, type Session } from './session.js';

const POLL_MS = 1_000;
const ENDED = ['COMPLETED', 'FAILED', 'CANCELLED'];

interface ExportOptions {
  format: string;
  quantization?: string;
  exportId?: string;
  wait?: boolean;
  outputDir?: string;
}

export function defineExportModel(command: Command): void {
  const words = (names: readonly string[]) => names.map((name) => name.toLowerCase().replaceAll('_', '-'));
  command
    .description('Make a model available in another form: merged with its base model, or as GGUF for llama.cpp')
    .argument('<model>', 'ID, full name or alias of the model')
    .addOption(new Option('--format <format>', 'what to make').choices(words(Object.keys(EXPORT_FORMATS))).makeOptionMandatory())
    .option('--quantization <type>', `of a GGUF: ${words(GGUF_QUANTIZATIONS).join(', ')}`, readQuantization)
    .option('--export-id <id>', 'ID of the export (default: its format)')
    .option('-w, --wait', 'stay until it has ended')
    .option('--output-dir <folder>', 'wait, and download the files to here')
    .addHelpText(
      'after',
      '\nExamples:\n  temper export model my-model --format merged --output-dir ./merged\n  temper export model my-model --format gguf --quantization q8-0 --wait\n  temper download model-export my-model/gguf-q8-0 ./gguf',
    )
    .action(async (name: string, { format, quantization, exportId: id, wait, outputDir }: ExportOptions, self: Command) => {
      const session = openSession(self);
      const request: ApiRequest = {
        method: 'POST',
        path: `${await resourcePath(session, MODEL, name)}/exports`,
        body: {
          ...(id === undefined ? {} : { exportId: id }),
          export: { format: format.toUpperCase().replaceAll('-', '_'), ...(quantization === undefined ? {} : { quantization }) },
        },
        idempotent: true,
      };
      if (session.dryRun) return printRequest(session, request);
      const made = await callApi(session.connection, request);
      const path = `/v1/${String(made.name)}`;
      if (wait || outputDir !== undefined) await waitForExport(session, path, outputDir === undefined);
      else
        printResource(
          session,
          made,
          exportId(made),
          `${formatFields(EXPORT.fields(made))}\n\nFollow it with: temper get model-export ${exportId(made)} --wait`,
        );
      if (outputDir !== undefined) await downloadFiles(session, path, outputDir);
    });
}

export function defineCancelExport(command: Command): void {
  command
    .description('Cancel an export that has not ended')
    .argument('<export>', 'MODEL/EXPORT, or its full name')
    .addHelpText('after', '\nExample:\n  temper cancel model-export my-model/merged')
    .action(async (name: string, _: unknown, self: Command) => {
      const session = openSession(self);
      const request: ApiRequest = { method: 'POST', path: `${await resourcePath(session, EXPORT, name)}:cancel`, body: {} };
      if (session.dryRun) return printRequest(session, request);
      const cancelled = await callApi(session.connection, request);
      printResource(session, cancelled, exportId(cancelled), `Cancelling ${exportId(cancelled)}`);
    });
}

export function defineDownloadExport(command: Command): void {
  command
    .description('Download the files of an export')
    .argument('<export>', 'MODEL/EXPORT, or its full name')
    .argument('[folder]', 'where to put them (default: a folder named like the export)')
    .addHelpText('after', '\nExample:\n  temper download model-export my-model/merged ./merged')
    .action(async (name: string, folder: string | undefined, _: unknown, self: Command) => {
      const session = openSession(self);
      const path = await resourcePath(session, EXPORT, name);
      if (session.dryRun) return printRequest(session, { method: 'GET', path: `${path}:getDownloadEndpoint` });
      await downloadFiles(session, path, folder ?? idOf(path));
    });
}

/** Survives a lost connection. @throws OperationError when the export failed or was cancelled */
export async function waitForExport(session: Session, path: string, printed = true): Promise<Resource> {
  const { connection, status } = session;
  for (;;) {
    try {
      const found = await callApi(connection, { method: 'GET', path });
      if (ENDED.includes(stateOf(found))) {
        status.clear();
        const completed = stateOf(found) === 'COMPLETED';
        if (printed || !completed) printResource(session, found, exportId(found), formatFields(EXPORT.fields(found)));
        if (!completed) throw new OperationError(`the export did not complete: ${statusMessage(found) || stateOf(found)}`);
        return found;
      }
      status.show(`${stateOf(found)} ${plainText(found.stage)} ${plainText(found.percent)} %`);
    } catch (error) {
      if (!isPassing(error)) throw error;
      status.show(`The export goes on, but ${error.message} Trying again.`);
    }
    await sleep(POLL_MS);
  }
}

function readQuantization(text: string): string {
  const name = text.toUpperCase().replaceAll('-', '_');
  if ((GGUF_QUANTIZATIONS as readonly string[]).includes(name)) return name;
  throw new InvalidArgumentError(`It must be one of ${GGUF_QUANTIZATIONS.join(', ')}.`);
}

/** `temper export-metrics fine-tuning-job NAME [FILE]`: every step of a job as JSON lines. */
import { createWriteStream } from 'node:fs';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Command } from 'commander';
import { callApi } from './client.js';
import { ApiError } from './failures.js';
import { JOB, resourcePath } from './resources.js';
import { openSession, printRequest } from './session.js';

export function defineExportMetrics(command: Command): void {
  command
    .description("Write a job's metrics, a JSON object a step")
    .argument('<name>', 'ID or full name of the job')
    .argument('[file]', 'where to (default: standard output)')
    .addHelpText('after', '\nExample:\n  temper export-metrics fine-tuning-job my-job metrics.jsonl')
    .action(async (name: string, file: string | undefined, _: unknown, self: Command) => {
      const session = openSession(self);
      const request = { method: 'GET' as const, path: `${await resourcePath(session, JOB, name)}:getMetricsFileEndpoint` };
      if (session.dryRun) return printRequest(session, request);
      const { signedUrl } = await callApi<{ signedUrl: string }>(session.connection, request);
      const response = await fetch(signedUrl);
      if (!response.ok || !response.body) throw new ApiError(response.status, `the object store answered ${response.status}`);
      const content = Readable.fromWeb(response.body as Parameters<typeof Readable.fromWeb>[0]);
      if (file) await pipeline(content, createWriteStream(file));
      else await pipeline(content, process.stdout, { end: false });
      if (file) session.status.print(`wrote ${file}`);
    });
}

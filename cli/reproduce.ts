/** `temper reproduce`: makes a model once more and says whether it is the same. */
import { randomBytes } from 'node:crypto';
import type { Command } from 'commander';
import { callApi, type ApiRequest } from './client.js';
import { OperationError } from './failures.js';
import { describeReproduction, isReproduced } from './jobText.js';
import { collectionPath, JOB, MODEL, resourcePath } from './resources.js';
import { openSession, printRequest } from './session.js';
import { watchJob } from './watchJob.js';

export function defineReproduce(command: Command): void {
  command
    .description('Make a model once more from its lineage, and compare the bytes of the two adapters')
    .argument('<model>', 'ID, full name or alias of the model')
    .option('--job-id <id>', 'ID of the job')
    .option('--model-id <id>', 'ID of the model that comes out (default: the ID of the job)')
    .addHelpText('after', '\nExits with 1 when the adapters differ.\n\nExample:\n  temper reproduce my-model')
    .action(async (name: string, options: { jobId?: string; modelId?: string }, self: Command) => {
      const session = openSession(self);
      const jobId = options.jobId ?? `again-${randomBytes(6).toString('hex')}`;
      const request: ApiRequest = {
        method: 'POST',
        path: `${await resourcePath(session, MODEL, name)}:reproduce`,
        body: { jobId, ...(options.modelId ? { modelId: options.modelId } : {}) },
        idempotent: true,
      };
      if (session.dryRun) return printRequest(session, request);
      await callApi(session.connection, request);
      const path = `${await collectionPath(session, JOB)}/${jobId}`;
      await watchJob(session, path, jobId);
      const job = await callApi(session.connection, { method: 'GET', path });
      if (!isReproduced(job)) throw new OperationError(describeReproduction(job) || 'nothing was compared');
    });
}

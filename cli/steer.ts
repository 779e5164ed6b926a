/** `temper cancel|pause|resume|approve|reject fine-tuning-job`. */
import type { Command } from 'commander';
import { callApi, type ApiRequest } from './client.js';
import { idOf } from './format.js';
import { JOB, resourcePath } from './resources.js';
import { openSession, printRequest, printResource } from './session.js';

export const STEERING = {
  cancel: { description: 'Cancel a fine-tuning job: it ends without a model', done: 'Cancelling' },
  pause: { description: 'Pause a fine-tuning job: it keeps a checkpoint and frees its GPU', done: 'Pausing' },
  resume: { description: 'Let a paused or failed fine-tuning job go on from where it is', done: 'Resuming' },
  approve: { description: 'Approve a fine-tuning job that waits for it: it trains', done: 'Approved' },
  report: { description: 'Deliver a fine-tuning job to its trackers again, also after its end', done: 'Reporting' },
  reject: { description: 'Reject a fine-tuning job that waits for approval: it ends without a model', done: 'Rejected' },
} as const;

export function defineSteering(command: Command, verb: keyof typeof STEERING): void {
  command.description(STEERING[verb].description).argument('<name>', 'ID or full name of the job');
  if (verb === 'approve' || verb === 'reject') command.option('--note <text>', 'why, for people');
  command
    .addHelpText('after', `\nExample:\n  temper ${verb} fine-tuning-job my-job`)
    .action(async (name: string, { note }: { note?: string }, self: Command) => {
      const session = openSession(self);
      const path = await resourcePath(session, JOB, name);
      const request: ApiRequest = { method: 'POST', path: `${path}:${verb}`, body: note === undefined ? {} : { note } };
      if (session.dryRun) return printRequest(session, request);
      const job = await callApi(session.connection, request);
      printResource(
        session,
        job,
        idOf(path),
        `${STEERING[verb].done} ${idOf(path)}. Watch it with: temper get fine-tuning-job ${idOf(path)} --wait`,
      );
    });
}

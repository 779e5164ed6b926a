/** `temper get`: one resource. */
import type { Command } from 'commander';
import { fetchMoves } from './aliases.js';
import { callApi } from './client.js';
import { waitForExport } from './exportModel.js';
import { describeDataset, fetchReport } from './datasetText.js';
import { formatFields, idOf } from './format.js';
import { showLineage } from './lineage.js';
import { describeJob } from './jobText.js';
import { fetchMetrics, plotLoss } from './plot.js';
import { openJobReport } from './openReport.js';
import { describeRetraining } from './schedules.js';
import { describeAlias } from './retrainingText.js';
import { ALIAS, DATASET, EXPORT, JOB, MODEL, resourcePath, type ResourceType } from './resources.js';
import { openSession, printRequest, printResource, terminalWidth } from './session.js';
import { fetchAttempts, watchJob } from './watchJob.js';

const PLOT_POINTS = 2_000;

export function defineGet(command: Command, type: ResourceType): void {
  command.description(`Show one ${type.noun}`).argument('<name>', `ID or full name of the ${type.noun}`);
  if (type === JOB)
    command
      .option('-w, --wait', 'stay until the job ends, and show how far it is')
      .option('--plot', 'draw the loss over the steps')
      .option('--open', 'write a report of loss, evaluation, samples and settings as an HTML file, and show it in the browser');
  if (type === DATASET || type === JOB || type === MODEL) command.option('--lineage', 'show what it was made from, and what stands on it');
  if (type === EXPORT) command.option('-w, --wait', 'stay until it has ended');
  command
    .addHelpText('after', `\nExample:\n  temper get ${type.noun} my-${type.noun}`)
    .action(async (name: string, options: { wait?: boolean; plot?: boolean; open?: boolean; lineage?: boolean }, self: Command) => {
      const session = openSession(self);
      const path = await resourcePath(session, type, name);
      if (session.dryRun) return printRequest(session, { method: 'GET', path: options.lineage ? `${path}:lineage` : path });
      if (options.lineage) return showLineage(session, path);
      if (options.wait && type === EXPORT) return void (await waitForExport(session, path));
      if (options.wait) return watchJob(session, path, idOf(path));
      const { connection } = session;
      const resource = await callApi(connection, { method: 'GET', path });
      const inWords = !session.json && !session.quiet;
      let text = '';
      if (inWords && type === DATASET) text = describeDataset(resource, await fetchReport(connection, path));
      else if (inWords && type === JOB) text = describeJob(resource, await fetchAttempts(connection, path));
      else if (inWords && type === ALIAS) text = describeAlias(resource, await fetchMoves(connection, path));
      else if (inWords) text = describeRetraining.get(type)?.(resource) ?? formatFields(type.fields(resource));
      if (inWords && options.plot) text += `\n\n${plotLoss(await fetchMetrics(connection, path, PLOT_POINTS), terminalWidth())}`;
      if (options.open) text += `\n\nReport: ${await openJobReport(connection, resource, path)}`;
      printResource(session, resource, idOf(resource.name), text);
    });
}

/** `temper get fine-tuning-job NAME --open`: writes the job's report as a file and shows it in the browser. */
import { spawn } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { callApi, type Connection, type Resource } from './client.js';
import { ApiError } from './failures.js';
import { idOf } from './format.js';
import { renderJobReport, type EvaluationReport } from './htmlReport.js';
import { fetchMetrics } from './plot.js';

const CHART_POINTS = 1_500;

/** Gives the file. It is the user's alone: rows of the dataset are in it. */
export async function openJobReport(connection: Connection, resource: Resource, jobPath: string): Promise<string> {
  const metrics = await fetchMetrics(connection, jobPath, CHART_POINTS);
  const evaluation = resource.evaluationResult
    ? await callApi<EvaluationReport>(connection, { method: 'GET', path: `${jobPath}:getEvaluationReport` }).catch((error: unknown) => {
        if (error instanceof ApiError) return null; // the report goes with the job's files
        throw error;
      })
    : null;
  const file = path.join(mkdtempSync(path.join(tmpdir(), 'temper-report-')), `${idOf(resource.name)}.html`);
  writeFileSync(file, renderJobReport(resource, metrics, evaluation), { mode: 0o600 });
  showInBrowser(file);
  return file;
}

const OPENERS: Partial<Record<NodeJS.Platform, [string, ...string[]]>> = { darwin: ['open'], win32: ['cmd', '/c', 'start', ''] };

/** As well as that goes: the file's name is printed in any case. */
function showInBrowser(file: string): void {
  const [command, ...args] = OPENERS[process.platform] ?? ['xdg-open'];
  const child = spawn(command, [...args, file], { detached: true, stdio: 'ignore' });
  child.on('error', () => {});
  child.unref();
}

/**
 * What a tracker costs a job: the same job in pairs, with and without Weights & Biases, by turns; then with a server that never answers.
 * The trainer, the reporter and the server share the machine.
 *
 *   node --import tsx bench/reporting.ts [--pairs 6] [--epochs 40]
 */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import type { Connection } from '../cli/client.js';
import { startWandbServer } from '../test/wandbServer.js';
import { median, poll, runJob, uploadRows } from './runJob.js';
import { startTemporaryStack } from './temporaryStack.js';

const { values } = parseArgs({ options: { pairs: { type: 'string', default: '6' }, epochs: { type: 'string', default: '40' } } });
/** Of the kernel's clock in /proc. */
const TICKS_A_SECOND = 100;
const apiKey = randomBytes(20).toString('hex');
const wandb = await startWandbServer({ apiKey, entity: 'bench', teams: [] });
process.env['WANDB_BASE_URL'] = wandb.url;
const { stack, close } = await startTemporaryStack();
try {
  const dev = stack.dev();
  const connection = { apiUrl: dev.apiUrl, apiKey: dev.apiKey, accountId: dev.accountId } as Connection;
  const reporter = dev.pids.workers.at(-1)!;
  await uploadRows(connection, 200);
  const settings = { epochs: Number(values.epochs), evaluation: false };
  const tracked = { ...settings, wandbEntity: 'bench', wandbProject: 'bench', wandbApiKey: apiKey };
  await runJob(connection, 'first', tracked); // brings the base model to the worker, and is not counted

  for (const fault of [null, 'hang'] as const) {
    const pairs: { without: number; with: number }[] = [];
    const cpuBefore = cpuSeconds(reporter);
    for (let pair = 0; pair < Number(values.pairs); pair += 1) {
      const order = pair % 2 === 0 ? (['without', 'with'] as const) : (['with', 'without'] as const);
      const seconds = { without: 0, with: 0 };
      for (const side of order) {
        wandb.fault = fault && { on: 'everything', how: fault };
        const id = `${fault ?? 'well'}-${side}-${pair}`;
        seconds[side] = (await runJob(connection, id, { ...(side === 'with' ? tracked : settings), seed: pair })).total;
        wandb.fault = null;
        if (side === 'with')
          await poll(connection, `/v1/accounts/${dev.accountId}/fineTuningJobs/${id}`, (job) => job['wandbState'] === 'DELIVERED');
      }
      pairs.push(seconds);
      console.log(
        `${fault ?? 'answers'}, pair ${pair + 1}: without ${seconds.without.toFixed(2)} s, with ${seconds.with.toFixed(2)} s, ${percent(seconds)}`,
      );
    }
    const cpu = (cpuSeconds(reporter) - cpuBefore) / pairs.length;
    const added = median(pairs.map((pair) => 100 * (pair.with / pair.without - 1)));
    console.log(
      `a server that ${fault === 'hang' ? 'never answers' : 'answers'}: added time, median of ${pairs.length} pairs: ${added.toFixed(2)} % of a job of ` +
        `${median(pairs.map((pair) => pair.without)).toFixed(1)} s; the reporter takes ${cpu.toFixed(2)} s of CPU a job`,
    );
  }
} finally {
  await close();
  await wandb.stop();
}

function percent(seconds: { without: number; with: number }): string {
  return `${(100 * (seconds.with / seconds.without - 1)).toFixed(2)} %`;
}

/** Of a process and of its children that ended. */
function cpuSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
  return fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks), 0) / TICKS_A_SECOND;
}

/**
 * The process that sends one run with `@wandb/sdk` 0.5.1, and then ends. It has a process of its own because that SDK ends the
 * one it runs in when the server refuses a run, takes over its signals, and waits without limit; whoever started this one kills it
 * at a deadline. The run and the key come by message, never by argument or environment.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { wandb } from '@wandb/sdk';
import type { WandbRun } from './wandbRun.js';
import type { WandbServer } from './wandbServer.js';

export interface SendRequest {
  run: WandbRun;
  server: WandbServer;
}
/** `refused`: the server did not create the run. `sent`: everything was handed to the server, which may still have lost it. */
export type SendAnswer = { outcome: 'sent' } | { outcome: 'refused' };

/** The SDK sends at most 10,000 rows when a run finishes, and drops the rest. */
const ROWS_AT_ONCE = 8_000;
const WAKE_INTERVAL_MS = 20;

process.once(
  'message',
  (request: SendRequest) =>
    void send(request).then(
      () => answer({ outcome: 'sent' }),
      () => answer({ outcome: 'refused' }),
    ),
);
process.once('uncaughtException', () => answer({ outcome: 'refused' }));
// Whoever started this process is gone.
process.once('disconnect', () => process.exit(1));

async function send({ run, server }: SendRequest): Promise<void> {
  const sent = await wandb.init({
    id: run.id,
    name: run.displayName,
    project: run.project,
    entity: run.entity,
    config: wrapConfig(run.config),
    settings: { ...server, silent: true },
  });
  for (const [index, row] of run.rows.entries()) {
    sent.log(row.values, row.step);
    if ((index + 1) % ROWS_AT_ONCE === 0) await drain(sent, index + 1);
  }
  await drain(sent, run.rows.length);
  await sent.finish(run.exitCode);
}

/** As the server stores it; the SDK sends the config as it is. */
function wrapConfig(config: Record<string, unknown>): Record<string, { value: unknown }> {
  return Object.fromEntries(Object.entries(config).map(([name, value]) => [name, { value }]));
}

/** Waits until the rows have left. The SDK looks at its queues every 1 to 30 s, the longer a run lasts the less often: here it is woken. */
async function drain(run: Awaited<ReturnType<typeof wandb.init>>, rowCount: number): Promise<void> {
  const sender = run._messenger.sender!;
  const stream = sender.filestream;
  const buffered = (): number => stream['lastChunks']['wandb-history.jsonl'].offset;
  while (buffered() < rowCount || !stream['queue'].isEmpty()) {
    sender.delay.cancel();
    stream['delay'].cancel();
    await sleep(WAKE_INTERVAL_MS);
  }
}

function answer(message: SendAnswer): void {
  process.send?.(message, () => process.exit(0));
}

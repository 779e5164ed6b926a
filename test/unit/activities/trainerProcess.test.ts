/** What a worker does with a trainer process that hangs, dies, or is several. The processes are real; what they train is not the matter here. */
import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Stall } from '../../../activities/silence.js';
import { runTrainer, type TrainerRun } from '../../../activities/trainerProcess.js';
import type { TemperError } from '../../../schemas/errors.js';
import type { TrainerEvent, TrainerSpec } from '../../../schemas/trainerProtocol.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'temper-trainer-'));
});

/** A program in the place of Python: a shell that sees the trainer's arguments. */
async function run(name: string, script: string, changes: Partial<TrainerRun> = {}) {
  const python = path.join(folder, `${name}.sh`);
  await writeFile(python, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  const events: TrainerEvent[] = [];
  const stalls: Stall[] = [];
  const settings = { python, scratch: folder, silence: { startMs: 30_000, stallMs: 400 } };
  const ended = await runTrainer(settings, {
    name,
    spec: { work: 'train' } as TrainerSpec,
    signal: new AbortController().signal,
    onEvent: (event) => void events.push(event),
    onStall: (stall) => stalls.push(stall),
    ...changes,
  }).catch((error: unknown) => error);
  return { ended, events, stalls };
}

const step = (number: number) => `echo '{"event":"step","step":${number}}'`;

describe('a trainer that hangs', () => {
  it('is shown as stalled, then killed, by the measure of its own steps', async () => {
    const { ended, stalls } = await run('hangs', [step(1), 'sleep 0.1', step(2), 'sleep 0.1', step(3), 'exec sleep 60'].join('\n'));
    expect((ended as TemperError).code).toBe('TRAINER_SILENT');
    expect(stalls).toHaveLength(1);
    const usual = stalls[0]!.usualSeconds;
    expect(usual).toBeGreaterThan(0.01);
    expect(stalls[0]!.silentSeconds).toBeCloseTo(Math.max(0.4, 15 * usual), 5);
  });

  it('is left alone while its steps are long', async () => {
    const { ended, stalls } = await run(
      'slow',
      [step(1), 'sleep 0.6', step(2), 'sleep 0.6', step(3), `echo '{"event":"completed"}'`].join('\n'),
    );
    expect(stalls).toEqual([]);
    expect(ended).toMatchObject({ completed: { event: 'completed' } });
  });
});

describe('a trainer of several ranks', () => {
  it('is started by torchrun, and the first rank that fails says why', async () => {
    const failed = (code: string) => `echo '{"event":"failed","code":"${code}","message":"no"}'`;
    const script = ['echo "$@" > "$HOME/arguments"', failed('TRAINER_OOM_GPU'), failed('TRAINER_CRASHED'), 'exit 1'].join('\n');
    const { ended } = await run('ranks', script, { ranks: 2 });
    expect((ended as TemperError).code).toBe('TRAINER_OOM_GPU');
    const given = await readFile(path.join(folder, 'ranks', 'arguments'), 'utf8');
    expect(given).toContain(
      '-m torch.distributed.run --standalone --nproc-per-node 2 --max-restarts 0 --shutdown-timeout 55 -m temper_trainer',
    );
  });
});

describe("a trainer's environment", () => {
  const SECRETS = {
    AWS_SECRET_ACCESS_KEY: 'of the store',
    TEMPER_DATABASE_URL: 'postgres://u:p@h/d',
    HF_TOKEN: 'hf_deployment',
    HTTPS_PROXY: 'http://u:p@proxy',
  };

  async function environmentOf(name: string, changes: Partial<TrainerRun>): Promise<Record<string, string>> {
    const before = { ...process.env };
    Object.assign(process.env, SECRETS);
    try {
      await run(name, `env > "$HOME/environment"\necho '{"event":"completed"}'`, changes);
    } finally {
      for (const key of Object.keys(SECRETS)) {
        delete process.env[key];
        if (before[key] !== undefined) process.env[key] = before[key];
      }
    }
    const lines = (await readFile(path.join(folder, name, 'environment'), 'utf8')).trim().split('\n');
    return Object.fromEntries(lines.map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]));
  }

  it('holds no secret, and nothing that would find the hub', async () => {
    const environment = await environmentOf('plain', {});
    for (const [name, value] of Object.entries(SECRETS)) {
      expect(environment).not.toHaveProperty(name);
      expect(Object.values(environment)).not.toContain(value);
    }
    expect(environment).toMatchObject({ HF_HUB_OFFLINE: '1', TEMPER_PARENT_PID: String(process.pid), HOME: path.join(folder, 'plain') });
  });

  it('has a network and a token only to fetch a model, and the token that is meant', async () => {
    const deployment = await environmentOf('deployment', { network: 'deployment' });
    expect(deployment).toMatchObject({ HF_TOKEN: SECRETS.HF_TOKEN, HTTPS_PROXY: SECRETS.HTTPS_PROXY });
    expect(deployment).not.toHaveProperty('HF_HUB_OFFLINE');
    expect(deployment).not.toHaveProperty('AWS_SECRET_ACCESS_KEY');
    expect(await environmentOf('own', { network: { token: 'hf_own' } })).toMatchObject({ HF_TOKEN: 'hf_own' });
    expect(await environmentOf('none', { network: { token: null } })).not.toHaveProperty('HF_TOKEN');
  });
});

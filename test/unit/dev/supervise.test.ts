import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { supervise, type ProcessSpec, type SupervisedProcess } from '../../../dev/supervise.js';

let folder: string;
let started: SupervisedProcess[];
let lines: string[];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'temper-supervise-'));
  started = [];
  lines = [];
});

afterEach(async () => {
  await Promise.all(started.map((supervised) => supervised.stop()));
  rmSync(folder, { recursive: true });
});

const readyThen = (rest: string) => `process.send({ ready: true }); setInterval(() => {}, 1000); ${rest}`;

async function start(script: string, changes: Partial<ProcessSpec> = {}): Promise<SupervisedProcess> {
  const spec: ProcessSpec = {
    name: 'child',
    command: process.execPath,
    args: ['-e', script],
    env: process.env,
    ready: 'message',
    readyTimeoutMs: 10_000,
    stopSignal: 'SIGTERM',
    stopGraceMs: 2_000,
    ...changes,
  };
  const context = { logsFolder: folder, progress: (line: string) => lines.push(line), onSpawn: () => {}, onRestart: () => {} };
  const supervised = await supervise(spec, context);
  started.push(supervised);
  return supervised;
}

describe('a supervised process', () => {
  it('is started again when it is killed', async () => {
    const child = await start(readyThen(''));
    const firstPid = child.pid;
    process.kill(firstPid, 'SIGKILL');
    await vi.waitUntil(() => child.restarts === 1, { timeout: 60_000 });
    expect(child.pid).not.toBe(firstPid);
    expect(lines[0]).toContain('SIGKILL');
    expect(isAlive(child.pid)).toBe(true);
  });

  it('is killed when it ignores the stop signal, with everything it started', async () => {
    const child = await start(
      `const { pid } = require('node:child_process').spawn('sleep', ['60']); console.log(pid);` +
        readyThen(`process.on('SIGTERM', () => {})`),
      { stopGraceMs: 300 },
    );
    const grandchildPid = Number(readFileSync(join(folder, 'child.log'), 'utf8'));
    expect(isAlive(grandchildPid)).toBe(true);
    await child.stop();
    await vi.waitUntil(() => !isAlive(child.pid) && !isAlive(grandchildPid), 10_000);
  });

  it('stays down once stopped', async () => {
    const child = await start(readyThen(''));
    await child.stop();
    expect(child.restarts).toBe(0);
    expect(isAlive(child.pid)).toBe(false);
  });
});

describe('a process that does not start', () => {
  it('is reported with the end of its log', async () => {
    const failing = start(`console.error('no such table: jobs'); process.exit(3)`);
    await expect(failing).rejects.toThrow(/child ended before it was ready: exit code 3[^]*no such table: jobs/);
  });

  it('is reported when it is never ready, and does not stay', async () => {
    const late = start(`console.log(process.pid); setInterval(() => {}, 1000)`, { readyTimeoutMs: 500 });
    await expect(late).rejects.toThrow(/child was not ready within 0.5 s/);
    expect(isAlive(Number(readFileSync(join(folder, 'child.log'), 'utf8')))).toBe(false);
  });
});

function isAlive(pid: number): boolean {
  try {
    return !readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') Z ');
  } catch {
    return false;
  }
}

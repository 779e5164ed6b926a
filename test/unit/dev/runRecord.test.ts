import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { identify } from '../../../dev/processIdentity.js';
import { openRunRecord } from '../../../dev/runRecord.js';

let home: string;
beforeEach(() => void (home = mkdtempSync(join(tmpdir(), 'temper-run-'))));
afterEach(() => rmSync(home, { recursive: true }));

const silent = () => {};

describe('a home', () => {
  it('belongs to one run at a time', async () => {
    const first = await openRunRecord(home, silent);
    await expect(openRunRecord(home, silent)).rejects.toThrow(`already running on ${home} (pid ${process.pid})`);
    first.close();
    (await openRunRecord(home, silent)).close();
  });

  it('is taken over from a run that was killed, and what that left running is ended', async () => {
    const leftover = spawn('sleep', ['60'], { detached: true });
    await once(leftover, 'spawn');
    writeFileSync(join(home, 'run.lock'), JSON.stringify({ pid: 2 ** 22 - 1, startTime: '1', token: 'x' }));
    writeFileSync(join(home, 'run.json'), JSON.stringify({ s3: identify(leftover.pid!) }));
    const exited = once(leftover, 'exit');
    const run = await openRunRecord(home, silent);
    expect(await exited).toEqual([null, 'SIGKILL']);
    run.close();
  });

  it('never ends a process that only has the same pid', async () => {
    const stranger = spawn('sleep', ['60']);
    await once(stranger, 'spawn');
    writeFileSync(join(home, 'run.json'), JSON.stringify({ s3: { pid: stranger.pid, startTime: 'another' } }));
    (await openRunRecord(home, silent)).close();
    expect(identify(stranger.pid!)).toBeDefined();
    stranger.kill();
  });
});

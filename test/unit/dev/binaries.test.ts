import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { download } from '../../../dev/binaries.js';

let folder: string;
let server: Server;
let url: string;
let archive: Buffer;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'temper-download-'));
  mkdirSync(join(folder, 'release_1.0'));
  writeFileSync(join(folder, 'release_1.0', 'program'), 'the program');
  execFileSync('tar', ['-czf', 'served.tar.gz', 'release_1.0'], { cwd: folder });
  rmSync(join(folder, 'release_1.0'), { recursive: true });
  archive = readFileSync(join(folder, 'served.tar.gz'));
  server = createServer((_request, response) => response.end(archive)).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/release.tar.gz`;
});

afterAll(() => {
  server.close();
  rmSync(folder, { recursive: true });
});

it('unpacks a release whose checksum is the pinned one', async () => {
  const sha256 = createHash('sha256').update(archive).digest('hex');
  const path = await download({ url, sha256 }, 'program', folder, () => {});
  expect(readFileSync(path!, 'utf8')).toBe('the program');
});

it('refuses any other content, and says so', async () => {
  const lines: string[] = [];
  expect(await download({ url, sha256: '0'.repeat(64) }, 'program', folder, (line) => lines.push(line))).toBeUndefined();
  expect(lines.join()).toContain(`not ${'0'.repeat(64)}`);
});

it('gives up at once where nothing answers', async () => {
  expect(await download({ url: 'http://127.0.0.1:9/x', sha256: '' }, 'program', folder, () => {})).toBeUndefined();
});

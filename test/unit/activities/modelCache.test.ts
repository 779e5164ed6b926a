/** Models on a worker's disk: brought once, whole, never taken from under someone, the oldest first to go. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { leaseModelFolder } from '../../../activities/modelCache.js';
import { BASE_MODELS, type BaseModel } from '../../../schemas/baseModels.js';
import type { ObjectStore } from '../../../stores/objects.js';

let cache: string;
let brought: string[];
beforeEach(() => {
  cache = mkdtempSync(path.join(tmpdir(), 'temper-cache-'));
  brought = [];
});
afterEach(() => rmSync(cache, { recursive: true, force: true }));

/** A model of one file of 1000 bytes; its name tells its content. */
function model(id: string): BaseModel {
  const sha256 = createHash('sha256').update(contentOf(id)).digest('hex');
  const files = [{ name: 'config.json', key: id, sizeBytes: 1000, sha256 }];
  return { ...BASE_MODELS[0]!, name: `accounts/a/models/${id}`, source: { files } };
}
const contentOf = (id: string) => id.padEnd(1000, '.');

/** The object store as far as the cache uses it: gives files, slowly. */
const objects = {
  async getFile(key: string, file: string) {
    brought.push(key);
    await sleep(20);
    await mkdir(path.dirname(file), { recursive: true });
    await writeFile(file, contentOf(key));
  },
} as unknown as ObjectStore;

const lease = (id: string, limitBytes = 2500) =>
  leaseModelFolder(
    model(id),
    { objects, cache, modelCacheBytes: limitBytes, trainer: { python: '', scratch: '' } },
    AbortSignal.timeout(5000),
  );
const present = () =>
  readdirSync(path.join(cache, 'models'))
    .filter((name) => !name.startsWith('.'))
    .map((name) => name.split('@')[0]);

it('brings a model once, for any number who ask at the same time', async () => {
  const leases = await Promise.all([lease('one'), lease('one'), lease('one')]);
  expect(new Set(leases.map(({ folder }) => folder)).size).toBe(1);
  expect(readFileSync(path.join(leases[0]!.folder, 'config.json'), 'utf8')).toBe(contentOf('one'));
  expect(brought).toEqual(['one']);
});

it('removes the model that was unused for longest when a third does not fit, and brings it again when it is needed', async () => {
  for (const id of ['one', 'two']) await (await lease(id)).release();
  await sleep(5); // uses are told apart by milliseconds
  await (await lease('one')).release();
  await (await lease('three')).release();
  expect(present()).toEqual(['one', 'three']);
  await (await lease('two')).release();
  expect(brought).toEqual(['one', 'two', 'three', 'two']);
});

it('removes no model in use, whatever the limit', async () => {
  const first = await lease('one');
  await (await lease('two')).release();
  const third = await lease('three');
  expect(present().sort()).toEqual(['one', 'three']);
  await lease('four');
  expect(present().sort()).toEqual(['four', 'one', 'three']);
  await first.release();
  await third.release();
  await lease('five');
  expect(present().sort()).toEqual(['five', 'four']);
});

it('goes on with what a killed process had brought, and heeds neither its lock nor its lease', async () => {
  const dead = Number(execFileSync(process.execPath, ['-e', 'console.log(process.pid)']).toString());
  const { folder, release } = await lease('one');
  await release();
  const name = path.basename(folder);
  rmSync(folder, { recursive: true });
  mkdirSync(`${folder}.partial`);
  writeFileSync(path.join(`${folder}.partial`, 'config.json'), contentOf('one'));
  writeFileSync(`${folder}.lock`, `${dead}:1`);
  writeFileSync(path.join(cache, 'models', '.leases', name, `${dead}:1-1`), '');
  await (await lease('one')).release();
  expect(brought).toEqual(['one']);
  await (await lease('two')).release();
  await (await lease('three')).release();
  expect(existsSync(folder)).toBe(false);
});

it('says what is needed when the disk is too small', async () => {
  const huge = { ...model('huge'), source: { files: [{ name: 'config.json', key: 'huge', sizeBytes: 1e18, sha256: '' }] } };
  const asked = leaseModelFolder(
    huge,
    { objects, cache, modelCacheBytes: 1e20, trainer: { python: '', scratch: '' } },
    AbortSignal.timeout(5000),
  );
  await expect(asked).rejects.toMatchObject({ code: 'NO_SPACE', message: expect.stringContaining('needs 1000000000.0 GB') as string });
});

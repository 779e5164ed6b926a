/** Compiled entries: made once, and again for every change of any of their sources. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { afterAll, expect, it } from 'vitest';
import { compiledEntry } from '../../../processes/compiled.js';
import { compileProgram } from '../../../processes/program.js';

const folder = mkdtempSync(path.join(tmpdir(), 'temper-entry-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function write(name: string, text: string): URL {
  writeFileSync(path.join(folder, name), text);
  return pathToFileURL(path.join(folder, name));
}
const run = (file: string): string => spawnSync(process.execPath, [file], { encoding: 'utf8' }).stdout.trim();

it('runs what the sources say now', () => {
  write('word.ts', "export const word: string = 'one';");
  const entry = write('entry.ts', "import { word } from './word.js'; console.log(word);");
  expect(run(compiledEntry(entry))).toBe('one');
  for (const word of ['two', 'six', 'ten']) {
    write('word.ts', `export const word: string = '${word}';`);
    expect(run(compiledEntry(entry))).toBe(word);
  }
  rmSync(path.join(folder, 'word.ts'));
  expect(() => compiledEntry(entry)).toThrow('word.js');
});

it('is not made again while nothing changes', async () => {
  const entry = write('alone.ts', 'console.log(1);');
  await new Promise((resolve) => setTimeout(resolve, 50));
  const file = compiledEntry(entry);
  const { ino } = statSync(file);
  compiledEntry(entry);
  expect(statSync(file).ino).toBe(ino);
});

it('knows the entries of the product, which do not ask where they are', () => {
  for (const entry of ['templates/renderProcess.ts', 'datasets/validateThread.ts', 'tokens/tokenProcess.ts']) {
    const file = compiledEntry(new URL(`../../../${entry}`, import.meta.url));
    expect(spawnSync('grep', ['-c', 'import_meta', file], { encoding: 'utf8' }).stdout.trim()).toBe('0');
  }
});

it('compiles a program that finds its packages and knows where its sources are', async () => {
  write('place.ts', 'export const place: string = import.meta.url;');
  const entry = write(
    'program.ts',
    "import { build } from 'esbuild'; import { place } from './place.js'; console.log(typeof build, place);",
  );
  const packages = fileURLToPath(new URL('../../../node_modules/.cache/temper', import.meta.url));
  const file = await compileProgram(fileURLToPath(entry), packages);
  expect(run(file)).toBe(`function ${pathToFileURL(path.join(folder, 'place.ts')).href}`);
  rmSync(file);
});

/**
 * Entries of child processes and threads as one file of JavaScript each: loading TypeScript file by file takes longer than most of their
 * work. The file is made when it is first needed, and again whenever one of its sources has changed since.
 */
import { createHash } from 'node:crypto';
import { closeSync, lstatSync, mkdirSync, openSync, readSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { writeWhole } from './writeWhole.js';

/** Of a source: its path, when its content or name last changed, its size. */
type Source = [path: string, changedMs: number, sizeBytes: number];

const FIRST_LINE_BYTES = 64 * 1024;

/** The path of the compiled entry. Nothing in it may ask where it is (`import.meta`): it lies elsewhere. */
export function compiledEntry(entry: URL): string {
  const source = fileURLToPath(entry);
  const name = createHash('sha256').update(`${process.version} ${source}`).digest('hex').slice(0, 16);
  const file = path.join(ownFolder(), `${path.basename(source, '.ts')}-${name}.cjs`);
  if (!isFresh(file)) compile(source, file);
  return file;
}

/** Of this user alone: what lies there is run. */
function ownFolder(): string {
  const uid = process.getuid?.() ?? 0;
  const folder = path.join(tmpdir(), `temper-compiled-${uid}`);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const found = lstatSync(folder);
  if (!found.isDirectory() || (process.getuid && (found.uid !== uid || (found.mode & 0o022) !== 0))) {
    throw new Error(`${folder} is not a folder that belongs to this user alone; remove it`);
  }
  return folder;
}

function compile(source: string, file: string): void {
  const started = Date.now();
  // Loaded when there is something to compile, which is seldom.
  const { buildSync } = createRequire(import.meta.url)('esbuild') as typeof import('esbuild');
  const { outputFiles, metafile } = buildSync({
    entryPoints: [source],
    absWorkingDir: path.parse(source).root,
    bundle: true,
    write: false,
    metafile: true,
    platform: 'node',
    format: 'cjs',
    target: 'node20',
    logLevel: 'silent',
  });
  const sources = Object.keys(metafile.inputs).map((input) => describe(path.join(path.parse(source).root, input)));
  // A source that was written while it was read may be old in the result: its time makes the next call compile again.
  const settled = sources.map(([name, changedMs, sizeBytes]): Source => [name, changedMs < started - 10 ? changedMs : 0, sizeBytes]);
  writeWhole(file, `// ${JSON.stringify(settled)}\n${outputFiles[0]!.text}`, 0o600);
}

function isFresh(file: string): boolean {
  try {
    const sources = JSON.parse(firstLine(file).slice('// '.length)) as Source[];
    return sources.every(([name, changedMs, sizeBytes]) => {
      const [, changed, size] = describe(name);
      return changed === changedMs && size === sizeBytes;
    });
  } catch {
    return false; // There is none, or one of its sources is gone.
  }
}

function describe(source: string): Source {
  const { ctimeMs, size } = statSync(source);
  return [source, ctimeMs, size];
}

function firstLine(file: string): string {
  const opened = openSync(file, 'r');
  try {
    const buffer = Buffer.alloc(FIRST_LINE_BYTES);
    const text = buffer.toString('utf8', 0, readSync(opened, buffer, 0, FIRST_LINE_BYTES, 0));
    return text.slice(0, text.indexOf('\n'));
  } finally {
    closeSync(opened);
  }
}

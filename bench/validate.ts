/**
 * How fast datasets are validated: MB/s and peak memory for conversation rows of about 1 KB, against a plain loop of
 * `readline` and `JSON.parse` over the same file, which checks nothing. "With hash" computes the SHA-256 too, as the command
 * line does; on the server the upload was hashed when it arrived. Each file is read once before, so that all find it in memory.
 *
 *   node --import tsx bench/validate.ts [--mb 1000] [--rows 3000000] [--threads 1,2]
 */
import { spawnSync } from 'node:child_process';
import { createReadStream, mkdtempSync, openSync, rmSync, writeSync, closeSync, statSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { validateFile } from '../datasets/validate.js';

const { values } = parseArgs({
  options: {
    mb: { type: 'string', default: '1000' },
    rows: { type: 'string', default: 'Infinity' },
    threads: { type: 'string', default: `1,${availableParallelism()}` },
    file: { type: 'string' },
    reader: { type: 'string' },
  },
});

const WORDS =
  'the quick answer depends on what you want to measure and how much time you have, so begin with a small sample of "real" questions'.split(
    ' ',
  );

if (values.file !== undefined) await measureOne(values.file, values.reader ?? '');
else compare();

interface Measurement {
  seconds: number;
  /** Of all threads, start-up included: what the speed is when other processes keep the cores busy. */
  cpuSeconds: number;
  examples: number;
  peakBytes: number;
}

/** Each reader runs in a process of its own, so that its peak memory is its own. */
function compare(): void {
  const folder = mkdtempSync(path.join(tmpdir(), 'bench-validate-'));
  try {
    const file = path.join(folder, 'rows.jsonl');
    const rows = writeRows(file, values.rows === 'Infinity' ? Number(values.mb) * 1e6 : Infinity, Number(values.rows));
    const sizeMb = (statSync(file).size / 1e6).toFixed(0);
    console.log(`${rows} conversations of 4 messages, ${sizeMb} MB, ${availableParallelism()} cores, Node ${process.version}`);
    console.log('reader                         MB/s  MB/s of CPU  CPU s   rows/s  peak RSS');
    for (const reader of ['readline', ...values.threads.split(',').flatMap((threads) => [threads, `${threads} with hash`])]) {
      const { stdout, stderr, status } = spawnSync(
        process.execPath,
        ['--import', 'tsx', fileURLToPath(import.meta.url), '--file', file, '--reader', reader],
        { encoding: 'utf8' },
      );
      if (status !== 0) throw new Error(stderr);
      const { seconds, cpuSeconds, examples, peakBytes } = JSON.parse(stdout) as Measurement;
      if (examples !== rows) throw new Error(`${reader} read ${examples} of ${rows} rows`);
      const name = reader === 'readline' ? 'readline + JSON.parse' : `validate, threads: ${reader}`;
      const speedOver = (time: number, width: number) => (statSync(file).size / 1e6 / time).toFixed(0).padStart(width);
      console.log(
        `${name.padEnd(30)} ${speedOver(seconds, 4)} ${speedOver(cpuSeconds, 12)} ${cpuSeconds.toFixed(1).padStart(6)} ${Math.round(
          rows / seconds,
        )
          .toString()
          .padStart(8)} ${(peakBytes / 1e6).toFixed(0).padStart(6)} MB`,
      );
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Start-up of process and threads is part of the time: a user waits for it too. */
async function measureOne(file: string, reader: string): Promise<void> {
  const start = performance.now();
  const examples = reader === 'readline' ? await readPlainly(file) : await validate(file, reader);
  const seconds = (performance.now() - start) / 1000;
  const { user, system } = process.cpuUsage();
  const measurement: Measurement = {
    seconds,
    cpuSeconds: (user + system) / 1e6,
    examples,
    peakBytes: process.resourceUsage().maxRSS * 1024,
  };
  console.log(JSON.stringify(measurement));
}

async function validate(file: string, reader: string): Promise<number> {
  const sha256 = reader.endsWith('with hash') ? undefined : 'known';
  const report = await validateFile(file, { threads: Number.parseInt(reader), sha256 });
  if (!report.valid) throw new Error(JSON.stringify(report.errors));
  return report.examples;
}

async function readPlainly(file: string): Promise<number> {
  let rows = 0;
  for await (const line of createInterface({ input: createReadStream(file, { highWaterMark: 1024 * 1024 }) })) {
    if ((JSON.parse(line) as { messages: unknown[] }).messages.length > 0) rows++;
  }
  return rows;
}

/** Returns the number of rows. */
function writeRows(file: string, sizeBytes: number, maxRows: number): number {
  let seed = 1;
  const random = (below: number) => (seed = (Math.imul(seed, 1103515245) + 12345) & 0x7fffffff) % below;
  const text = (words: number) => Array.from({ length: words }, () => WORDS[random(WORDS.length)]).join(' ');
  const out = openSync(file, 'w');
  let rows = 0;
  for (let written = 0; written < sizeBytes && rows < maxRows;) {
    let chunk = '';
    for (let row = 0; row < 1000; row++, rows++) {
      const messages = [40, 50, 40, 50].map((words, turn) => ({
        role: turn % 2 === 0 ? 'user' : 'assistant',
        content: `${text(words)}.\n`,
      }));
      chunk += JSON.stringify({ messages }) + '\n';
    }
    written += writeSync(out, chunk);
  }
  closeSync(out);
  return rows;
}

/**
 * How fast conversations become training examples: validation and rendering by Temper (renderTemper.ts), with loss spans and the split, against
 * what people use in Python (renderRivals.py), which render the same rows with the same template and do nothing else. One run, one file.
 *
 *   node --import tsx bench/render.ts [--rows 300000] [--sides temper,datasets,jinja2] [--processes 2] [--template FILE]
 *
 * The first run makes a Python environment for the rivals in ~/.cache/temper. The CPU seconds are those of all processes of a side, start
 * and imports included: on a machine that does other things as well they say more than the clock.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, renameSync, rmSync, statSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { cacheFolder } from '../dev/binaries.js';
import { ensureUv } from '../dev/python.js';

const RIVALS = ['datasets==5.2.0', 'transformers==5.23.0', 'jinja2==3.1.6', 'orjson==3.13.0'];

const { values } = parseArgs({
  options: {
    rows: { type: 'string', default: '300000' },
    sides: { type: 'string', default: 'temper,datasets,jinja2' },
    processes: { type: 'string', default: '2' },
    template: { type: 'string' },
  },
});

const NAMES: Record<string, string> = {
  temper: 'Temper: validate + render',
  datasets: 'datasets.map(num_proc=2)',
  jinja2: 'orjson + jinja2, two processes',
};

const WORDS =
  'the quick answer depends on what you want to measure and how much time you have, so begin with a small sample of "real" questions'.split(
    ' ',
  );

await compare(Number(values.rows), values.sides.split(','));

type Measurement = { rows: number; seconds: number; cpuSeconds: number; peakBytes: number };

async function compare(rows: number, sides: string[]): Promise<void> {
  const python = sides.every((side) => side === 'temper') ? 'python3' : await makeEnvironment();
  const folder = mkdtempSync(path.join(tmpdir(), 'bench-render-'));
  try {
    const file = path.join(folder, 'rows.jsonl');
    writeRows(file, rows);
    const template = values.template ?? fileURLToPath(new URL('./exampleTemplate.jinja', import.meta.url));
    const [temper, rivals] = ['./renderTemper.ts', './renderRivals.py'].map((name) => fileURLToPath(new URL(name, import.meta.url))) as [
      string,
      string,
    ];
    console.log(`${rows} conversations of 4 messages, ${(statSync(file).size / 1e6).toFixed(0)} MB, Node ${process.version}`);
    console.log('side                                  rows/s  rows/CPU-s     CPU s   largest process');
    const measured: Record<string, Measurement> = {};
    for (const side of sides) {
      const out = path.join(folder, side);
      mkdirSync(out);
      const command =
        side === 'temper'
          ? [process.execPath, '--import', 'tsx', temper, file, template, out, values.processes]
          : [python, rivals, side, file, template, out];
      const found = measure(python, command);
      if (found.rows !== rows) throw new Error(`${side} rendered ${found.rows} of ${rows} rows`);
      measured[side] = found;
      const numbers = [rows / found.seconds, rows / found.cpuSeconds].map((rate) => rate.toFixed(0).padStart(11)).join(' ');
      const memory = `${(found.peakBytes / 1e6).toFixed(0)} MB`.padStart(15);
      console.log(`${(NAMES[side] ?? side).padEnd(32)} ${numbers} ${found.cpuSeconds.toFixed(1).padStart(9)} ${memory}`);
      rmSync(out, { recursive: true });
    }
    for (const side of sides) {
      if (side === 'temper' || !measured['temper']) continue;
      const ratio = (of: 'seconds' | 'cpuSeconds'): string => (measured[side]![of] / measured['temper']![of]).toFixed(1);
      console.log(
        `Temper against ${NAMES[side]}: ${ratio('seconds')} times the rows/s, ${ratio('cpuSeconds')} times the rows of a CPU second`,
      );
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Runs a command that prints a number of rows at its end; Python knows what its children used. */
function measure(python: string, command: string[]): Measurement {
  const script = `
import json, resource, subprocess, sys, time
start = time.monotonic()
done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
seconds = time.monotonic() - start
used = resource.getrusage(resource.RUSAGE_CHILDREN)
if done.returncode != 0:
    sys.exit(done.stderr[-3000:])
rows = int(done.stdout.strip().splitlines()[-1])
print(json.dumps({"rows": rows, "seconds": seconds, "cpuSeconds": used.ru_utime + used.ru_stime, "peakBytes": used.ru_maxrss * 1024}))`;
  const { stdout, stderr, status } = spawnSync(python, ['-c', script, ...command], { encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
  return JSON.parse(stdout) as Measurement;
}

/** The rivals' packages, pinned, in an environment that is made once. Returns its Python. */
async function makeEnvironment(): Promise<string> {
  const stamp = createHash('sha256').update(RIVALS.join('\n')).digest('hex').slice(0, 16);
  const folder = path.join(cacheFolder(), `bench-render-${stamp}`);
  if (!existsSync(folder)) {
    const uv = await ensureUv((line) => console.error(line));
    const draft = `${folder}-${process.pid}`;
    for (const command of [
      ['venv', '--quiet', '--relocatable', '--python', 'python3', draft],
      ['pip', 'install', '--quiet', '--python', path.join(draft, 'bin', 'python'), ...RIVALS],
    ]) {
      const { status, stderr } = spawnSync(uv, command, { encoding: 'utf8' });
      if (status !== 0) throw new Error(stderr);
    }
    renameSync(draft, folder);
  }
  return path.join(folder, 'bin', 'python');
}

/** Conversations of about 1 KB. */
function writeRows(file: string, count: number): void {
  let seed = 1;
  const random = (below: number) => (seed = (Math.imul(seed, 1103515245) + 12345) & 0x7fffffff) % below;
  const text = (words: number) => Array.from({ length: words }, () => WORDS[random(WORDS.length)]).join(' ');
  const out = openSync(file, 'w');
  for (let written = 0; written < count;) {
    let chunk = '';
    for (const end = Math.min(written + 1000, count); written < end; written++) {
      const messages = [40, 50, 40, 50].map((words, turn) => ({
        role: turn % 2 === 0 ? 'user' : 'assistant',
        content: `${text(words)}.\n`,
      }));
      chunk += `${JSON.stringify({ messages })}\n`;
    }
    writeSync(out, chunk);
  }
  closeSync(out);
}

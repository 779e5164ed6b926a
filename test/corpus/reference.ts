/** Runs reference.py, and keeps what it said: the same templates and cases under the same `transformers` give the same for ever. */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cacheFolder } from '../../dev/binaries.js';
import { runCommand } from '../../dev/command.js';
import { ensurePython } from '../../dev/python.js';

const SCRIPT = fileURLToPath(new URL('reference.py', import.meta.url));
export const CONVERSATIONS = fileURLToPath(new URL('conversations.jsonl', import.meta.url));
/** What `strftime_now` says on both sides. */
export const NOW = new Date('2026-03-04T05:06:07Z');

/** One line a template; see reference.py. A template may bring a context of its own. */
export async function readReference(templates: { template: string; context?: object }[], say: (line: string) => void): Promise<string[]> {
  const python = await ensurePython(say);
  const versions = await runCommand(python, [
    '-c',
    'import importlib.metadata as m; print(m.version("transformers"), m.version("jinja2"))',
  ]);
  const input = templates.map(({ template, context }) => `${JSON.stringify({ template, context })}\n`).join('');
  const hash = createHash('sha256').update(versions).update(readFileSync(SCRIPT)).update(readFileSync(CONVERSATIONS)).update(input);
  const cached = join(cacheFolder(), 'corpus', `reference-${hash.digest('hex').slice(0, 16)}.jsonl`);
  if (!existsSync(cached)) {
    say(`rendering with ${versions.trim().replace(' ', ' and jinja2 ')}`);
    mkdirSync(join(cacheFolder(), 'corpus'), { recursive: true });
    const draft = mkdtempSync(`${cached}-`);
    try {
      writeFileSync(join(draft, 'templates.jsonl'), input);
      await runInto(join(draft, 'results.jsonl'), python, [
        SCRIPT,
        join(draft, 'templates.jsonl'),
        CONVERSATIONS,
        NOW.toISOString().slice(0, -5),
      ]);
      renameSync(join(draft, 'results.jsonl'), cached);
    } finally {
      rmSync(draft, { recursive: true, force: true });
    }
  }
  return readFileSync(cached, 'utf8').split('\n').slice(0, -1);
}

async function runInto(path: string, command: string, args: string[]): Promise<void> {
  const output = openSync(path, 'w');
  const child = spawn(command, args, { stdio: ['ignore', output, 'pipe'] });
  const kill = () => child.kill();
  process.once('exit', kill);
  let complaint = '';
  child.stderr!.setEncoding('utf8').on('data', (text: string) => (complaint += text));
  const code = await new Promise((resolve) => child.on('close', resolve));
  process.off('exit', kill);
  closeSync(output);
  if (code !== 0) throw new Error(`reference.py ended with ${String(code)}: ${complaint.slice(-2000)}`);
}

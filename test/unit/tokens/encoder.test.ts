/** Token IDs and masks equal the trainer's own, for the tokenizers of every family, on what the built-in templates print and on awkward text. */
import { execFileSync, type ExecFileSyncOptionsWithStringEncoding } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Segment, TaskKind } from '../../../schemas/trainerProtocol.js';
import { readBuiltin } from '../../../templates/chat.js';
import { makeRowRenderer } from '../../../templates/renderRow.js';
import { makeEncoder, truncate } from '../../../tokens/encoder.js';
import { openTokenizer, TOKENIZER_SOURCES, type TokenizerSources } from '../../../tokens/tokenizer.js';
import { TokenizerUnsupported } from '../../../tokens/tokenizerRules.js';

const script = fileURLToPath(new URL('./trainerTokens.py', import.meta.url));
const python = process.env['TEMPER_PYTHON'] ?? fileURLToPath(new URL('../../../trainer/.venv/bin/python', import.meta.url));
const folder = mkdtempSync(path.join(tmpdir(), 'temper-tokens-'));

const TEXTS = [
  'the quick brown fox',
  ' leading space',
  'trailing  ',
  '',
  '\n\nhello\r\n\tworld\n',
  'café naïve Grüße Köln\u0301 \u0041\u030a ﬁ',
  'こんにちは世界 안녕하세요 \u1112\u1161\u11ab שלום Привет',
  '🙂👩\u200d👩\u200d👧 \u{1F1E9}\u{1F1EA} \u{10FFFF}',
  'a\u0085\u0085b \ufeff\ufeffc',
  'nel\u0085bom\ufefffs\u001cnbsp\u00a0line\u2028zero\u200b.',
  "It's THEY'LL we've 'Twas 12345 1٢३ ½ ²",
  '<|eot_id|><|im_end|></s><s><|endoftext|><|end|> <unk>',
  'before LOUD after <tool>x</tool>',
  '<|eot',
  '_id|> half', // may complete a control token together
  '▁▁ _ literal metaspace   runs',
  '<0x41> not a byte',
  'x'.repeat(300),
  ' '.repeat(40) + 'y',
  '\0\u0001\u007f',
];

interface Example {
  kind: TaskKind;
  cutoff: number;
  segments: Segment[];
}

function examples(): Example[] {
  const made: Example[] = [];
  const completion = makeRowRenderer({ kind: 'textCompletion', inputTemplate: 'Q: {q}\nA:', outputTemplate: '{a}' }, { q: '', a: '' });
  const classification = makeRowRenderer({ kind: 'textClassification', textField: 'q', labelField: 'a' }, {});
  const chats = (['generic', 'chatml', 'llama3', 'mistral'] as const).map((name) =>
    makeRowRenderer(
      {
        kind: 'conversation',
        chat: {
          template: readBuiltin(name),
          bosToken: '<s>',
          eosToken: '</s>',
          specialTokens: ['<|eot_id|>', '<|im_start|>', '<|im_end|>', '<s>', '</s>', '<|end|>'],
          now: '2026-01-01T00:00:00Z',
        },
      },
      {},
    ),
  );
  for (const [index, text] of TEXTS.entries()) {
    const answer = TEXTS[(index + 1) % TEXTS.length]!;
    const turns = [
      { role: 'user', content: text },
      { role: 'assistant', content: answer },
    ];
    const rows: [TaskKind, ReturnType<typeof completion>][] = [
      ['textCompletion', completion({ q: text, a: answer })],
      ['textClassification', classification({ q: text, a: answer })],
      ...chats.map((chat): [TaskKind, ReturnType<typeof completion>] => ['conversation', chat({ messages: [...turns, ...turns] })]),
    ];
    for (const [kind, row] of rows)
      if ('segments' in row) for (const cutoff of [4096, 24]) made.push({ kind, cutoff, segments: row.segments });
  }
  // Seams that no template of ours prints.
  made.push({
    kind: 'conversation',
    cutoff: 512,
    segments: [
      ['<|', false],
      ['eot_id|>', false, true],
      ['\n', true],
      ['\n\nhello', true, true],
    ],
  });
  made.push({
    kind: 'conversation',
    cutoff: 512,
    segments: [
      ['<|eot_id|>the qu', false],
      ['ick', false, true],
      [' brown<|im_end|>', true],
    ],
  });
  return made;
}

type Encodings = Record<string, [ids: number[], trained: boolean[]][]>;
const given = examples();
let expected: Encodings;
beforeAll(() => {
  const file = path.join(folder, 'examples.json');
  writeFileSync(file, JSON.stringify(given));
  const options: ExecFileSyncOptionsWithStringEncoding = { encoding: 'utf8', maxBuffer: 1 << 28, stdio: ['ignore', 'pipe', 'ignore'] };
  expected = JSON.parse(execFileSync(python, [script, 'make', file, folder], options)) as Encodings;
}, 120_000);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function sources(model: string): TokenizerSources {
  const read = (file: string): string | null => {
    const found = path.join(model, file);
    return existsSync(found) ? readFileSync(found, 'utf8') : null;
  };
  return Object.fromEntries(TOKENIZER_SOURCES.map((file) => [file, read(file)])) as unknown as TokenizerSources;
}

describe('token IDs', () => {
  it('equal those of the trainer', () => {
    expect(given.length).toBeGreaterThan(150);
    expect(Object.keys(expected)).toHaveLength(12);
    for (const [model, encodings] of Object.entries(expected)) {
      const tokenizer = openTokenizer(sources(model));
      for (const [index, { kind, cutoff, segments }] of given.entries()) {
        const { ids, trained } = truncate(makeEncoder(tokenizer, kind)(segments), cutoff, kind, tokenizer.bos);
        expect([ids, trained], `${model}: ${kind} ${JSON.stringify(segments)}`).toEqual(encodings[index]);
      }
    }
  });

  it('are not guessed where the library would differ', () => {
    const refuse = (change: (file: Record<string, unknown>, config: Record<string, unknown>) => void): string => {
      const plain = sources(path.join(folder, 'plain'));
      const [file, config] = [JSON.parse(plain['tokenizer.json']!), JSON.parse(plain['tokenizer_config.json']!)] as Record<
        string,
        unknown
      >[];
      change(file!, config!);
      try {
        openTokenizer({ ...plain, 'tokenizer.json': JSON.stringify(file), 'tokenizer_config.json': JSON.stringify(config) });
      } catch (error) {
        if (error instanceof TokenizerUnsupported) return error.message;
        throw error;
      }
      return 'taken';
    };
    expect(refuse(() => undefined)).toBe('taken');
    expect(refuse((file) => (file['normalizer'] = { type: 'Lowercase' }))).toContain('Lowercase');
    expect(refuse((file) => (file['pre_tokenizer'] = { type: 'BertPreTokenizer' }))).toContain('BertPreTokenizer');
    expect(refuse((file) => ((file['model'] as { type: string }).type = 'Unigram'))).toContain('Unigram');
    expect(refuse((_, config) => (config['tokenizer_class'] = 'CamembertTokenizer'))).toContain('CamembertTokenizer');
    expect(refuse((_, config) => (config['auto_map'] = {}))).toContain('auto_map');
  });
});

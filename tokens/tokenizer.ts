/**
 * A base model's tokenizer from its files, with the trainer's own rules: the same text gives the same token IDs.
 * What the library cannot do exactly is refused rather than guessed.
 */
import { Tokenizer } from '@huggingface/tokenizers';
import {
  applyClassRule,
  TOKEN_NAMES,
  TokenizerUnsupported,
  tokenText,
  type AddedToken,
  type Json,
  type TokenizerJson,
} from './tokenizerRules.js';

/** The texts of a base model's files; null where it has none. */
export interface TokenizerSources {
  'tokenizer.json': string | null;
  'tokenizer_config.json': string | null;
  'special_tokens_map.json': string | null;
  'config.json': string | null;
}
export const TOKENIZER_SOURCES = ['tokenizer.json', 'tokenizer_config.json', 'special_tokens_map.json', 'config.json'] as const;

export interface ModelTokenizer {
  /** `literal`: control tokens in the text are plain text. Adds no token of its own. */
  encode(text: string, literal: boolean): number[];
  bos: number | undefined;
  eos: number | undefined;
  /** It puts BOS before a text by itself. */
  addsBos: boolean;
  /** Finds control tokens; has the flag `g`. Undefined where there are none. */
  control: RegExp | undefined;
}

/** @throws TokenizerUnsupported */
export function openTokenizer(sources: TokenizerSources): ModelTokenizer {
  if (sources['tokenizer.json'] === null) throw new TokenizerUnsupported('the model has no tokenizer.json');
  const config = readNames(parseObject(sources, 'tokenizer_config.json'), parseObject(sources, 'special_tokens_map.json'));
  const { file, names } = applyClassRule(readFile(parseObject(sources, 'tokenizer.json')), config, parseObject(sources, 'config.json'));
  requireSupported(file);
  const pipeline = { ...file, normalizer: file.normalizer, pre_tokenizer: exactPreTokenizer(file.pre_tokenizer, file.normalizer) };
  const special = TOKEN_NAMES.map((name) => (name in config ? tokenText(config[name]) : names[name]));
  const added = allAddedTokens(
    file,
    config,
    special.filter((token) => token !== undefined),
  );
  const idOf = (token: string | undefined): number | undefined =>
    token === undefined ? undefined : (added.find(({ content }) => content === token)?.id ?? file.model.vocab[token]);
  const [bosToken, eosToken] = special;

  const plain = build({ ...pipeline, added_tokens: added });
  let withoutControls: Tokenizer | undefined;
  const controls = added.filter((token) => token.special).sort((a, b) => b.content.length - a.content.length);
  const control =
    controls.length === 0 ? undefined : new RegExp(controls.map(({ content }) => content.replace(SYNTAX, '\\$&')).join('|'), 'g');
  const encodePlain = (text: string): number[] => plain.encode(text, { add_special_tokens: false }).ids;
  const bos = idOf(bosToken);
  return {
    encode(text, literal) {
      // Without a look-alike in the text both ways are the same; the second tokenizer is built for the first that has one.
      if (!literal || control === undefined || text.search(control) < 0) return encodePlain(text);
      withoutControls ??= build({ ...pipeline, added_tokens: added.filter((token) => !token.special) });
      return withoutControls.encode(text, { add_special_tokens: false }).ids;
    },
    bos,
    eos: idOf(eosToken),
    addsBos: bos !== undefined && plain.encode('a').ids[0] === bos,
    control,
  };
}

const SYNTAX = /[\\^$.*+?()[\]{}|/-]/g;

function build(file: Json): Tokenizer {
  try {
    return new Tokenizer(file, {});
  } catch (error) {
    throw new TokenizerUnsupported((error as Error).message);
  }
}

function parseObject(sources: TokenizerSources, name: keyof TokenizerSources): Json {
  const text = sources[name];
  if (text === null) return {};
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Json;
  } catch {
    // Said below.
  }
  throw new TokenizerUnsupported(`${name} is not a JSON object`);
}

function readFile(file: Json): TokenizerJson {
  const model = file['model'] as TokenizerJson['model'] | undefined;
  if (typeof model?.vocab !== 'object') throw new TokenizerUnsupported('tokenizer.json has no vocabulary');
  return {
    decoder: null,
    ...file,
    model: { ...model, merges: model.merges ?? [] },
    added_tokens: (file['added_tokens'] as AddedToken[] | undefined) ?? [],
    normalizer: (file['normalizer'] as Json | undefined) ?? null,
    pre_tokenizer: (file['pre_tokenizer'] as Json | undefined) ?? null,
    post_processor: (file['post_processor'] as Json | undefined) ?? null,
  };
}

/** special_tokens_map.json counts for tokenizers whose config lists no added tokens. */
function readNames(config: Json, map: Json): Json {
  return config['added_tokens_decoder'] === undefined ? { ...config, ...map } : config;
}

/** The file's added tokens, those of tokenizer_config.json over them, and every token with a name. */
function allAddedTokens(file: TokenizerJson, config: Json, named: string[]): AddedToken[] {
  const tokens = new Map(file.added_tokens.map((token) => [token.content, withDefaults(token)]));
  for (const [id, token] of Object.entries((config['added_tokens_decoder'] ?? {}) as Record<string, Partial<AddedToken>>)) {
    const content = token.content ?? '';
    tokens.set(content, withDefaults({ ...token, content, id: tokens.get(content)?.id ?? file.model.vocab[content] ?? Number(id) }));
  }
  const vocabularySize = Object.keys(file.model.vocab).length;
  let next = Math.max(vocabularySize, ...[...tokens.values()].map(({ id }) => id + 1));
  const listed = [config['additional_special_tokens'], config['extra_special_tokens']].flatMap((list) =>
    Array.isArray(list) ? list.map(tokenText) : [],
  );
  for (const content of [...named, ...listed]) {
    if (content === undefined || content === '') continue;
    const known = tokens.get(content);
    if (known) tokens.set(content, { ...known, special: true });
    else tokens.set(content, withDefaults({ content, special: true, id: file.model.vocab[content] ?? next++ }));
  }
  return [...tokens.values()];
}

function withDefaults(token: Partial<AddedToken> & { id: number; content: string }): AddedToken {
  const special = token.special ?? false;
  return {
    id: token.id,
    content: token.content,
    special,
    normalized: token.normalized ?? !special,
    lstrip: token.lstrip ?? false,
    rstrip: token.rstrip ?? false,
    single_word: token.single_word ?? false,
  };
}

const NORMALIZERS = new Set(['Sequence', 'NFC', 'NFD', 'NFKC', 'NFKD', 'Replace', 'Prepend']);
const PRE_TOKENIZERS = new Set(['Sequence', 'Split', 'ByteLevel', 'Digits', 'Metaspace']);

function requireSupported(file: TokenizerJson): void {
  const { model } = file;
  if (model.type !== undefined && model.type !== 'BPE') throw new TokenizerUnsupported(`its model is of the type ${model.type}`);
  for (const option of ['dropout', 'continuing_subword_prefix', 'end_of_word_suffix'])
    if (model[option]) throw new TokenizerUnsupported(`its model has ${option}`);
  for (const option of ['truncation', 'padding']) if (file[option]) throw new TokenizerUnsupported(`tokenizer.json has ${option} on`);
  const alone = file.added_tokens.find((token) => token.single_word);
  if (alone) throw new TokenizerUnsupported('it has tokens that are matched as whole words only (single_word)');
  for (const part of parts(file.normalizer, 'normalizers'))
    if (!NORMALIZERS.has(String(part['type']))) throw new TokenizerUnsupported(`it has a normalizer of the type ${String(part['type'])}`);
  for (const part of parts(file.pre_tokenizer, 'pretokenizers'))
    if (!PRE_TOKENIZERS.has(String(part['type'])))
      throw new TokenizerUnsupported(`it has a pre-tokenizer of the type ${String(part['type'])}`);
}

function parts(part: Json | null, list: string): Json[] {
  if (part === null) return [];
  return part['type'] === 'Sequence' ? (part[list] as Json[]).flatMap((inner) => parts(inner, list)) : [part];
}

/** GPT-2's own pattern, which `ByteLevel` means by `use_regex`. */
const BYTE_LEVEL_PATTERN = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/** The same pre-tokenizer in the parts that the library runs exactly: its own pattern and digits know only JavaScript's white space and ASCII. */
function exactPreTokenizer(preTokenizer: Json | null, normalizer: Json | null): Json | null {
  if (preTokenizer === null) return null;
  const exact = parts(preTokenizer, 'pretokenizers').flatMap((part): Json[] => {
    const isolated = (pattern: string): Json => ({ type: 'Split', pattern: { Regex: pattern }, behavior: 'Isolated', invert: false });
    switch (part['type']) {
      case 'ByteLevel':
        if (part['use_regex'] === false) return [part];
        if (part['add_prefix_space']) throw new TokenizerUnsupported('its ByteLevel adds a space before each text');
        return [isolated(BYTE_LEVEL_PATTERN), { ...part, use_regex: false }];
      case 'Digits':
        return [isolated(part['individual_digits'] ? '\\p{N}' : '\\p{N}+')];
      case 'Metaspace': {
        const mark = String(part['replacement'] ?? '▁');
        const words = { type: 'Split', pattern: { Regex: `${mark}[^${mark}]*|[^${mark}]+` }, behavior: 'Removed', invert: true };
        return part['split'] === false ? [part] : [part, words];
      }
      case 'Split': {
        const behavior = String(part['behavior']).toLowerCase();
        if (behavior === 'isolated' || behavior === 'removed') return [part];
        const spaces = (part['pattern'] as { String?: string } | undefined)?.String === ' ';
        if (spaces && parts(normalizer, 'normalizers').some(replacesSpaces)) return []; // none are left
        throw new TokenizerUnsupported(`it splits text with ${String(part['behavior'])}`);
      }
      default:
        return [part];
    }
  });
  return exact.length === 0 ? null : { type: 'Sequence', pretokenizers: exact };
}

function replacesSpaces(normalizer: Json): boolean {
  return normalizer['type'] === 'Replace' && (normalizer['pattern'] as { String?: string } | undefined)?.String === ' ';
}

/**
 * Which pipeline a model's tokenizer runs, as the trainer's library decides it.
 *
 * For most classes `transformers` runs `tokenizer.json` as it is. Some classes keep only its vocabulary and merges and build the
 * rest themselves; which class a model gets depends on its family as well as on `tokenizer_class`. (transformers 5.23:
 * models/auto/tokenization_auto.py, tokenization_utils_tokenizers.py and the classes' own files.)
 */

export type Json = Record<string, unknown>;

/** A tokenizer whose tokens cannot be counted here exactly. `message` says why, to complete "… is not supported: ". */
export class TokenizerUnsupported extends Error {}

export interface TokenizerJson extends Json {
  model: Json & { type?: string; vocab: Record<string, number>; merges: unknown[] };
  added_tokens: AddedToken[];
  normalizer: Json | null;
  pre_tokenizer: Json | null;
  post_processor: Json | null;
}
export interface AddedToken {
  id: number;
  content: string;
  special: boolean;
  normalized: boolean;
  lstrip: boolean;
  rstrip: boolean;
  single_word: boolean;
}

interface ClassRule {
  normalizer: (config: Json) => Json | null;
  preTokenizer: (config: Json) => Json | null;
  /** Of the BPE model, over vocabulary and merges. */
  model: Json;
  /** Tokens that the class names where tokenizer_config.json does not. */
  names: Partial<Record<TokenName, string>>;
  /** The class forgets the file's post-processor, and with it BOS. */
  dropsPostProcessor?: boolean;
}

export const TOKEN_NAMES = ['bos_token', 'eos_token', 'unk_token', 'sep_token', 'pad_token', 'cls_token', 'mask_token'] as const;
export type TokenName = (typeof TOKEN_NAMES)[number];

const END_OF_TEXT = '<|endoftext|>';
const QWEN_PATTERN =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const byteLevel = (config: Json): Json => ({ type: 'ByteLevel', add_prefix_space: config['add_prefix_space'] === true, use_regex: true });
const gpt2: ClassRule = {
  normalizer: () => null,
  preTokenizer: byteLevel,
  model: { fuse_unk: false, byte_fallback: false, ignore_merges: false, unk_token: null },
  names: { bos_token: END_OF_TEXT, eos_token: END_OF_TEXT, unk_token: END_OF_TEXT },
};

const CLASS_RULES: Record<string, ClassRule> = {
  LlamaTokenizer: {
    normalizer: () => null,
    preTokenizer: ({ add_prefix_space: prefix, legacy }) => ({
      type: 'Metaspace',
      replacement: '▁',
      split: false,
      prepend_scheme: prefix === false ? 'never' : legacy === true ? 'always' : 'first',
    }),
    model: { fuse_unk: true, byte_fallback: true, ignore_merges: false, unk_token: null },
    names: { bos_token: '<s>', eos_token: '</s>', unk_token: '<unk>' },
  },
  GemmaTokenizer: {
    normalizer: () => ({ type: 'Replace', pattern: { String: ' ' }, content: '▁' }),
    preTokenizer: () => null, // it splits at spaces, of which the normalizer leaves none
    model: { fuse_unk: true, byte_fallback: true, ignore_merges: false },
    names: { bos_token: '<bos>', eos_token: '<eos>', unk_token: '<unk>', pad_token: '<pad>', mask_token: '<mask>' },
  },
  Qwen2Tokenizer: {
    normalizer: () => ({ type: 'NFC' }),
    preTokenizer: (config) => ({
      type: 'Sequence',
      pretokenizers: [
        { type: 'Split', pattern: { Regex: QWEN_PATTERN }, behavior: 'Isolated', invert: false },
        { ...byteLevel(config), use_regex: false },
      ],
    }),
    model: gpt2.model,
    names: { eos_token: END_OF_TEXT, unk_token: END_OF_TEXT, pad_token: END_OF_TEXT },
  },
  GPT2Tokenizer: gpt2,
  CodeGenTokenizer: gpt2,
  GPTNeoXTokenizer: {
    ...gpt2,
    normalizer: () => ({ type: 'NFC' }),
    names: { ...gpt2.names, pad_token: '<|padding|>' },
    dropsPostProcessor: true,
  },
};

const AS_THE_FILE_SAYS = new Set(['TokenizersBackend', 'PreTrainedTokenizerFast', 'PreTrainedTokenizer']);
/** The class that a family of models registers. */
const FAMILY_CLASSES: Record<string, string> = {
  mistral: 'TokenizersBackend',
  mixtral: 'TokenizersBackend',
  stablelm: 'TokenizersBackend',
  qwen2: 'Qwen2Tokenizer',
  gemma: 'GemmaTokenizer',
  starcoder2: 'GPT2Tokenizer',
  phi: 'GPT2Tokenizer',
  gpt_neox: 'GPTNeoXTokenizer',
};
/** Families whose `tokenizer_class` is known to be wrong: theirs counts instead. */
const DISTRUSTED_FAMILIES = new Set(['qwen2']);

/** The file as it is run, and the tokens that the class names by itself. */
export function applyClassRule(file: TokenizerJson, config: Json, modelConfig: Json): { file: TokenizerJson; names: ClassRule['names'] } {
  const className = chooseClass(file, config, modelConfig);
  if (AS_THE_FILE_SAYS.has(className)) return { file, names: {} };
  const rule = CLASS_RULES[className];
  if (!rule) throw new TokenizerUnsupported(`its class ${className.slice(0, 60)} is not one of those whose rules are known`);
  if (file.model.type !== undefined && file.model.type !== 'BPE')
    throw new TokenizerUnsupported(`it is ${className} with a model of the type ${file.model.type}`);
  const { vocab, merges } = file.model;
  const unkToken = className === 'GemmaTokenizer' ? (tokenText(config['unk_token']) ?? '<unk>') : rule.model['unk_token'];
  return {
    file: {
      ...file,
      normalizer: rule.normalizer(config),
      pre_tokenizer: rule.preTokenizer(config),
      post_processor: rule.dropsPostProcessor ? null : file.post_processor,
      model: { type: 'BPE', vocab, merges, ...rule.model, unk_token: unkToken },
    },
    names: rule.names,
  };
}

function chooseClass(file: TokenizerJson, config: Json, modelConfig: Json): string {
  if (config['auto_map'] !== undefined) throw new TokenizerUnsupported('it brings code of its own (auto_map)');
  const family = String(modelConfig['model_type'] ?? '');
  const declared = config['tokenizer_class'] ?? modelConfig['tokenizer_class'];
  const given = typeof declared === 'string' ? declared.replace(/^(?!PreTrained)(.*)Fast$/, '$1') : undefined;
  const registered = FAMILY_CLASSES[family];
  if (
    given === 'LlamaTokenizer' &&
    !DISTRUSTED_FAMILIES.has(family) &&
    JSON.stringify([file.pre_tokenizer, file['decoder']]).includes('"ByteLevel"')
  )
    return 'TokenizersBackend';
  if (given === undefined) return registered ?? 'TokenizersBackend';
  if (registered === undefined || registered === given) return given;
  if (registered === 'TokenizersBackend') return registered;
  return DISTRUSTED_FAMILIES.has(family) ? registered : given;
}

/** `"<s>"` or `{ "content": "<s>", … }`, as tokenizer_config.json writes it; undefined where there is none. */
export function tokenText(value: unknown): string | undefined {
  if (typeof value === 'string') return value;
  const content = (value as { content?: unknown } | null | undefined)?.content;
  return typeof content === 'string' ? content : undefined;
}

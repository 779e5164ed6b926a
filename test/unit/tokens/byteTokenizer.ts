/** The smallest real tokenizer: a token for each byte, two control tokens, BOS before each text. */
import type { TokenizerSources } from '../../../tokens/tokenizer.js';

/** GPT-2's printable stand-ins for the 256 bytes. */
function byteCharacters(): string[] {
  const printable = (byte: number): boolean => (byte > 32 && byte < 127) || (byte > 160 && byte !== 173);
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(printable(byte) ? byte : next++));
}

export function byteTokenizer(config: Record<string, unknown> = {}): TokenizerSources {
  const vocab = Object.fromEntries(byteCharacters().map((character, byte) => [character, byte]));
  const added = ['<s>', '</s>'].map((content, index) => ({ id: 256 + index, content, special: true }));
  const bos = { SpecialToken: { id: '<s>', type_id: 0 } };
  const file = {
    model: { type: 'BPE', vocab, merges: [] },
    added_tokens: added,
    normalizer: null,
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, use_regex: true },
    post_processor: {
      type: 'TemplateProcessing',
      single: [bos, { Sequence: { id: 'A', type_id: 0 } }],
      pair: [],
      special_tokens: { '<s>': { id: '<s>', ids: [256], tokens: ['<s>'] } },
    },
    decoder: null,
  };
  return {
    'tokenizer.json': JSON.stringify(file),
    'tokenizer_config.json': JSON.stringify({ bos_token: '<s>', eos_token: '</s>', ...config }),
    'special_tokens_map.json': null,
    'config.json': JSON.stringify({ model_type: 'llama' }),
  };
}

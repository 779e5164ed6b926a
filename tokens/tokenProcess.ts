/** The process that countTokens.ts starts: one tokenizer, one piece of work. Started only by it. */
import type { ExampleTokens, TokenAnswer, TokenRequest, TokenWork } from './countTokens.js';
import { makeEncoder, truncate } from './encoder.js';
import { measureTokenLengths } from './tokenLengths.js';
import { openTokenizer, type ModelTokenizer } from './tokenizer.js';
import { TokenizerUnsupported } from './tokenizerRules.js';

process.once('message', (request: TokenRequest) => {
  process.send!(answer(request), () => process.disconnect());
});

function answer({ sources, work }: TokenRequest): TokenAnswer {
  try {
    const tokenizer = openTokenizer(sources);
    return work.work === 'examples'
      ? { examples: encodeExamples(tokenizer, work) }
      : { lengths: measureTokenLengths(work.file, work, tokenizer) };
  } catch (error) {
    if (error instanceof TokenizerUnsupported) return { unsupported: error.message };
    return { failure: error instanceof Error ? error.message : String(error) };
  }
}

function encodeExamples(tokenizer: ModelTokenizer, { kind, cutoffLength, examples }: TokenWork & { work: 'examples' }): ExampleTokens[] {
  const encode = makeEncoder(tokenizer, kind);
  return examples.map((segments) => {
    const whole = encode(segments);
    const kept = truncate(whole, cutoffLength, kind, tokenizer.bos);
    return {
      tokens: kept.ids.length,
      trainedTokens: kept.trained.filter(Boolean).length,
      cutTokens: whole.ids.length - kept.ids.length,
    };
  });
}

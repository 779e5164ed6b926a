/** One run of random templates through both engines. */
import { compareTemplates, type Difference } from './compare.js';
import { makeFuzzCases } from './fuzz.js';
import type { CorpusTemplate } from './gather.js';

type FuzzRun = { seed: number; count: number; real: CorpusTemplate[]; say: (line: string) => void };

/**
 * What we refuse on purpose, or have not: the filters nobody uses in a chat template, and values whose text is an address in Python's
 * memory. Python also leaves a generator that nobody reads unread, mistakes included; ours makes its items at once.
 */
const MAY_BE_REFUSED =
  /UNSUPPORTED|cannot be printed|complex number|is not subscriptable|Can only get item pairs|unhashable type: '(?:Namespace|generator)'|Markup|this comment is never closed/;

/** `wrong`: another text, a text where Python raises, or a refusal without one of the reasons above. */
export async function compareFuzz({ seed, count, real, say }: FuzzRun): Promise<{ wrong: Difference[]; slowestMs: number }> {
  const models = real.map(({ template }) => template).filter((template) => template.length < 4000);
  const cases = makeFuzzCases(seed, count, models);
  const templates = cases.map((each, index): CorpusTemplate => ({ source: `seed ${seed}`, path: `case ${index}`, ...each }));
  const tally = (await compareTemplates(templates, say)).get(`seed ${seed}`)!;
  const wrong = tally.differences.filter(({ expected, found }) => {
    // A fault of jinja2's: it does not find the names in the filter of a set block, unless something else mentions them.
    if ('error' in expected) return expected.error !== 'AssertionError';
    return !('error' in found && MAY_BE_REFUSED.test(found.error));
  });
  return { wrong, slowestMs: tally.slowestMs };
}

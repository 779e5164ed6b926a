/** Compiles `modelCard.njk` into `modelCard.compiled.ts`: `node --import tsx templates/precompile.ts`. A test fails when it is stale. */
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import nunjucks from 'nunjucks';
import { addFilters } from './modelCardFilters.js';

export const COMPILED = new URL('./modelCard.compiled.ts', import.meta.url);

/** The module's text. Compiling here means that no code is generated at run time. */
export function compileModelCard(): string {
  const source = readFileSync(new URL('./modelCard.njk', import.meta.url), 'utf8');
  const env = addFilters(new nunjucks.Environment(null, { autoescape: false }));
  const wrapper = (templates: { template: string }[]): string =>
    `// @ts-nocheck: made by precompile.ts from modelCard.njk.\n/* eslint-disable */\nexport default (function () {${templates[0]!.template}})();\n`;
  // The published types do not know that `wrapper` gets all templates of the call.
  return nunjucks.precompileString(source, { name: 'modelCard.njk', env, wrapper } as unknown as nunjucks.PrecompileOptions);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(COMPILED, compileModelCard());

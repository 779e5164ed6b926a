/**
 * What Temper does with a dataset before a job trains on it, for bench/render.ts: validation, then rendering. Prints the number of rows.
 *
 *   node --import tsx bench/renderTemper.ts FILE TEMPLATE OUT PROCESSES
 */
import { readFileSync } from 'node:fs';
import { validateFile } from '../datasets/validate.js';
import { renderSet } from '../templates/renderSet.js';

const [file, template, outputFolder, processes] = process.argv.slice(2) as [string, string, string, string];
const atOnce = Number(processes);

const report = await validateFile(file, { threads: atOnce });
if (!report.valid) throw new Error(JSON.stringify(report.errors));
const chat = {
  template: readFileSync(template, 'utf8'),
  bosToken: '<|begin_of_text|>',
  eosToken: '<|eot_id|>',
  specialTokens: ['<|begin_of_text|>', '<|end_of_text|>', '<|eot_id|>', '<|start_header_id|>', '<|end_header_id|>'],
  now: '2026-01-01T00:00:00Z',
};
const result = await renderSet(
  { kind: 'conversation', chat, datasetPath: file, evaluationSplit: 0.15, seed: 1, outputFolder },
  { processes: atOnce },
);
if (result.problems.length > 0) throw new Error(JSON.stringify(result.problems));
console.log(result.trainExamples + result.evalExamples);

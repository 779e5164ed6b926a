/** The conversation templates that come with a model, tried by our engine, where they can do no harm. */
import { mkdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { shown, type ModelProblem } from '../models/problems.js';
import { templateText } from '../stores/modelFiles.js';
import { previewRows } from '../templates/renderSet.js';

const SAMPLE = [
  {
    messages: [
      { role: 'user', content: 'What is 1+1?' },
      { role: 'assistant', content: '2' },
    ],
  },
  {
    messages: [
      { role: 'user', content: 'What is 1+1?' },
      { role: 'assistant', content: '2' },
      { role: 'user', content: 'And 2+2?' },
      { role: 'assistant', content: '4' },
    ],
  },
];
const REFERENCE_FILE = 'fireworks.json';

export interface ModelTemplates {
  problems: ModelProblem[];
  warnings: string[];
  /** The template that the model's own file or its record gives; null: none does. */
  template: string | null;
}

/**
 * A template that the uploader wrote for this service must work; one that came with the tokenizer may not, and need not be used.
 * @param files  of what is there: fireworks.json, tokenizer_config.json, chat_template.jinja
 * @param given  the template of the model's record
 */
export async function checkTemplates(
  files: { reference?: Record<string, unknown> | null; tokenizer?: Record<string, unknown> | null; jinja?: string },
  given: string | undefined,
  scratch: string,
  signal: AbortSignal,
): Promise<ModelTemplates> {
  const problems: ModelProblem[] = [];
  const warnings: string[] = [];
  const wrong = (file: string | undefined, message: string) =>
    problems.push({ code: 'TEMPLATE_INVALID', ...(file ? { file } : {}), message });
  const reference = files.reference ? readReference(files.reference, wrong) : undefined;
  const own = reference ?? given ?? null;
  if (reference !== undefined && given !== undefined && reference !== given)
    warnings.push(`${REFERENCE_FILE} and conversationConfig have different templates; that of ${REFERENCE_FILE} is used.`);
  if (own !== null) {
    const fault = await tryTemplate(own, scratch, signal);
    const where = reference === undefined ? 'conversationConfig' : REFERENCE_FILE;
    if (fault) wrong(reference === undefined ? undefined : REFERENCE_FILE, `The conversation template of ${where} does not work: ${fault}`);
  }
  const shipped = files.jinja ?? templateText(files.tokenizer?.['chat_template']);
  if (shipped) {
    const fault = await tryTemplate(shipped, scratch, signal);
    const place = files.jinja === undefined ? 'chat_template of tokenizer_config.json' : 'chat_template.jinja';
    if (fault) warnings.push(`The template in ${place} does not work here: ${fault} A conversation job needs a jinjaTemplate of its own.`);
  }
  return { problems, warnings, template: own };
}

function readReference(content: Record<string, unknown>, wrong: (file: string, message: string) => void): string | undefined {
  const config = content['conversation_config'] as { style?: unknown; args?: { template?: unknown } } | null | undefined;
  if (config === undefined || config === null) return undefined;
  if (config.style !== 'jinja' || typeof config.args?.template !== 'string' || config.args.template === '') {
    wrong(
      REFERENCE_FILE,
      `${REFERENCE_FILE}: conversation_config must be {"style": "jinja", "args": {"template": "…"}}, is ${shown(config)}.`,
    );
    return undefined;
  }
  return config.args.template;
}

/** What is wrong with a template, in a sentence; null when it renders the sample. */
async function tryTemplate(template: string, scratch: string, signal: AbortSignal): Promise<string | null> {
  await mkdir(scratch, { recursive: true });
  const datasetPath = path.join(scratch, 'sample.jsonl');
  try {
    await writeFile(datasetPath, SAMPLE.map((row) => `${JSON.stringify(row)}\n`).join(''));
    const chat = { template, bosToken: '<s>', eosToken: '</s>', specialTokens: [], now: new Date(0).toISOString() };
    const { problems } = await previewRows({ kind: 'conversation', chat, datasetPath, rows: SAMPLE.length }, { signal });
    const [problem] = problems;
    if (!problem) return null;
    const found = problem.places[0]?.found;
    return `${problem.message.replace(/\.$/, '')}${found ? ` (${found})` : ''}.`;
  } finally {
    await rm(datasetPath, { force: true });
  }
}

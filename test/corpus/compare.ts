/** Renders the templates of a corpus with our engine and sets the results beside those of reference.py, case by case. */
import { TemplateError } from '../../templates/jinja/errors.js';
import { compileTemplate, type Rendering, type Template } from '../../templates/jinja/template.js';
import { readConversations, type Case } from './conversations.js';
import type { CorpusTemplate } from './gather.js';
import { NOW, readReference } from './reference.js';

/** Spans in code points, as Python counts. */
type Rendered = { text: string; spans?: [start: number, end: number][] };
type Outcome = Rendered | { error: string };
/** A line of reference.py. */
type ReferenceLine = { error?: string; results: (Result | number)[] };
type Result = string | [text: string, spans?: [number, number][]];

export type Difference = { template: CorpusTemplate; conversation: string; prompt: boolean; expected: Outcome; found: Outcome };
export type Tally = { templates: number; identical: number; refused: number; differences: Difference[]; slowestMs: number };

/** Both sides on every template with every conversation, or with the context that it brings; counted by source. */
export async function compareTemplates(templates: CorpusTemplate[], say: (line: string) => void): Promise<Map<string, Tally>> {
  const reference = await readReference(templates, say);
  const conversations = readConversations();
  const tallies = new Map<string, Tally>();
  templates.forEach((template, index) => {
    const tally = tallies.get(template.source) ?? { templates: 0, identical: 0, refused: 0, differences: [], slowestMs: 0 };
    tallies.set(template.source, tally);
    compareTemplate(tally, template, reference[index]!, template.context ? [ownCase(template.context)] : conversations);
  });
  for (const [source, { templates, identical, refused, differences, slowestMs }] of tallies) {
    const counts = [templates, identical, refused].map((count) => String(count).padStart(6));
    say(
      `${source.padEnd(26)}${counts[0]} templates,${counts[1]} identical,${counts[2]} refused by both, ${differences.length} different ` +
        `(slowest ${slowestMs.toFixed(0)} ms)`,
    );
  }
  return tallies;
}

function ownCase(context: Record<string, unknown>): Case {
  return { name: 'its own', prompt: false, context: { tools: null, documents: null, add_generation_prompt: false, ...context } };
}

/** `reference` is one line of reference.py's output, for this template and the same cases. */
function compareTemplate(tally: Tally, corpus: CorpusTemplate, reference: string, cases: Case[]): void {
  const { error: refused, results } = JSON.parse(reference) as ReferenceLine;
  const compiled = compile(corpus.template);
  tally.templates++;
  const expected = results.map((result) => toOutcome(typeof result === 'number' ? (results[result] as Result) : result));
  cases.forEach(({ name, prompt, context }, index) => {
    const startedMs = performance.now();
    const found = 'error' in compiled ? compiled : renderOutcome(compiled, context);
    tally.slowestMs = Math.max(tally.slowestMs, performance.now() - startedMs);
    const wanted: Outcome = refused !== undefined ? { error: refused } : expected[index]!;
    if ('error' in wanted && 'error' in found) tally.refused++;
    else if ('text' in wanted && 'text' in found && isSame(wanted, found)) tally.identical++;
    else tally.differences.push({ template: corpus, conversation: name, prompt, expected: wanted, found });
  });
}

function compile(template: string): Template | { error: string } {
  try {
    return compileTemplate(template);
  } catch (error) {
    return { error: messageOf(error) };
  }
}

function renderOutcome(template: Template, context: Record<string, unknown>): Outcome {
  try {
    return inCodePoints(template.render(context, NOW), template.hasGeneration);
  } catch (error) {
    return { error: messageOf(error) };
  }
}

/** Anything but a TemplateError is a fault of ours. */
function messageOf(error: unknown): string {
  if (!(error instanceof TemplateError)) throw error;
  return `${error.code}: ${error.message}`;
}

function inCodePoints({ text, spans, hasLostSpan }: Rendering, hasGeneration: boolean): Rendered {
  // A span in a macro or a captured block is lost, and known to be: such a row is refused.
  if (!hasGeneration || hasLostSpan) return { text };
  const points = (units: number): number => [...text.slice(0, units)].length;
  return { text, spans: spans.map(([start, end]) => [points(start), points(end)]) };
}

function toOutcome(result: Result): Outcome {
  return typeof result === 'string' ? { error: result } : { text: result[0], ...(result[1] && { spans: result[1] }) };
}

/** An empty span trains nothing, whether it is noted or not. */
function isSame(one: Rendered, other: Rendered): boolean {
  const noted = ({ spans = [] }: Rendered): string => JSON.stringify(spans.filter(([start, end]) => end > start));
  return one.text === other.text && (!one.spans || !other.spans || noted(one) === noted(other));
}

/** The first place where two texts differ, with what stands around it. */
export function describeDifference({ template, conversation, prompt, expected, found }: Difference): string {
  const head = `${template.source}: ${template.path}, “${conversation}”${prompt ? ', with the prompt for an answer' : ''}`;
  const say = (outcome: Outcome, at: number): string =>
    'error' in outcome ? `refused: ${outcome.error.slice(0, 200)}` : JSON.stringify(outcome.text.slice(Math.max(0, at - 30), at + 60));
  let at = 0;
  if ('text' in expected && 'text' in found) {
    while (at < expected.text.length && expected.text[at] === found.text[at]) at++;
    if (expected.text === found.text) return `${head}\n  spans ${JSON.stringify(expected.spans)}\n  ours  ${JSON.stringify(found.spans)}`;
  }
  return `${head}, character ${at}\n  reference ${say(expected, at)}\n  ours      ${say(found, at)}`;
}

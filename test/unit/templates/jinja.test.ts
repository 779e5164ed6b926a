/** The engine against jinja2 as `transformers` sets it up: every text, every span, and an error wherever Python raises one. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { TemplateError } from '../../../templates/jinja/errors.js';
import { compileTemplate } from '../../../templates/jinja/template.js';
import { readBuiltin } from '../../../templates/chat.js';

type Expected = { error: string } | { text: string; spans: [number, number][] };
type Golden<Case> = { context: Record<string, unknown>; marked: string; cases: (Case & Expected)[] };

function golden<Case>(name: string): Golden<Case> {
  return JSON.parse(readFileSync(new URL(`./golden/${name}.json`, import.meta.url), 'utf8')) as Golden<Case>;
}

const NOW = new Date('2026-03-04T05:06:07Z');

/** Spans in code points, as Python counts. */
function render(template: string, context: Record<string, unknown>): Expected {
  try {
    const { text, spans } = compileTemplate(template).render(context, NOW);
    const points = (units: number): number => [...text.slice(0, units)].length;
    return { text, spans: spans.map(([start, end]) => [points(start), points(end)]) };
  } catch (error) {
    if (!(error instanceof TemplateError)) throw error;
    return { error: error.message };
  }
}

describe('semantics', () => {
  const { context, cases } = golden<{ template: string }>('semantics');
  it('has its cases', () => expect(cases.length).toBeGreaterThan(200));
  it.each(cases)('$template', ({ template, ...expected }) => {
    const rendered = render(template, context);
    if ('error' in expected) expect(rendered).toHaveProperty('error');
    else expect(rendered).toEqual(expected);
  });
});

describe('conversations', () => {
  const { marked, cases } = golden<{ name: string; context: Record<string, unknown> }>('conversations');
  it('has its cases', () => expect(cases.length).toBeGreaterThan(60));
  it.each(cases.map((each) => ({ title: `${each.name} ${JSON.stringify(each.context['messages']).slice(0, 60)}`, each })))(
    '$title',
    ({ each }) => {
      const { name, context, ...expected } = each;
      const rendered = render(name === 'marked' ? marked : readBuiltin(name as 'generic'), context);
      if ('error' in expected) expect(rendered).toHaveProperty('error');
      else expect(rendered).toEqual(expected);
    },
  );
});

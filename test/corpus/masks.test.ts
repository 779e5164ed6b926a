/**
 * What is trained, to the token: our segments, encoded by the trainer, beside `apply_chat_template(return_assistant_tokens_mask=True)` for
 * every template with generation tags, and beside the places of the markers for a template that prints them.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { makeConversationRenderer } from '../../templates/conversation.js';
import { parseExactly } from '../../templates/exactNumbers.js';
import { compileTemplate } from '../../templates/jinja/template.js';
import { runCommand } from '../../dev/command.js';
import { ensurePython } from '../../dev/python.js';
import { gatherTemplates, ownTemplates } from './gather.js';
import { CONVERSATIONS, NOW } from './reference.js';

const say = (line: string): void => console.log(`[masks] ${line}`);

/** Temper means something else on purpose: a weight of 0, and a look-alike of a control token, which stays text. */
const LEFT_OUT = new Set(['weights', 'control tokens as text']);

type Message = { role: string; content?: unknown };
type Row = { name: string; context: { messages: Message[]; tools?: unknown } & Record<string, unknown> };
type Report = { compared: number; different: unknown[]; sameTokens: number; doubleBos: number; otherText: number };

it('trains what transformers would', async () => {
  const rows = readFileSync(CONVERSATIONS, 'utf8')
    .split('\n')
    .slice(0, -1)
    .map((line) => parseExactly(line) as Row);
  const refusals = new Map<string, number>();
  const lines: string[] = [];
  for (const { source, path, template } of [...(await gatherTemplates(say)), ...ownTemplates()]) {
    const marked = path === 'marked';
    if (!marked && !isTagged(template)) continue;
    const render = makeConversationRenderer({ template, bosToken: '<s>', eosToken: '</s>', specialTokens: [], now: NOW.toISOString() });
    rows.forEach(({ name, context }, conversation) => {
      if (LEFT_OUT.has(name) || !isPlain(context)) return;
      const rendered = render({ ...context });
      if ('problem' in rendered) refusals.set(rendered.problem.code, (refusals.get(rendered.problem.code) ?? 0) + 1);
      else lines.push(JSON.stringify({ source, path, name, template, conversation, marked, segments: rendered.segments }));
    });
  }
  say(`refused: ${[...refusals].map(([code, count]) => `${code} ${count}`).join(', ')}`);

  const folder = mkdtempSync(join(tmpdir(), 'temper-masks-'));
  try {
    writeFileSync(join(folder, 'cases.jsonl'), lines.join('\n') + '\n');
    const script = fileURLToPath(new URL('masks.py', import.meta.url));
    const now = NOW.toISOString().slice(0, -5);
    const printed = await runCommand(await ensurePython(say), [script, join(folder, 'cases.jsonl'), CONVERSATIONS, now]);
    const report = JSON.parse(printed.trim().split('\n').at(-1)!) as Report;
    say(`${report.compared} compared, ${report.different.length} different; with merged tokens ${report.sameTokens} the same`);
    expect(report.different).toEqual([]);
    expect(report.doubleBos).toBe(0);
    expect(report.otherText).toBe(0);
    expect(report.compared).toBeGreaterThan(1000);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

function isTagged(template: string): boolean {
  try {
    const { hasGeneration, names } = compileTemplate(template);
    return hasGeneration && !names.has('unk_token');
  } catch {
    return false;
  }
}

/** Temper joins content in parts before a template sees it, and has no documents or switches of templates in its rows. */
function isPlain(context: Row['context']): boolean {
  const { messages, tools: _tools, ...rest } = context;
  return Object.keys(rest).length === 0 && messages.every(({ content }) => !Array.isArray(content));
}

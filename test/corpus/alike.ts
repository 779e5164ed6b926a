/** Whether rows that a template renders alike (templates/alikeRows.ts) come out as each does by itself. */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { makeConversationRenderer, type ChatSettings } from '../../templates/conversation.js';
import { renderPart } from '../../templates/renderPart.js';

export const ALIKE_SETTINGS = {
  bosToken: '<s>',
  eosToken: '</s>',
  specialTokens: ['<s>', '</s>', '<|im_start|>', '<|im_end|>', '<|eot_id|>', '<|start_header_id|>', '<|end_header_id|>'],
  now: '2026-03-04T05:06:07Z',
};

/** The lines that differ, with what was expected; compares nothing where the template cannot be used at all. */
export async function compareAlike(template: string, rows: string[], folder: string): Promise<string[]> {
  const chat: ChatSettings = { template, ...ALIKE_SETTINGS };
  const [datasetPath, partPath, indexPath] = ['rows', 'part', 'index'].map((name) => join(folder, name)) as [string, string, string];
  let render: ReturnType<typeof makeConversationRenderer>;
  try {
    render = makeConversationRenderer(chat);
  } catch {
    return [];
  }
  writeFileSync(datasetPath, rows.join('\n'));
  const end = Buffer.byteLength(rows.join('\n'));
  const request = { kind: 'conversation' as const, chat, datasetPath, start: 0, end, linesBefore: 0, seed: 1, partPath, indexPath };
  const { problems, warnings } = await renderPart(request, () => undefined);
  const written = readFileSync(partPath, 'utf8').split('\n').slice(0, -1);
  for (const path of [datasetPath, partPath, indexPath]) rmSync(path);
  const expected: string[] = [];
  const [problemLines, warningLines] = [new Map<string, number>(), new Map<string, number>()];
  const count = (map: Map<string, number>, code: string): unknown => map.set(code, (map.get(code) ?? 0) + 1);
  let limits = 0;
  for (const [index, row] of rows.entries()) {
    const rendered = render(JSON.parse(row) as Record<string, unknown>);
    if ('problem' in rendered) {
      count(problemLines, rendered.problem.code);
      if (rendered.problem.code === 'TEMPLATE_LIMIT' && ++limits === 20) break;
      continue;
    }
    for (const { code } of rendered.warnings) count(warningLines, code);
    expected.push(JSON.stringify({ line: index + 1, segments: rendered.segments }));
  }
  const differences = expected.flatMap((line, index) => (line === written[index] ? [] : [`${line}\n  but: ${written[index]}`]));
  if (written.length !== expected.length) differences.push(`${written.length} lines for ${expected.length}`);
  const counts = (kinds: { code: string; count: number }[]): string => JSON.stringify(kinds.map((kind) => [kind.code, kind.count]));
  if (counts(problems) !== JSON.stringify([...problemLines])) differences.push(`problems: ${counts(problems)}`);
  if (counts(warnings) !== JSON.stringify([...warningLines])) differences.push(`warnings: ${counts(warnings)}`);
  return differences;
}

const TEXTS = [
  'plain', 'x', ' led by a space', 'followed by one ', 'line\n', '\n\nlines\n\n', '"quoted" and \\ and /', 'tab\t', 'ünï 漢字。', '😀', '\u00a0', 'x\u00a0', 'x\u3000', 'x\u2028',
  'x\u0085', '</think>', '<think>a</think>b', '<|im_end|>', 'a <s> b', '</', '<|', 'true', 'None', '0', '1.5', '{{ x }}', '{"a": 1}', 'user', 'assistant', '\x01', '\x02', '\x7f',
  '[INST]', 'end.', 'x'.repeat(300), `${'long text. '.repeat(200)}`, '\ue000', 'ÀÉ', 'ß', 'ﬁ', '&<>"\'', '<tool_call>', 'http://x/y',
]; // prettier-ignore

/** Rows of conversations, some of them in other shapes and ways of writing. */
export function makeAlikeRows(count: number, seed: number): string[] {
  const random = (below: number): number => (seed = (Math.imul(seed, 1103515245) + 12345) & 0x7fffffff) % below;
  const text = (): string =>
    random(3) === 0 ? TEXTS[random(TEXTS.length)]! : Array.from({ length: 1 + random(3) }, () => TEXTS[random(TEXTS.length)]!).join(' ');
  return Array.from({ length: count }, () => {
    const messages: Record<string, unknown>[] = [];
    if (random(3) === 0) messages.push({ role: 'system', content: text() });
    for (let turns = 1 + random(3); turns > 0; turns--) {
      messages.push({ role: 'user', content: text() });
      messages.push(random(9) === 0 ? { content: text(), role: 'assistant' } : { role: 'assistant', content: text() });
    }
    if (random(20) === 0) messages.at(-1)!['weight'] = 1;
    const row = { ...(random(9) === 0 && { id: random(100) }), messages, ...(random(30) === 0 && { tools: random(2) ? null : [] }) };
    const json = JSON.stringify(row, null, random(9) === 0 ? ' ' : 0).replaceAll('\n', '');
    return random(9) === 0 ? json.replaceAll('/', '\\/').replaceAll('é', '\\u00e9') : json;
  });
}

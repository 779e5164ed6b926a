/** Rows that a template renders alike are written from their bytes: as each would be by itself, and only where that is sure. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeEach, expect, it, vi } from 'vitest';
import { ExampleFile } from '../../../templates/exampleFile.js';
import { compareAlike, makeAlikeRows } from '../../corpus/alike.js';
import { ownTemplates } from '../../corpus/gather.js';

const folder = mkdtempSync(path.join(tmpdir(), 'temper-alike-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const written = vi.spyOn(ExampleFile.prototype, 'writeAlike');
beforeEach(() => void written.mockClear());

const rows = makeAlikeRows(400, 5);
/** Prints every message by the expression, and marks the answers. */
const template = (content: string, before = ''): string =>
  `${before}{% for m in messages %}{{ '<|im_start|>' ~ m.role ~ '\n' }}{% if m.role == 'assistant' %}{% generation %}{{ ${content} ~ '<|im_end|>' }}` +
  `{% endgeneration %}{% else %}{{ ${content} ~ '<|im_end|>' }}{% endif %}{{ '\n' }}{% endfor %}`;

it.each(ownTemplates())('by the template $path', async ({ template }) => {
  expect(await compareAlike(template, rows, folder)).toEqual([]);
  expect(written.mock.calls.length).toBeGreaterThan(20);
});

it.each([
  'm.content',
  'm.content | trim',
  'm["content"].strip()',
  '(m.content | default("none", true) if m.content is string else "")',
  'm.get("content")',
  '("!" if "</think>" in m.content else "") ~ m.content',
  '("!" if m.content.startswith("<tool_call>") or m.content.endswith("end.") else "") ~ m.content',
  '(m.content if m.content != "" and m.content != none and m.content else "empty")',
])('where a text is only printed: %s', async (content) => {
  expect(await compareAlike(template(content), rows, folder)).toEqual([]);
  expect(written.mock.calls.length).toBeGreaterThan(20);
});

it.each([
  'm.content ~ (m.content | length)',
  'm.content ~ m.content[:1]',
  'm.content ~ (m.content | upper)',
  'm.content ~ ("yes" if m.content == "x" else "no")',
  'm.content ~ ("yes" if m.content > "m" else "no")',
  'm.content ~ ("yes" if m.content in ["x", "end."] else "no")',
  'm.content ~ ("yes" if {m.content: 1}.x else "no")',
  'm.content ~ ("yes" if m.content ~ "!" == "x!" else "no")',
  'm.content ~ (m | tojson)',
  'm.content ~ (m.content.split(" ") | last)',
  'm.content ~ ("%s" | format(m.content) | length)',
  'm.content ~ (m.content is lower)',
  'm.content ~ (m.content | safe | length)',
  'm.content ~ (m.content * 2) | replace("x", "y")',
  'm.content ~ (m.values() | list | join("") | length)',
  'm.content ~ (messages | map(attribute="content") | unique | list | length)',
])('and not where it is looked at: %s', async (content) => {
  expect(await compareAlike(template(content), rows, folder)).toEqual([]);
  expect(written).not.toHaveBeenCalled();
});

it('through macros, namespaces and captured blocks as well', async () => {
  const macro = '{% macro say(c) %}{{ c }}{% endmacro %}{% set ns = namespace(first=messages[0].content) %}';
  expect(await compareAlike(template('say(m.content) ~ ("?" if m.content == ns.first else "")', macro), rows, folder)).toEqual([]);
  expect(written).not.toHaveBeenCalled();
  expect(await compareAlike(template('say(m.content)', `${macro}{% set c %}{{ ns.first }}{% endset %}{{ c }}`), rows, folder)).toEqual([]);
  expect(written).toHaveBeenCalled();
});

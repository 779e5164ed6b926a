/** `temper compare`: models side by side. */
import type { Command } from 'commander';
import { callApi, type ApiRequest, type Resource } from './client.js';
import { formatNumber, formatTable, idOf, plainText } from './format.js';
import { collectionPath, MODEL } from './resources.js';
import { openSession, print, printJson, printRequest, terminalWidth } from './session.js';

interface Comparison {
  models: (Resource & { name: string; metric?: string; value?: number; low?: number; high?: number; base?: number; examples?: number })[];
  differences: { name: string; values: unknown[] }[];
  sameRows: boolean;
  rowsReason: string;
  best?: string;
  samples: { line: number; text: string; expected?: string; answers: unknown[]; base?: unknown }[];
}

const TEXT_SHOWN = 60;

export function defineCompare(command: Command): void {
  command
    .description('Show models side by side: settings that differ, how good each is, and what each answers')
    .argument('<models...>', 'two or more: IDs, full names or aliases')
    .addHelpText('after', '\nExample:\n  temper compare my-model my-model-2 support-bot@production')
    .action(async (names: string[], _: unknown, self: Command) => {
      const session = openSession(self);
      const path = `${await collectionPath(session, MODEL)}:compare?models=${encodeURIComponent(names.join(','))}`;
      const request: ApiRequest = { method: 'GET', path };
      if (session.dryRun) return printRequest(session, request);
      const found = await callApi<Comparison>(session.connection, request);
      session.status.clear();
      if (session.json) return printJson(found);
      if (session.quiet) return print(idOf(found.best ?? ''));
      print(describeComparison(found, terminalWidth()));
    });
}

export function describeComparison({ models, differences, sameRows, rowsReason, best, samples }: Comparison, width?: number): string {
  const ids = models.map(({ name }) => idOf(name));
  const table = (title: string, rows: string[][], more: string[] = []) => formatTable([title, ...ids, ...more], rows, width);
  const scores = models.map(({ metric, value, low, high }) =>
    value === undefined
      ? ''
      : `${formatNumber(value)}${low === undefined ? '' : ` (${formatNumber(low)} to ${formatNumber(high!)})`} ${plainText(metric)}`,
  );
  const parts = [
    table('EVALUATION', [
      ['tuned', ...scores],
      ['base', ...models.map(({ base }) => (base === undefined ? '' : formatNumber(base)))],
      ['examples', ...models.map(({ examples }) => plainText(examples))],
    ]),
    sameRows
      ? `The same rows for all; ${best ? `best: ${idOf(best)}` : 'none is better than all others'}.`
      : `Not to be compared: ${rowsReason}`,
    differences.length === 0
      ? 'No settings differ.'
      : table(
          'SETTING',
          differences.map(({ name, values }) => [name, ...values.map(shortValue)]),
        ),
  ];
  if (samples.length > 0)
    parts.push(
      table(
        'ROW',
        samples.map(({ line, answers, expected, base, text }) => [
          plainText(line),
          ...answers.map(shortValue),
          shortValue(base),
          expected ?? '',
          plainText(text).slice(-TEXT_SHOWN),
        ]),
        ['base', 'EXPECTED', 'TEXT'],
      ),
    );
  return parts.join('\n\n');
}

function shortValue(value: unknown): string {
  return typeof value === 'number' ? formatNumber(value) : plainText(value);
}

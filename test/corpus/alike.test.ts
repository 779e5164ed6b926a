/** The templates of the corpus by the way of rows that are rendered alike, beside the exact way. `npm test -- test/corpus` */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, it } from 'vitest';
import { compareAlike, makeAlikeRows } from './alike.js';
import { gatherTemplates, ownTemplates } from './gather.js';

it('renders rows alike as each by itself', async () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'temper-alike-'));
  const rows = makeAlikeRows(200, Date.now() & 0xffff);
  const differences: string[] = [];
  for (const { template, source, path: name } of [...(await gatherTemplates(() => undefined)), ...ownTemplates()]) {
    for (const difference of await compareAlike(template, rows, folder)) differences.push(`${source} ${name}: ${difference}`);
  }
  rmSync(folder, { recursive: true });
  expect(differences.slice(0, 5).join('\n')).toBe('');
});

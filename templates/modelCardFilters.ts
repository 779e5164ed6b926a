/** What the model card's template needs beside nunjucks' own filters: user text made safe for Markdown and YAML, and figures. */
import type nunjucks from 'nunjucks';

export function addFilters(env: nunjucks.Environment): nunjucks.Environment {
  // A JSON string is a YAML string.
  env.addFilter('yaml', (value: unknown) => JSON.stringify(String(value)));
  env.addFilter('line', (value: unknown) =>
    String(value)
      .replace(/\s+/g, ' ')
      .replace(/[\\`*_[\]<>#|]/g, '\\$&'),
  );
  env.addFilter('cell', formatCell);
  env.addFilter('figure', (value: unknown) => (typeof value === 'number' ? String(Number(value.toPrecision(5))) : String(value)));
  return env;
}

/** A setting's value in one table cell, as code. */
function formatCell(value: unknown): string {
  if (value === null || value === undefined) return '';
  const text = (typeof value === 'string' ? value : JSON.stringify(value)).replace(/\r\n|\r|\n/g, '\\n').replaceAll('|', '\\|');
  if (text === '') return '(empty)';
  const fence = '`'.repeat(1 + Math.max(0, ...[...text.matchAll(/`+/g)].map((ticks) => ticks[0].length)));
  const edge = text.startsWith('`') || text.endsWith('`') ? ' ' : '';
  return `${fence}${edge}${text}${edge}${fence}`;
}

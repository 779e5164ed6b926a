/** Values as people read them, and tables that fit the terminal. */

const COLUMN_GAP = 2;
const SHORTEST_COLUMN = 10;
const SIZE_UNITS = ['B', 'KB', 'MB', 'GB', 'TB'];

export function formatSize(bytes: number): string {
  let value = bytes;
  let unit = 0;
  for (; value >= 999.5 && unit < SIZE_UNITS.length - 1; unit++) value /= 1000;
  return `${unit === 0 || value >= 99.95 ? Math.round(value) : value.toFixed(1)} ${SIZE_UNITS[unit]}`;
}

/** `42s`, `3m05s`, `2h07m`, `3d04h`. */
export function formatDuration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const two = (value: number) => String(value).padStart(2, '0');
  if (whole < 60) return `${whole}s`;
  if (whole < 3600) return `${Math.floor(whole / 60)}m${two(whole % 60)}s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)}h${two(Math.floor((whole % 3600) / 60))}m`;
  return `${Math.floor(whole / 86400)}d${two(Math.floor((whole % 86400) / 3600))}h`;
}

export function formatCount(value: number): string {
  return Math.round(value)
    .toString()
    .replace(/\B(?=(\d{3})+$)/g, ',');
}

/** A loss, a perplexity, a learning rate: four significant digits. */
export function formatNumber(value: number): string {
  if (value === 0) return '0';
  const size = Math.abs(value);
  return size < 1e-3 || size >= 1e6 ? value.toExponential(2) : String(Number(value.toPrecision(4)));
}

/** An RFC 3339 time in the reader's zone, to the second. */
export function formatTime(time: string): string {
  const date = new Date(time);
  if (Number.isNaN(date.getTime())) return time;
  const two = (value: number) => String(value).padStart(2, '0');
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/** Text of a user in one line, without what could steer a terminal. */
export function plainText(value: unknown): string {
  if (value === undefined || value === null) return '';
  const text = typeof value === 'object' ? JSON.stringify(value) : String(value);
  return text.replace(/\s+/g, ' ').replace(/[\p{Cc}\p{Cf}]/gu, '');
}

/** The last part of a resource's name. */
export function idOf(name: unknown): string {
  const text = plainText(name);
  return text.slice(text.lastIndexOf('/') + 1);
}

/** Cut to a number of characters, with a sign that it was. */
export function shorten(text: string, width: number): string {
  const characters = [...text];
  return characters.length <= width ? text : `${characters.slice(0, Math.max(0, width - 1)).join('')}…`;
}

/**
 * Columns side by side under their titles. Where the table is wider than `width` (undefined: no limit, as for a file or a
 * pipe), the widest columns give way and then the last ones are left out; the first two, which say what and how, stay whole.
 */
export function formatTable(titles: string[], rows: string[][], width: number | undefined): string {
  const lengths = titles.map((title, column) =>
    Math.max(...[title, ...rows.map((row) => row[column] ?? '')].map((cell) => [...cell].length)),
  );
  const least = lengths.map((length, column) =>
    column < 2 ? length : Math.min(length, Math.max(titles[column]!.length, SHORTEST_COLUMN)),
  );
  const total = (widths: number[]) => widths.reduce((sum, columnWidth) => sum + columnWidth + COLUMN_GAP, -COLUMN_GAP);
  if (width !== undefined) {
    while (lengths.length > 2 && total(least) > width) {
      lengths.pop();
      least.pop();
    }
    for (let excess = total(lengths) - width; excess > 0; excess--) {
      const slack = lengths.map((length, column) => length - least[column]!);
      const widest = slack.indexOf(Math.max(...slack));
      if (slack[widest]! <= 0) break;
      lengths[widest]!--;
    }
  }
  const line = (cells: string[]) =>
    lengths
      .map((length, column) => pad(shorten(cells[column] ?? '', length), length))
      .join(' '.repeat(COLUMN_GAP))
      .trimEnd();
  return [titles, ...rows].map(line).join('\n');
}

/** `Label:  value` lines, values under each other; those without a value are left out. */
export function formatFields(fields: [label: string, value: string | undefined][]): string {
  const shown = fields.filter(([, value]) => value !== undefined && value !== '');
  const labelWidth = Math.max(0, ...shown.map(([label]) => label.length)) + 1;
  return shown
    .map(([label, value]) => `${pad(`${label}:`, labelWidth)} ${value!.replaceAll('\n', `\n${' '.repeat(labelWidth + 1)}`)}`)
    .join('\n');
}

function pad(text: string, width: number): string {
  return text + ' '.repeat(Math.max(0, width - [...text].length));
}

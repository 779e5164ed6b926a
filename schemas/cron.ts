/**
 * Cron expressions of five fields (minute, hour, day of month, month, day of week), checked field by field before Temporal sees
 * them. All five must match: unlike in classic cron, a day of the month and a day of the week narrow each other.
 */

interface CronField {
  name: string;
  min: number;
  max: number;
  words?: string[];
}

const MONTHS = ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec'];
const DAYS = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'];
const FIELDS: CronField[] = [
  { name: 'minute', min: 0, max: 59 },
  { name: 'hour', min: 0, max: 23 },
  { name: 'day of the month', min: 1, max: 31 },
  { name: 'month', min: 1, max: 12, words: MONTHS },
  { name: 'day of the week', min: 0, max: 7, words: DAYS },
];
const SHORTHANDS = ['@yearly', '@annually', '@monthly', '@weekly', '@daily', '@midnight', '@hourly'];
const DAYS_OF_MONTH = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/** What is wrong with the expression, in words; null when it can fire. */
export function checkCron(text: string): string | null {
  const expression = text.trim();
  if (expression.startsWith('@'))
    return SHORTHANDS.includes(expression) ? null : `${expression.slice(0, 20)} is not known; use one of ${SHORTHANDS.join(', ')}`;
  const parts = expression.split(/\s+/);
  if (parts.length !== FIELDS.length)
    return `it has ${parts.length} field${parts.length === 1 ? '' : 's'}, and needs 5: minute, hour, day of the month, month, day of the week ("0 2 * * *" is every night at two)`;
  const values: number[][] = [];
  for (const [index, field] of FIELDS.entries()) {
    const found = readField(parts[index]!, field);
    if (typeof found === 'string') return found;
    values.push(found);
  }
  const [, , days, months] = values as [number[], number[], number[], number[], number[]];
  const everFires = months.some((month) => days.some((day) => day <= DAYS_OF_MONTH[month - 1]!));
  if (!everFires) return `no month that it names has a day ${days.join(' or ')}`;
  return null;
}

/** The values that a field allows, or what is wrong with it. */
function readField(text: string, field: CronField): number[] | string {
  const values = new Set<number>();
  for (const item of text.split(',')) {
    const match = /^(\*|[a-z0-9]+)(?:-([a-z0-9]+))?(?:\/(\d+))?$/i.exec(item);
    if (!match)
      return `the ${field.name} "${item.slice(0, 20)}" cannot be read: use *, a number, a range such as 1-5, or a step such as */15`;
    const [, from, to, step] = match as unknown as [string, string, string | undefined, string | undefined];
    const any = from === '*';
    const first = any ? field.min : readValue(from, field);
    const last = to !== undefined ? readValue(to, field) : any || step !== undefined ? field.max : first;
    for (const [value, written] of [
      [first, from],
      [last, to ?? from],
    ] as const) {
      if (value === null || value < field.min || value > field.max)
        return `the ${field.name} "${written}" is not between ${field.min} and ${field.max}`;
    }
    if (first! > last!) return `the ${field.name} "${item}" runs backwards`;
    const every = step === undefined ? 1 : Number(step);
    if (every < 1) return `the step of the ${field.name} "${item}" must be 1 or more`;
    for (let value = first!; value <= last!; value += every) values.add(value);
  }
  return [...values];
}

function readValue(text: string, { words, min }: CronField): number | null {
  if (/^\d{1,4}$/.test(text)) return Number(text);
  const index = words?.indexOf(text.toLowerCase()) ?? -1;
  return index < 0 ? null : index + min;
}

/** The time zone's name as the IANA has it. */
export function isTimeZone(name: string): boolean {
  try {
    new Intl.DateTimeFormat('en', { timeZone: name });
    return /^[A-Za-z][A-Za-z0-9_+/-]*$/.test(name);
  } catch {
    return false;
  }
}

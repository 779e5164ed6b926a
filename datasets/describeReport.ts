/** A validation report as text for people. */
import type { FieldReport, ProblemPlace, ReportedProblem, TokenReport, ValidationReport } from '../schemas/validationReport.js';
import { excerpt } from './problems.js';

/** Labels shown of a field with few values. */
const MAX_LABELS_SHOWN = 8;
/** Fields shown. */
const MAX_FIELDS_SHOWN = 20;
/** Places shown of a problem; the report itself holds more. */
const MAX_PLACES_SHOWN = 5;

const FORMAT_NAMES: Record<ValidationReport['format'], string> = {
  CHAT: 'conversations (messages)',
  COMPLETION: 'prompt and completion',
  FORMAT_UNSPECIFIED: 'rows with fields',
};

/** The whole report, several lines without a trailing newline. */
export function describeReport(report: ValidationReport): string {
  const { lengths, conversations, compression } = report;
  const size = compression === undefined ? '' : ` (${compression.format}: ${counted(compression.sizeBytes, 'byte')})`;
  const counts = `${counted(report.examples, 'example')} in ${counted(report.lines, 'line')}, ${counted(report.sizeBytes, 'byte')}${size}`;
  const lines = [`${report.valid ? 'Valid' : 'Not valid'}: ${counts}, ${FORMAT_NAMES[report.format]}`];
  if (report.sha256 !== undefined) lines.push(`SHA-256 ${report.sha256}`);
  if (lengths !== undefined) {
    const { min, mean, p50, p95, max, longestLine } = lengths;
    const most = p50 === undefined || p95 === undefined ? '' : `, half at most ${number(p50)}, 95 % at most ${number(p95)}`;
    const range = `${number(min)} to ${number(max)} (line ${longestLine})`;
    lines.push(`Characters of text a row: ${range}, ${number(Math.round(mean))} on average${most}`);
  }
  if (report.tokens !== undefined) lines.push(describeTokens(report.tokens));
  if (conversations !== undefined) {
    const roles = Object.entries(conversations.roles).map(([role, count]) => `${number(count)} ${role}`);
    const turns = `${conversations.averageTurnCount.toFixed(1)} on average, at most ${conversations.maxTurnCount}`;
    lines.push(`Turns a conversation: ${turns}; messages: ${roles.join(', ') || 'none'}`);
    if (conversations.rowsWithTools > 0) lines.push(`With tools: ${counted(conversations.rowsWithTools, 'row')}`);
    if (conversations.rowsWithWeights > 0) lines.push(`With weights: ${counted(conversations.rowsWithWeights, 'row')}`);
  }
  if (report.duplicates > 0) lines.push(`Repeated rows: ${number(report.duplicates)}`);
  if (report.fields.length > 0) {
    const shown = report.fields.slice(0, MAX_FIELDS_SHOWN).map((field) => `  ${describeField(field, report.examples)}`);
    const rest = report.fields.length - shown.length;
    lines.push('', 'Fields', ...shown, ...(rest > 0 ? [`  and ${rest} more`] : []));
  }
  if (report.errors.length > 0) lines.push('', 'Errors', ...report.errors.flatMap(describeProblem));
  if (report.warnings.length > 0) lines.push('', 'Warnings', ...report.warnings.flatMap(describeProblem));
  return lines.join('\n');
}

function describeTokens({ baseModel, counts }: TokenReport): string {
  const model = excerpt(baseModel);
  if (counts.tokenCounts === 'UNAVAILABLE') return `Tokens with ${model}: not counted, ${counts.reason}`;
  const { min, p50, p95, max, total } = counts;
  const spread = `${number(min)} to ${number(max)}, half at most ${number(p50)}, 95 % at most ${number(p95)}`;
  const whole =
    counts.tokenCounts === 'EXACT' ? `${number(total)} in all` : `about ${number(total)} in all, from ${number(counts.rows)} rows`;
  return `Tokens of text a row with ${model}: ${spread}; ${whole}`;
}

/** One or two sentences: the first problems with line and field, and what to do. Empty for a report without errors. */
export function summariseProblems(report: ValidationReport): string {
  const byLine = report.errors.toSorted((a, b) => (a.places[0]?.line ?? 0) - (b.places[0]?.line ?? 0));
  const [first, second] = byLine;
  const place = first?.places[0];
  if (first === undefined || place === undefined) return '';
  const rest = report.errors.reduce((sum, { count }) => sum + count, 0) - 1;
  const what = `${capitalised(describePlace(place))}: ${lowercased(first.message)} (${first.code})`;
  const start = `${what}: found ${place.found}, expected ${place.expected}; ${place.fix}.`;
  if (rest === 0) return start;
  const next = second?.places[0] ?? first.places[1];
  const where = next === undefined ? '' : `, the next at ${describePlace(next)}`;
  return `${start} ${number(rest)} more ${rest === 1 ? 'problem' : 'problems'}${where}: see the validation report.`;
}

function describeField(field: FieldReport, examples: number): string {
  const parts = [
    Object.entries(field.types)
      .map(([type, count]) => `${type} ×${number(count)}`)
      .join(', '),
  ];
  if (field.firstMissingLine !== undefined)
    parts.push(`missing in ${counted(examples - field.count, 'row')} (first: line ${field.firstMissingLine})`);
  if (field.fillRate !== undefined && field.fillRate < 1) parts.push(`filled in ${percent(field.fillRate)} of the rows`);
  if (field.emptyCount > 0) parts.push(`empty in ${counted(field.emptyCount, 'row')}`);
  if (field.distinct !== undefined && field.distinct.length <= field.count / 2) {
    const shown = field.distinct.slice(0, MAX_LABELS_SHOWN).map(({ value, count }) => `${excerpt(value)} ×${number(count)}`);
    const more = field.distinct.length > shown.length ? ', …' : '';
    parts.push(`${number(field.distinct.length)} different: ${shown.join(', ')}${more}`);
  }
  return `${excerpt(field.name)}: ${parts.join('; ')}`;
}

function describeProblem(problem: ReportedProblem): string[] {
  const shown = problem.places.slice(0, MAX_PLACES_SHOWN);
  const lines = shown.map((place) => `    ${describePlace(place)}: found ${place.found}, expected ${place.expected}; ${place.fix}`);
  if (problem.count > shown.length && problem.places.length > shown.length) lines.push('    …');
  return [`  ${problem.code} ×${number(problem.count)}  ${problem.message}`, ...lines];
}

function describePlace(place: ProblemPlace): string {
  return place.field === undefined ? `line ${place.line}` : `line ${place.line}, ${place.field}`;
}

function counted(count: number, noun: string): string {
  return `${number(count)} ${noun}${count === 1 ? '' : 's'}`;
}

/** Never 100 % of what is not all, never 0 % of what is some. */
function percent(share: number): string {
  const percent = share * 100;
  return `${share > 0 && percent < 0.1 ? '< 0.1' : Math.floor(percent * 10) / 10} %`;
}

function number(value: number): string {
  return value.toLocaleString('en-US');
}

function capitalised(text: string): string {
  return text.slice(0, 1).toUpperCase() + text.slice(1);
}

function lowercased(text: string): string {
  return text.slice(0, 1).toLowerCase() + text.slice(1);
}

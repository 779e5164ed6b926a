/** Renders the rows of one byte range of a dataset, in order, and counts what is wrong with them. */
import { writeFileSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { readBlocks } from '../datasets/blocks.js';
import { BlockText, readRows, type Row } from '../datasets/rows.js';
import type { RenderedExample } from '../schemas/trainerProtocol.js';
import { AlikeRows } from './alikeRows.js';
import type { RenderedRow } from './conversation.js';
import { withExactNumbers } from './exactNumbers.js';
import { ExampleFile } from './exampleFile.js';
import { FieldTemplateError } from './fields.js';
import { TemplateError } from './jinja/errors.js';
import { PROBLEMS, ProblemTally, WARNINGS, type Problem } from './problems.js';
import { makeRowRenderer, type RowRenderer, type RowTemplates } from './renderRow.js';

export type PartRequest = RowTemplates & {
  datasetPath: string;
  /** The rows whose first byte is from `start` up to `end`, and how many lines are before them. */
  start: number;
  end: number;
  linesBefore: number;
  seed: number;
  /** The file of examples to write, and the one of their index: all hashes, then all lengths. */
  partPath: string;
  indexPath: string;
  /** Tells of every row before it is rendered, to learn which one a process dies of. */
  reportsEveryRow?: boolean;
};

export type PartResult = {
  rows: number;
  examples: number;
  /** Of the file of examples. */
  sha256: string;
  sizeBytes: number;
  /** textClassification: the labels. */
  labels: string[];
  problems: Problem[];
  warnings: Problem[];
  sample: RenderedExample[];
};

/** The first rows of a dataset, rendered: to look at, or to try a template before a job is made. */
export type PreviewRequest = RowTemplates & { datasetPath: string; rows: number };
export type Preview = {
  examples: RenderedExample[];
  problems: Problem[];
  warnings: Problem[];
  /** Row by row, in order: rendered, with what is to be said of it, or why not. Fewer than were asked for when the template cannot go on. */
  rows: PreviewedRow[];
};
export type PreviewedRow = { line: number } & RenderedRow;

/** How far it is: rows read, the byte and the line that the next row begins at. */
export type PartProgress = { rows: number; byteOffset: number; line: number };
export type Report = (progress: PartProgress) => void;

export const SAMPLE_EXAMPLES = 3;
/** Rows on which a template may run into its limits before the rest is left alone: each takes long. */
const MAX_LIMIT_ROWS = 20;
const REPORT_EVERY_MS = 100;

export async function renderPart(request: PartRequest, report: Report): Promise<PartResult> {
  const { start, end, datasetPath } = request;
  const labels = new Set<string>();
  const sample: RenderedExample[] = [];
  const file = new ExampleFile(request.partPath, request.seed);
  const rows = new Rows(request, report, request.reportsEveryRow ?? false);
  const { alike } = rows;
  let examples = 0;
  let line = request.linesBefore;
  for (const block of readBlocks(datasetPath, { start, end })) {
    if (block.tooLongBytes !== undefined) throw new Error(`line ${line + 1} is ${block.tooLongBytes} bytes long`);
    const text = new BlockText(block);
    alike?.enter(block);
    for (let from = 0; from < block.bytes.length && !rows.isOver;) {
      line++;
      if (rows.isReportDue) await rows.report(line, block.byteOffset + from);
      // The sample takes the usual way.
      const mould = sample.length < SAMPLE_EXAMPLES ? undefined : alike?.mouldAt(from);
      if (mould !== undefined) {
        file.writeAlike(line, mould, alike!.block!, alike!.row);
        rows.count++;
        examples++;
        from = alike!.row.next;
        continue;
      }
      const { row, next } = text.readRow(from, line);
      from = next;
      if (row === undefined) continue;
      alike?.learnFields(row.row);
      const rendered = rows.render(row);
      if ('problem' in rendered) continue;
      const example = toExample(line, rendered);
      examples++;
      if (sample.length < SAMPLE_EXAMPLES) sample.push(example);
      if (example.label !== undefined) labels.add(example.label);
      file.write(example);
    }
    if (rows.isOver) break;
  }
  const { hashes, lengths, sha256, sizeBytes } = file.close();
  writeFileSync(request.indexPath, hashes);
  writeFileSync(request.indexPath, lengths, { flag: 'a' });
  return { ...rows.tally(), examples, sha256, sizeBytes, labels: [...labels], sample };
}

export async function preview(request: PreviewRequest, report: Report): Promise<Preview> {
  const examples: RenderedExample[] = [];
  const previewed: PreviewedRow[] = [];
  const rows = new Rows(request, report, false);
  for (const row of firstRows(request.datasetPath, request.rows)) {
    if (rows.isOver) break;
    if (rows.isReportDue) await rows.report(row.line, row.byteOffset);
    const rendered = rows.render(row);
    previewed.push({ line: row.line, ...rendered });
    if ('segments' in rendered) examples.push(toExample(row.line, rendered));
  }
  const { problems, warnings } = rows.tally();
  return { examples, problems, warnings, rows: previewed };
}

function* firstRows(path: string, count: number): Generator<Row> {
  let taken = 0;
  for (const row of readRows(path)) {
    if (taken++ === count) return;
    yield row;
  }
}

type Rendered = Exclude<RenderedRow, { problem: unknown }>;

function toExample(line: number, { segments, label }: Rendered): RenderedExample {
  return label === undefined ? { line, segments } : { line, segments, label };
}

/** Renders row by row, and counts what is wrong. */
class Rows {
  count = 0;
  private readonly problems = new ProblemTally(PROBLEMS);
  private readonly warnings = new ProblemTally(WARNINGS);
  private readonly renderRow: RowRenderer | undefined;
  readonly alike: AlikeRows | undefined;
  private readonly isConversation: boolean;
  private limitRows = 0;
  private reportedAt = 0;

  constructor(
    request: RowTemplates & { datasetPath: string },
    private readonly say: Report,
    private readonly reportsEveryRow: boolean,
  ) {
    this.isConversation = request.kind === 'conversation';
    const compiled = compile(request, this.problems);
    this.renderRow = compiled?.renderRow;
    this.alike = compiled?.alike;
  }

  /** No further row needs to be rendered. */
  get isOver(): boolean {
    return !this.renderRow || this.limitRows === MAX_LIMIT_ROWS;
  }

  get isReportDue(): boolean {
    // A clock is slower than a row.
    return this.reportsEveryRow || (this.count % 64 === 0 && Date.now() - this.reportedAt > REPORT_EVERY_MS);
  }

  async report(line: number, byteOffset: number): Promise<void> {
    this.reportedAt = Date.now();
    this.say({ rows: this.count, byteOffset, line });
    // A message needs the event loop to leave.
    await setImmediate();
  }

  render({ line, row, text }: Row): RenderedRow {
    this.count++;
    const rendered = this.renderRow!(this.isConversation ? withExactNumbers(row, text) : row);
    if ('problem' in rendered) {
      const { code, found, field } = rendered.problem;
      this.problems.add(code, line, found, field);
      if (code === 'TEMPLATE_LIMIT') this.limitRows++;
    } else for (const { code, found } of rendered.warnings) this.warnings.add(code, line, found);
    return rendered;
  }

  tally(): { rows: number; problems: Problem[]; warnings: Problem[] } {
    return { rows: this.count, problems: this.problems.list(), warnings: this.warnings.list() };
  }
}

type Compiled = { renderRow: RowRenderer; alike: AlikeRows | undefined };
/** What was compiled last: a process renders many parts of one dataset. */
let latest: { key: string; compiled: Compiled } | undefined;

/** The first row of the whole dataset decides what a `{field}` template means, in every part. */
function compile(request: RowTemplates & { datasetPath: string }, problems: ProblemTally): Compiled | undefined {
  const { kind, inputTemplate, outputTemplate, textField, labelField, chat, datasetPath } = request;
  const key = JSON.stringify([kind, inputTemplate, outputTemplate, textField, labelField, chat, datasetPath]);
  if (latest?.key === key) return latest.compiled;
  try {
    const [first] = firstRows(datasetPath, 1);
    if (!first) return undefined;
    const renderRow = makeRowRenderer(request, first.row);
    latest = { key, compiled: { renderRow, alike: kind === 'conversation' ? new AlikeRows(chat!) : undefined } };
    return latest.compiled;
  } catch (error) {
    if (error instanceof TemplateError) {
      const place = error.line === undefined ? '' : `Line ${error.line}, column ${error.column}: `;
      problems.add(error.code, undefined, place + error.message);
    } else if (error instanceof FieldTemplateError) problems.add(error.code, undefined, error.message, error.template);
    else throw error;
    return undefined;
  }
}

/** Renders the rows of one byte range of a dataset, in order, and counts what is wrong with them. */
import { writeFileSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { readRows, type Row } from '../datasets/rows.js';
import type { RenderedExample } from '../schemas/trainerProtocol.js';
import type { RenderedRow } from './conversation.js';
import { withExactNumbers } from './exactNumbers.js';
import { ExampleFile } from './exampleFile.js';
import { FieldTemplateError } from './fields.js';
import { TemplateError } from './jinja/errors.js';
import { PROBLEMS, ProblemTally, WARNINGS, type Problem } from './problems.js';
import { makeRowRenderer, type RowRenderer, type RowTemplates } from './renderRow.js';

export type PartRequest = RowTemplates & {
  datasetPath: string;
  /** The rows whose first byte is from `start` up to `end`. */
  start: number;
  end: number;
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
  const labels = new Set<string>();
  const sample: RenderedExample[] = [];
  const file = new ExampleFile(request.partPath, request.seed);
  let examples = 0;
  const { start, end, datasetPath } = request;
  const tallied = await eachExample(request, readRows(datasetPath, { start, end }), report, request.reportsEveryRow ?? false, (example) => {
    examples++;
    if (sample.length < SAMPLE_EXAMPLES) sample.push(example);
    if (example.label !== undefined) labels.add(example.label);
    file.write(example);
  });
  const { hashes, lengths } = file.close();
  writeFileSync(request.indexPath, hashes);
  writeFileSync(request.indexPath, lengths, { flag: 'a' });
  return { ...tallied, examples, labels: [...labels], sample };
}

export async function preview(request: PreviewRequest, report: Report): Promise<Preview> {
  const examples: RenderedExample[] = [];
  const rows: PreviewedRow[] = [];
  const { problems, warnings } = await eachExample(
    request,
    firstRows(request.datasetPath, request.rows),
    report,
    false,
    (example) => void examples.push(example),
    (row) => void rows.push(row),
  );
  return { examples, problems, warnings, rows };
}

function* firstRows(path: string, count: number): Generator<Row> {
  let taken = 0;
  for (const row of readRows(path)) {
    if (taken++ === count) return;
    yield row;
  }
}

type Tallied = { rows: number; problems: Problem[]; warnings: Problem[] };

async function eachExample(
  request: RowTemplates & { datasetPath: string },
  source: Iterable<Row>,
  report: Report,
  reportsEveryRow: boolean,
  take: (example: RenderedExample) => void,
  onRow?: (row: PreviewedRow) => void,
): Promise<Tallied> {
  const [problems, warnings] = [new ProblemTally(PROBLEMS), new ProblemTally(WARNINGS)];
  let renderRow: RowRenderer | undefined;
  let rows = 0;
  let limitRows = 0;
  let reportedAt = 0;
  const isConversation = request.kind === 'conversation';
  for (const { line, byteOffset, row, text } of source) {
    // A clock is slower than a row.
    if (reportsEveryRow || (rows % 64 === 0 && Date.now() - reportedAt > REPORT_EVERY_MS)) {
      reportedAt = Date.now();
      report({ rows, byteOffset, line });
      // A message needs the event loop to leave.
      await setImmediate();
    }
    rows++;
    renderRow ??= compile(request, problems);
    if (!renderRow) break;
    const rendered: RenderedRow = renderRow(isConversation ? withExactNumbers(row, text) : row);
    onRow?.({ line, ...rendered });
    if ('problem' in rendered) {
      problems.add(rendered.problem.code, line, rendered.problem.found, rendered.problem.field);
      if (rendered.problem.code === 'TEMPLATE_LIMIT' && ++limitRows === MAX_LIMIT_ROWS) break;
      continue;
    }
    for (const { code, found } of rendered.warnings) warnings.add(code, line, found);
    take(
      rendered.label === undefined ? { line, segments: rendered.segments } : { line, segments: rendered.segments, label: rendered.label },
    );
  }
  return { rows, problems: problems.list(), warnings: warnings.list() };
}

/** The first row of the whole dataset decides what a `{field}` template means, in every part. */
function compile(request: RowTemplates & { datasetPath: string }, problems: ProblemTally): RowRenderer | undefined {
  try {
    const [first] = firstRows(request.datasetPath, 1);
    return makeRowRenderer(request, first!.row);
  } catch (error) {
    if (error instanceof TemplateError) {
      const place = error.line === undefined ? '' : `Line ${error.line}, column ${error.column}: `;
      problems.add(error.code, undefined, place + error.message);
    } else if (error instanceof FieldTemplateError) problems.add(error.code, undefined, error.message, error.template);
    else throw error;
    return undefined;
  }
}

/** The process that renderSet.ts starts: reads a dataset, renders its rows, writes the split sets. Started only by it. */
import { createHash, type Hash } from 'node:crypto';
import { closeSync, openSync, readSync, rmSync, statSync, writeSync } from 'node:fs';
import path from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { readRows } from '../datasets/rows.js';
import type { RenderedExample } from '../schemas/trainerProtocol.js';
import type { RenderedRow } from './conversation.js';
import { FieldTemplateError } from './fields.js';
import { TemplateError } from './jinja/errors.js';
import { PROBLEMS, ProblemTally, WARNINGS } from './problems.js';
import { makeRowRenderer, type RowRenderer, type RowTemplates } from './renderRow.js';
import { splitByHash } from './split.js';
import type { Preview, PreviewRequest, ProcessMessage, ProcessRequest, RenderProgress, RenderRequest, RenderResult } from './renderSet.js';

const SAMPLE_EXAMPLES = 3;
/** Rows on which a template may run into its limits before the rest is left alone: each takes long. */
const MAX_LIMIT_ROWS = 20;
const REPORT_EVERY_MS = 100;
const BUFFER_BYTES = 1 << 20;

process.once('message', (message: ProcessRequest) => {
  const work = message.work === 'set' ? renderAll(message.request) : preview(message.request);
  work
    .then((result) => say({ result }))
    .catch((error: unknown) => say({ failure: error instanceof Error ? error.message : String(error) }))
    .finally(() => process.disconnect());
});

function say(message: ProcessMessage): void {
  process.send!(message);
}

type Tallies = { problems: ProblemTally; warnings: ProblemTally };

function newTallies(): Tallies {
  return { problems: new ProblemTally(PROBLEMS), warnings: new ProblemTally(WARNINGS) };
}

async function preview(request: PreviewRequest): Promise<Preview> {
  const tallies = newTallies();
  const examples: RenderedExample[] = [];
  await eachExample(request, tallies, (example) => void examples.push(example), request.rows);
  return { examples, problems: tallies.problems.list(), warnings: tallies.warnings.list() };
}

/** Renders every row into one file, remembering where each example lies and what its hash is; then deals them out. */
async function renderAll(request: RenderRequest): Promise<RenderResult> {
  const tallies = newTallies();
  const file = (name: string): string => path.join(request.outputFolder, name);
  const labels = new Set<string>();
  const sample: RenderedExample[] = [];
  const index = new ExampleIndex();
  const all = new OutputFile(file('rendered.tmp'));
  try {
    await eachExample(request, tallies, (example) => {
      if (sample.length < SAMPLE_EXAMPLES) sample.push(example);
      if (example.label !== undefined) labels.add(example.label);
      const segments = JSON.stringify(example.segments);
      const label = example.label === undefined ? '' : `,"label":${JSON.stringify(example.label)}`;
      index.add(all.size, hashContent(request.seed, segments));
      all.write(`{"line":${example.line},"segments":${segments}${label}}\n`);
    });
    all.close();
    const { hashes, offsets } = index.finish(all.size);
    if (tallies.problems.isEmpty && hashes.length === 1 && request.evaluationSplit > 0) tallies.problems.add('TOO_FEW_ROWS', undefined, '');
    if (labels.size === 1) tallies.warnings.add('ONE_LABEL', undefined, '');
    const split = splitByHash(hashes, request.evaluationSplit);
    if (split.overlaps) tallies.warnings.add('EVALUATION_OVERLAPS', undefined, '');
    const files = tallies.problems.isEmpty
      ? await deal(file('rendered.tmp'), offsets, split.evaluation, file('train.jsonl'), file('eval.jsonl'))
      : { trainSha256: '', evalSha256: '' };
    return {
      trainExamples: hashes.length - split.evaluation.length,
      evalExamples: split.evaluation.length,
      ...files,
      ...(request.kind === 'textClassification' && { labels: [...labels].sort() }),
      problems: tallies.problems.list(),
      warnings: tallies.warnings.list(),
      sample,
    };
  } finally {
    rmSync(file('rendered.tmp'), { force: true });
  }
}

/** Renders the rows in order, counts what is wrong, and says how far it is. */
async function eachExample(
  request: RowTemplates & { datasetPath: string },
  { problems, warnings }: Tallies,
  take: (example: RenderedExample) => void,
  maxRows = Infinity,
): Promise<void> {
  let renderRow: RowRenderer | undefined;
  let rows = 0;
  let limitRows = 0;
  let reportedAt = 0;
  const totalBytes = statSync(request.datasetPath).size;
  for (const { line, byteOffset, row } of readRows(request.datasetPath)) {
    if (rows >= maxRows || limitRows >= MAX_LIMIT_ROWS) break;
    if (Date.now() - reportedAt > REPORT_EVERY_MS) {
      reportedAt = Date.now();
      await report({ rows, bytes: byteOffset, totalBytes }, line - 1);
    }
    rows++;
    renderRow ??= compile(request, row, problems);
    if (!renderRow) return;
    const rendered: RenderedRow = renderRow(row);
    if ('problem' in rendered) {
      if (rendered.problem.code === 'TEMPLATE_LIMIT') limitRows++;
      problems.add(rendered.problem.code, line, rendered.problem.found, rendered.problem.field);
      continue;
    }
    for (const { code, found } of rendered.warnings) warnings.add(code, line, found);
    take({ line, segments: rendered.segments, ...(rendered.label !== undefined && { label: rendered.label }) });
  }
  if (rows === 0) problems.add('NO_ROWS', undefined, '');
}

function compile(templates: RowTemplates, firstRow: Record<string, unknown>, problems: ProblemTally): RowRenderer | undefined {
  try {
    return makeRowRenderer(templates, firstRow);
  } catch (error) {
    if (error instanceof TemplateError) {
      const place = error.line === undefined ? '' : `Line ${error.line}, column ${error.column}: `;
      problems.add(error.code, undefined, place + error.message);
    } else if (error instanceof FieldTemplateError) problems.add(error.code, undefined, error.message, error.template);
    else throw error;
    return undefined;
  }
}

/** Tells the parent, and gives the message the time to leave. */
async function report(progress: RenderProgress, line: number): Promise<void> {
  say({ progress, line });
  await setImmediate();
}

/** 64 bits of SHA-256 over the seed and what the example says, its line left out. */
function hashContent(seed: number, segments: string): bigint {
  return createHash('sha256').update(`${seed}\n${segments}`).digest().readBigUInt64BE(0);
}

/** Sixteen bytes an example, in arrays that grow by doubling. */
class ExampleIndex {
  private hashes = new BigUint64Array(1024);
  private offsets = new Float64Array(1025);
  private count = 0;

  add(offset: number, hash: bigint): void {
    if (this.count === this.hashes.length) {
      const hashes = new BigUint64Array(this.count * 2);
      hashes.set(this.hashes);
      this.hashes = hashes;
      const offsets = new Float64Array(this.count * 2 + 1);
      offsets.set(this.offsets);
      this.offsets = offsets;
    }
    this.hashes[this.count] = hash;
    this.offsets[this.count++] = offset;
  }

  /** `offsets` has one more item: the end of the last example. */
  finish(size: number): { hashes: BigUint64Array; offsets: Float64Array } {
    this.offsets[this.count] = size;
    return { hashes: this.hashes.subarray(0, this.count), offsets: this.offsets.subarray(0, this.count + 1) };
  }
}

/** The training examples in the dataset's order, the evaluation examples in the split's. */
async function deal(
  source: string,
  offsets: Float64Array,
  evaluation: Uint32Array,
  trainPath: string,
  evalPath: string,
): Promise<{ trainSha256: string; evalSha256: string }> {
  const input = openSync(source, 'r');
  const buffer = Buffer.allocUnsafe(BUFFER_BYTES);
  const train = new OutputFile(trainPath);
  const held = new OutputFile(evalPath);
  let reportedAt = 0;
  /** Copies the examples from one index up to another, which lie side by side. */
  const copy = async (from: number, to: number, output: OutputFile): Promise<void> => {
    const end = offsets[to]!;
    for (let at = offsets[from]!; at < end;) {
      const read = readSync(input, buffer, 0, Math.min(buffer.length, end - at), at);
      output.writeBytes(buffer.subarray(0, read));
      at += read;
    }
    if (Date.now() - reportedAt < REPORT_EVERY_MS) return;
    reportedAt = Date.now();
    const size = offsets[offsets.length - 1]!;
    await report({ rows: offsets.length - 1, bytes: size, totalBytes: size }, from);
  };
  try {
    let next = 0;
    for (const index of evaluation.slice().sort()) {
      if (index > next) await copy(next, index, train);
      next = index + 1;
    }
    if (next < offsets.length - 1) await copy(next, offsets.length - 1, train);
    for (const index of evaluation) await copy(index, index + 1, held);
    return { trainSha256: train.close(), evalSha256: held.close() };
  } finally {
    closeSync(input);
  }
}

/** A file written in large pieces, hashed on the way. */
class OutputFile {
  size = 0;
  private readonly file: number;
  private readonly hash: Hash = createHash('sha256');
  private readonly buffer = Buffer.allocUnsafe(BUFFER_BYTES);
  private filled = 0;

  constructor(filePath: string) {
    this.file = openSync(filePath, 'w');
  }

  write(text: string): void {
    this.writeBytes(Buffer.from(text, 'utf8'));
  }

  writeBytes(bytes: Buffer): void {
    this.size += bytes.length;
    if (this.filled + bytes.length > this.buffer.length) this.flush();
    if (bytes.length > this.buffer.length) this.put(bytes);
    else this.filled += bytes.copy(this.buffer, this.filled);
  }

  /** Returns the SHA-256 of everything written. */
  close(): string {
    this.flush();
    closeSync(this.file);
    return this.hash.digest('hex');
  }

  private flush(): void {
    this.put(this.buffer.subarray(0, this.filled));
    this.filled = 0;
  }

  private put(bytes: Buffer): void {
    this.hash.update(bytes);
    for (let done = 0; done < bytes.length;) done += writeSync(this.file, bytes, done);
  }
}

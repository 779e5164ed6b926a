/** What can be wrong with rendered rows: each kind once, what it means and what to do, counted, with its first places. */

export const PROBLEMS = {
  // The row
  FIELD_MISSING: 'A row lacks a field that the job names. Give every row the field, or name another.',
  FIELD_NOT_TEXT: 'A field is not a string. Write it as a string in the dataset.',
  LABEL_NOT_TEXT: 'A label is neither a string nor an integer. Write it as a string in the dataset.',
  LABEL_EMPTY: 'A label is empty. Give every row a label.',
  MESSAGES_MISSING: 'A row has no list of messages. A conversation is {"messages": [{"role": "user", "content": "..."}, ...]}.',
  NOTHING_TRAINED: 'A row renders to text of which nothing is trained. Give it an answer, or mark the answer in the chat template.',
  // The template with this row
  TEMPLATE_SYNTAX: 'The template does not parse.',
  TEMPLATE_UNSUPPORTED: 'The template uses something that is not available in chat templates.',
  TEMPLATE_FAILED: 'The template fails on a row. Correct the template, or the row.',
  TEMPLATE_RAISED: 'The template refuses a row with raise_exception. Correct the row, or use another template.',
  TEMPLATE_LIMIT: 'The template needs too much work, memory or nesting. Make it simpler.',
  TEMPLATE_NAMES_NO_FIELD: 'The template names no field, so every row would give the same text. Name a field in braces.',
  MARKERS_ODD:
    'The template prints unk_token an odd number of times, so that it is not known where the trained text ends. Print it before and after each answer.',
  MARKERS_UNCOUNTED:
    'The template does not print a trained span for each assistant message, so the weights of messages cannot be followed.',
  SPANS_LOST:
    'The template has {% generation %} inside a macro or a captured block, where its place in the text is not known. Move it outside.',
  SPANS_UNKNOWN:
    'The template does not say which text is the answer, and none can be told from the start of the conversation, which it renders otherwise. ' +
    'Put the answers between {% generation %} and {% endgeneration %}, or use a built-in template.',
  CONTENT_DROPPED: 'The template leaves out or changes what an assistant message says. Correct the template.',
  EVERYTHING_TRAINED: 'All of the text is trained, the question too. Mark only the answers in the template.',
  // The set
  NO_ROWS: 'The dataset has no rows.',
  TOO_FEW_ROWS: 'The dataset has a single row, and evaluation needs one of its own. Add rows, or turn evaluation off.',
} as const;
export type ProblemCode = keyof typeof PROBLEMS;

export const WARNINGS = {
  CONTROL_TOKENS: "A row's text looks like control tokens of the model; it is trained on as plain text.",
  TURNS_NOT_TRAINED:
    'Only some answers of a conversation are trained: the template does not mark the others, or renders them otherwise than at inference ' +
    '(it takes the reasoning out of earlier turns, say). To train every answer, put all between {% generation %} and {% endgeneration %}, ' +
    'or end a row with each.',
  SPACES_CHANGED: 'The template changes the white space of what an assistant message says; the changed text is trained.',
  TOOLS_DROPPED: 'The template leaves out tools that a row defines, so the model is trained to call what it was not told of.',
  PROMPT_DROPPED: 'The template leaves out or changes what a user or system message says.',
  END_NOT_TRAINED: 'An answer ends without a control token that is trained, so the model does not learn to stop.',
  ONE_LABEL: 'All rows have the same label; there is nothing to learn.',
  EVALUATION_OVERLAPS: 'All rows are the same, so that evaluation sees what training saw.',
} as const;
export type WarningCode = keyof typeof WARNINGS;

/** One kind of problem. `places` are the first 20: 1-based physical lines of the dataset, and what was found there. */
export type Problem = { code: string; message: string; field?: string; count: number; places: { line: number; found: string }[] };

const MAX_PLACES = 20;
const MAX_FOUND_LENGTH = 200;

/** Counts problems by code and field, in the order they first appear. */
export class ProblemTally {
  private readonly problems = new Map<string, Problem>();

  constructor(private readonly messages: Readonly<Record<string, string>>) {}

  get isEmpty(): boolean {
    return this.problems.size === 0;
  }

  /** `line` is absent for what concerns the whole set; then `found` becomes part of the message. */
  add(code: string, line: number | undefined, found: string, field?: string): void {
    const key = `${code}\0${field ?? ''}`;
    let problem = this.problems.get(key);
    if (!problem) {
      const message = line === undefined && found !== '' ? `${this.messages[code]!} ${found}` : this.messages[code]!;
      problem = { code, message, ...(field !== undefined && { field }), count: 0, places: [] };
      this.problems.set(key, problem);
    }
    problem.count++;
    if (line !== undefined && problem.places.length < MAX_PLACES) problem.places.push({ line, found: found.slice(0, MAX_FOUND_LENGTH) });
  }

  list(): Problem[] {
    return [...this.problems.values()];
  }
}

/** The problems of consecutive parts of a dataset as those of the whole. What has no place is a problem of the whole already. */
export function mergeProblems(parts: Problem[][]): Problem[] {
  const merged = new Map<string, Problem>();
  for (const problem of parts.flat()) {
    const key = `${problem.code}\0${problem.field ?? ''}`;
    const known = merged.get(key);
    if (!known) merged.set(key, { ...problem, places: [...problem.places] });
    else if (problem.places.length > 0) {
      known.count += problem.count;
      known.places.push(...problem.places.slice(0, MAX_PLACES - known.places.length));
    }
  }
  return [...merged.values()];
}

/**
 * `{field}` templates of text completion jobs: the text around named fields of a dataset row.
 *
 * `{{` and `}}` are literal braces. A placeholder is a plain field name and nothing more: no attributes, indices, conversions or format
 * specifications, so a template can reach the row's own fields and nothing else. Field text is inserted as it is, never expanded again.
 * A template without a placeholder that equals a field's name means that field: `response` is `{response}`.
 */

/** A mistake in the template itself. `column` is 1-based and counts characters. */
export class FieldTemplateError extends Error {
  /** Which of a job's templates it is, where there are several. */
  template?: 'inputTemplate' | 'outputTemplate';
  constructor(
    readonly code: 'TEMPLATE_SYNTAX' | 'TEMPLATE_NAMES_NO_FIELD',
    readonly column: number,
    message: string,
  ) {
    super(message);
    this.name = 'FieldTemplateError';
  }
}

/** Why a row cannot be rendered: the field, and what was found there. */
export type FieldProblem = { code: 'FIELD_MISSING' | 'FIELD_NOT_TEXT'; field: string; found: string };

export type FieldTemplate = {
  /** The fields the template names, each once, in order of appearance. */
  fields: string[];
  /** The text for one row, or the first problem met. */
  render(row: Record<string, unknown>): { text: string } | { problem: FieldProblem };
};

type Piece = { literal: string } | { field: string };

/**
 * Compiles a template. `knownFields` are the fields of a row, where known: a template without a placeholder that is none of them is an
 * error, as every row would give the same text. Throws FieldTemplateError.
 */
export function compileFieldTemplate(source: string, knownFields?: Iterable<string>): FieldTemplate {
  const known = knownFields && new Set(knownFields);
  let pieces = parse(source);
  if (!pieces.some((piece) => 'field' in piece)) {
    if (known && !known.has(source)) {
      throw new FieldTemplateError(
        'TEMPLATE_NAMES_NO_FIELD',
        1,
        `the template ${quote(source)} names no field, so every row would give the same text; ` +
          `write a placeholder such as {${[...known][0] ?? 'field'}}, or the exact name of a field`,
      );
    }
    pieces = [{ field: source }];
  }
  const fields = [...new Set(pieces.flatMap((piece) => ('field' in piece ? [piece.field] : [])))];
  return { fields, render: (row) => render(pieces, row) };
}

/** The text of one field that must be there and be a string. */
export function readTextField(row: Record<string, unknown>, field: string): { text: string } | { problem: FieldProblem } {
  if (!Object.hasOwn(row, field)) return { problem: { code: 'FIELD_MISSING', field, found: describeFields(row) } };
  const value = row[field];
  if (typeof value !== 'string') return { problem: { code: 'FIELD_NOT_TEXT', field, found: describeValue(value) } };
  return { text: value };
}

/** The JSON type of a value with a short look at it: `number 3`, `array [1,2]`, `null`. */
export function describeValue(value: unknown): string {
  if (value === null) return 'null';
  if (value === undefined) return 'nothing';
  const type = Array.isArray(value) ? 'array' : typeof value;
  const text = JSON.stringify(value);
  return `${type} ${text.length > 60 ? text.slice(0, 57) + '...' : text}`;
}

function parse(source: string): Piece[] {
  const pieces: Piece[] = [];
  let literal = '';
  for (let at = 0; at < source.length; at++) {
    const character = source[at]!;
    if ((character === '{' || character === '}') && source[at + 1] === character) {
      literal += character;
      at++;
    } else if (character === '{') {
      const end = source.indexOf('}', at);
      if (end < 0) throw mistake(source, at, `this '{' is never closed; write '{{' for a literal brace`);
      const field = source.slice(at + 1, end);
      if (field === '') throw mistake(source, at, `'{}' names no field; write a field's name between the braces`);
      const odd = /[{!:[\].]/.exec(field);
      if (odd) {
        throw mistake(
          source,
          at,
          `{${field}}: '${odd[0]}' has no meaning here; only plain field names are supported, and '{{' is a literal brace`,
        );
      }
      if (literal) pieces.push({ literal });
      literal = '';
      pieces.push({ field });
      at = end;
    } else if (character === '}') {
      throw mistake(source, at, `this '}' has no '{' before it; write '}}' for a literal brace`);
    } else {
      literal += character;
    }
  }
  if (literal) pieces.push({ literal });
  return pieces;
}

function render(pieces: Piece[], row: Record<string, unknown>): { text: string } | { problem: FieldProblem } {
  let text = '';
  for (const piece of pieces) {
    if ('literal' in piece) {
      text += piece.literal;
      continue;
    }
    const field = readTextField(row, piece.field);
    if ('problem' in field) return field;
    text += field.text;
  }
  return { text };
}

function mistake(source: string, at: number, message: string): FieldTemplateError {
  const column = [...source.slice(0, at)].length + 1;
  return new FieldTemplateError('TEMPLATE_SYNTAX', column, `column ${column}: ${message}`);
}

function describeFields(row: Record<string, unknown>): string {
  const names = Object.keys(row);
  if (names.length === 0) return 'an empty object';
  return `only ${names.slice(0, 10).map(quote).join(', ')}${names.length > 10 ? ', ...' : ''}`;
}

function quote(text: string): string {
  return `'${text.length > 80 ? text.slice(0, 77) + '...' : text}'`;
}

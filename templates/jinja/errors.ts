/** What can be wrong with a template or its rendering. Whatever happens inside the engine leaves it as one of these. */

export type TemplateErrorCode =
  /** The template does not parse. */
  | 'TEMPLATE_SYNTAX'
  /** Something that Jinja has and a chat template cannot use here: include, import, random. */
  | 'TEMPLATE_UNSUPPORTED'
  /** An operation failed, as it would in Python: an undefined value was used, types do not fit. */
  | 'TEMPLATE_FAILED'
  /** The template itself called `raise_exception`. */
  | 'TEMPLATE_RAISED'
  /** Too large, too deep, too long, too much output. */
  | 'TEMPLATE_LIMIT';

/** `line` and `column` are 1-based places in the template's source, where known. */
export class TemplateError extends Error {
  line?: number;
  column?: number;
  constructor(
    readonly code: TemplateErrorCode,
    message: string,
  ) {
    super(message);
    this.name = 'TemplateError';
  }
}

/** Fails a rendering the way Python would, with a message that says what was wrong. */
export function fail(message: string): never {
  throw new TemplateError('TEMPLATE_FAILED', message);
}

export function exceed(message: string): never {
  throw new TemplateError('TEMPLATE_LIMIT', message);
}

/** Fills in the place of an error that has none yet. */
export function placeError(error: TemplateError, source: string, offset: number): TemplateError {
  if (error.line === undefined) {
    const before = source.slice(0, offset);
    error.line = before.split('\n').length;
    error.column = [...before.slice(before.lastIndexOf('\n') + 1)].length + 1;
  }
  return error;
}

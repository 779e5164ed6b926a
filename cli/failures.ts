/** How a command ends badly: one of three errors, each with its exit code, and one function that puts any of them into words. */

/** Wrong usage: found before anything was asked of the server. Exit code 2. */
export class UsageError extends Error {}

/** The operation was carried out and did not succeed. Exit code 1. */
export class OperationError extends Error {}

/** One place of a problem, as the API reports it. */
export interface ProblemDetail {
  field?: string;
  line?: number;
  reason?: string;
  message?: string;
  hint?: string;
}

/** The API refused or failed, or could not be reached (`status` 0). Exit code 1. */
export class ApiError extends Error {
  /** Where each field of the request came from (`settings.yaml:7`), to point at the line to change. */
  origins: ReadonlyMap<string, string> = new Map();

  constructor(
    readonly status: number,
    message: string,
    readonly details: ProblemDetail[] = [],
  ) {
    super(message);
  }
}

/** True when the same request may succeed later: the server was not reached, is busy, or failed. */
export function isPassing(error: unknown): error is ApiError {
  return error instanceof ApiError && (error.status === 0 || error.status === 429 || error.status >= 500);
}

export function exitCode(error: unknown): number {
  return error instanceof UsageError ? 2 : 1;
}

/** The error for a person: what is wrong, each place, what to do. */
export function explain(error: unknown): string {
  if (!(error instanceof Error)) return `Error: ${String(error)}`;
  const lines = [`Error: ${error.message || error.name}`];
  if (error instanceof ApiError) {
    const details = error.details.map((detail) => explainDetail(detail, error)).filter(Boolean);
    // A lone code without a place belongs to the message itself.
    if (details.length === 1 && details[0] === error.details[0]?.reason) lines[0] += ` [${details[0]}]`;
    else lines.push(...details.map((detail) => `  ${detail}`));
    const advice = adviceFor(error.status);
    if (advice) lines.push(advice);
  }
  return lines.join('\n');
}

/** Empty when the detail says nothing that the message has not said already. */
function explainDetail(detail: ProblemDetail, { message, origins }: ApiError): string {
  const place: string[] = [];
  if (detail.line !== undefined) place.push(`line ${detail.line}`);
  if (detail.field) {
    const origin = origins.get(detail.field);
    place.push(origin ? `${detail.field} (${origin})` : detail.field);
  }
  const said = detail.message && detail.message !== message ? detail.message : '';
  const reason = detail.reason ? (said ? `[${detail.reason}]` : detail.reason) : '';
  const what = [said, reason, detail.hint ? `→ ${detail.hint}` : ''].filter(Boolean).join(' ');
  return [place.join(', '), what].filter(Boolean).join(': ');
}

function adviceFor(status: number): string {
  if (status === 401) return 'Give a valid key with --api-key or TEMPER_API_KEY, or store one with: temper set-api-key KEY';
  if (status === 403) return 'Ask an administrator of the account, or use another key or --account-id.';
  if (status === 429) return 'The server asks for fewer requests; try again in a while.';
  if (status >= 500) return 'The server failed; the same command can be run again.';
  return '';
}

/** Log lines of the workers: JSON, one a line, as the API's, with the account and the resource that they are about. */

/** pino's numbers. */
const LEVELS: Record<string, number> = { TRACE: 10, DEBUG: 20, INFO: 30, WARN: 40, ERROR: 50 };

/**
 * @param meta  what Temporal's SDK adds: of an activity or workflow, its ID among them
 * @returns the line, without its end
 */
export function formatLogLine(worker: string, level: string, message: string, meta: Record<string, unknown> = {}): string {
  const { workflowId, activityType, attempt, workflowType, error, sdkComponent, taskQueue, state } = meta as Record<
    string,
    string | undefined
  >;
  const [, account, collection, id] = /^accounts\/([^/]+)\/([^/]+)\/([^/]+)/.exec(workflowId ?? '') ?? [];
  return JSON.stringify({
    level: LEVELS[level] ?? LEVELS['INFO'],
    time: Date.now(),
    worker,
    msg: message,
    ...(account ? { account, [collection === 'fineTuningJobs' ? 'job' : collection!]: id } : {}),
    ...(activityType ? { activity: activityType, attempt } : {}),
    ...(workflowType ? { workflow: workflowType } : {}),
    ...(error ? { cause: describeError(error) } : {}),
    ...(sdkComponent ? { component: sdkComponent } : {}),
    ...(taskQueue ? { queue: taskQueue } : {}),
    ...(state ? { state } : {}),
  });
}

/** Frames of a stack that tell where something unexpected was thrown. */
const FRAMES = 8;

/** Errors of ours say what users may read; of any other the kind is said, and where it was thrown. */
function describeError(error: unknown): string {
  if (!(error instanceof Error)) return String(error).slice(0, 500);
  const { type = error.name, stack = '' } = error as { type?: string; stack?: string };
  const said = `${type}: ${error.message}`.slice(0, 500);
  const frames = stack.split('\n').filter((line) => /^\s+at /.test(line));
  return type === 'INTERNAL' ? [said, ...frames.slice(0, FRAMES).map((frame) => frame.trim())].join(' ') : said;
}

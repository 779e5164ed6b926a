/** `temper doctor`: every component looked at, from this machine and by the server itself, each with what to do. */
import type { Command } from 'commander';
import { worstState, type Check, type CheckState, type DoctorReport } from '../schemas/doctor.js';
import { TEMPER_VERSION } from '../schemas/version.js';
import { callApi, unreachable } from './client.js';
import { ApiError } from './failures.js';
import { plainText } from './format.js';
import { openSession, print, printJson, printRequest, type Session } from './session.js';

const TIMEOUT_MS = 10_000;
/** Signed URLs and sign-in tokens are refused beyond minutes. */
const CLOCK_WARNING_MS = 30_000;
/** What the command line needs: package.json, `engines`. */
const NODE_VERSION = [20, 6];

export function defineDoctor(command: Command): void {
  command
    .description('Check every component of the deployment, and say what to do')
    .addHelpText(
      'after',
      '\nWhat the server sees of itself is shown to operators: admins of the deployment’s own account.\nExit code: 0 nothing failed (there may be warnings), 1 something did.',
    )
    .action(async (_: unknown, self: Command) => {
      const session = openSession(self);
      if (session.dryRun) return printRequest(session, { method: 'GET', path: '/v1/doctor' });
      const here = [...checkHere(), ...(await checkApi(session))];
      const isReachable = !here.some((check) => check.component === 'api' && check.state === 'FAILED');
      const checks = [...here, ...(isReachable ? await askServer(session) : [])];
      const state = worstState(checks.map((check) => check.state as CheckState));
      session.status.clear();
      if (session.json) printJson({ state, version: TEMPER_VERSION, time: new Date().toISOString(), checks } satisfies DoctorReport);
      else if (session.quiet) print(state);
      else print(describe(checks, state));
      process.exitCode = state === 'FAILED' ? 1 : 0;
    });
}

function checkHere(): Check[] {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  const message = `temper ${TEMPER_VERSION}, Node ${process.version}.`;
  const isOld = major < NODE_VERSION[0]! || (major === NODE_VERSION[0] && minor < NODE_VERSION[1]!);
  const advice = `Use Node ${NODE_VERSION.join('.')} or later.`;
  return [{ component: 'cli', name: 'version', ...(isOld ? { state: 'WARNING', message, advice } : { state: 'OK', message }) }];
}

async function checkApi({ connection }: Session): Promise<Check[]> {
  const { apiUrl } = connection;
  const sentMs = Date.now();
  try {
    const reply = await fetch(`${apiUrl}/healthz`, { signal: AbortSignal.timeout(TIMEOUT_MS) });
    if (!reply.ok) throw new ApiError(reply.status, `${apiUrl}/healthz answered ${reply.status}`);
    const tookMs = Date.now() - sentMs;
    const offsetMs = sentMs + tookMs / 2 - Date.parse(reply.headers.get('date') ?? '');
    const answers: Check = { component: 'api', name: 'reachable', state: 'OK', message: `${apiUrl} answers in ${tookMs} ms.` };
    // The header has whole seconds.
    if (!(Math.abs(offsetMs) > CLOCK_WARNING_MS)) return [answers];
    const message = `This machine's clock is ${Math.round(Math.abs(offsetMs) / 1000)} s ${offsetMs < 0 ? 'behind' : 'ahead of'} the server's.`;
    return [
      answers,
      { component: 'cli', name: 'clock', state: 'WARNING', message, advice: 'Synchronise it: signed URLs depend on the time.' },
    ];
  } catch (error) {
    const { message } = error instanceof ApiError ? error : unreachable(apiUrl, error);
    return [
      { component: 'api', name: 'reachable', state: 'FAILED', message, advice: 'Start the API, or correct --api-url or TEMPER_API_URL.' },
    ];
  }
}

async function askServer({ connection }: Session): Promise<Check[]> {
  try {
    return (await callApi<DoctorReport>(connection, { method: 'GET', path: '/v1/doctor' })).checks;
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (error.status === 403) {
      const message = 'What the server sees of itself is shown to operators only.';
      return [
        { component: 'api', name: 'doctor', state: 'WARNING', message, advice: 'Use a key of an admin of the deployment’s own account.' },
      ];
    }
    const advice =
      error.status === 401 ? 'Give a valid key: --api-key, TEMPER_API_KEY, or `temper set-api-key`.' : 'See the log of the API.';
    return [{ component: 'api', name: 'doctor', state: 'FAILED', message: error.message, advice }];
  }
}

const MARKS: Record<string, string> = { OK: 'ok     ', WARNING: 'WARNING', FAILED: 'FAILED ' };

function describe(checks: Check[], state: CheckState): string {
  const lines = checks.flatMap(({ component, name, state: of, message, advice }) => [
    `${MARKS[of]}  ${plainText(component)}: ${plainText(name)}. ${plainText(message)}`,
    ...(advice ? [`         → ${plainText(advice)}`] : []),
  ]);
  const bad = checks.filter((check) => check.state !== 'OK').length;
  const verdict = state === 'OK' ? `All ${checks.length} checks are fine.` : `${bad} of ${checks.length} checks need attention.`;
  return [...lines, '', verdict].join('\n');
}

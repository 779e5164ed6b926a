/** `temper get usage`: what the account has used and stores. */
import { Option, type Command } from 'commander';
import { USAGE_GROUPS } from '../schemas/usage.js';
import { accountOf, callApi, type ApiRequest } from './client.js';
import { UsageError } from './failures.js';
import { formatCount, formatDuration, formatSize, formatTable, idOf, plainText } from './format.js';
import { openSession, print, printJson, printRequest, terminalWidth } from './session.js';

interface Used {
  jobs: number;
  tokens: string;
  trainedTokens: string;
  gpuSeconds: number;
  costs: { currencyCode: string; units: string; nanos: number }[];
}
interface UsageAnswer {
  from: string;
  to: string;
  groupBy: string;
  total: Used;
  groups: (Used & { key: string })[];
  storedBytes: string;
  storedByUser: { user: string; bytes: string }[];
}

export function defineGetUsage(command: Command): void {
  command
    .description('Show tokens, GPU time and costs of the jobs that ended, and what is stored')
    .option('--from <time>', 'day or RFC 3339 time (default: 30 days before)', readTime)
    .option('--to <time>', 'day or RFC 3339 time, not included (default: now)', readTime)
    .addOption(new Option('--group-by <what>', 'how to sum up').choices(USAGE_GROUPS))
    .addHelpText('after', '\nExample:\n  temper get usage --from 2026-11-01 --to 2026-12-01 --group-by user')
    .action(async (options: { from?: string; to?: string; groupBy?: string }, self: Command) => {
      const session = openSession(self);
      const query = new URLSearchParams(Object.entries(options).filter((entry): entry is [string, string] => typeof entry[1] === 'string'));
      const account = encodeURIComponent(await accountOf(session.connection));
      const request: ApiRequest = { method: 'GET', path: `/v1/accounts/${account}/usage${query.size > 0 ? `?${query}` : ''}` };
      if (session.dryRun) return printRequest(session, request);
      const usage = await callApi<UsageAnswer>(session.connection, request);
      session.status.clear();
      if (session.json) return printJson(usage);
      print(describeUsage(usage, terminalWidth()));
    });
}

export function describeUsage({ from, to, groupBy, total, groups, storedBytes, storedByUser }: UsageAnswer, width?: number): string {
  const row = (key: string, used: Used) => [
    key,
    formatCount(used.jobs),
    formatCount(Number(used.tokens)),
    formatCount(Number(used.trainedTokens)),
    formatDuration(used.gpuSeconds),
    used.costs.map(formatMoney).join(' + '),
  ];
  const rows = groups.map((group) => row(groupBy === 'job' || groupBy === 'baseModel' ? idOf(group.key) : plainText(group.key), group));
  const titles = [groupBy === 'baseModel' ? 'BASE MODEL' : groupBy.toUpperCase(), 'JOBS', 'TOKENS', 'TRAINED ON', 'GPU TIME', 'COST'];
  return [
    `${from.slice(0, 10)} to ${to.slice(0, 10)}`,
    formatTable(titles, groupBy === 'account' ? [row('all', total)] : [...rows, row('all', total)], width),
    `Stored now: ${formatSize(Number(storedBytes))}${storedByUser.length > 1 ? ` (${storedByUser.map(({ user, bytes }) => `${plainText(user)} ${formatSize(Number(bytes))}`).join(', ')})` : ''}`,
  ].join('\n\n');
}

function formatMoney({ currencyCode, units, nanos }: Used['costs'][number]): string {
  return `${(Number(units) + nanos / 1e9).toFixed(2)} ${currencyCode}`;
}

function readTime(text: string): string {
  const time = new Date(text);
  if (Number.isNaN(time.getTime())) throw new UsageError(`"${text}" is not a time: give a day, such as 2026-11-01, or an RFC 3339 time`);
  return time.toISOString();
}

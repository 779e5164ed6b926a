/** The value of a secret: from a flag, or from stdin, where no history and no list of processes shows it. */
import { UsageError } from './failures.js';

export async function readSecretValue(flag: string | undefined): Promise<string> {
  if (flag !== undefined) return flag;
  if (process.stdin.isTTY) process.stderr.write('Value (it is shown while you type; end with Ctrl-D): ');
  const parts: Buffer[] = [];
  for await (const part of process.stdin) parts.push(part as Buffer);
  const value = Buffer.concat(parts)
    .toString('utf8')
    .replace(/\r?\n$/, '');
  if (!value) throw new UsageError('the secret is empty: give --value, or write it to stdin');
  return value;
}

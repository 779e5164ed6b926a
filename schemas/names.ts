/** Resource names (`accounts/a/datasets/d`) and the IDs in them. Reference: 1–63 of `a-z 0-9 -`, no hyphen at either end. */
import { fieldError } from './errors.js';

export const ID_PATTERN = '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$';
const idExpression = new RegExp(ID_PATTERN);

export type Collection =
  | 'users'
  | 'datasets'
  | 'fineTuningJobs'
  | 'supervisedFineTuningJobs'
  | 'models'
  | 'deployments'
  | 'deployedModels'
  | 'secrets'
  | 'quotas'
  | 'auditEvents'
  | 'janitorReports'
  | 'schedules'
  | 'sweeps'
  | 'aliases'
  | 'webhooks';

export function isId(text: string): boolean {
  return idExpression.test(text);
}

/** @throws TemperError INVALID_ID naming the field */
export function requireId(text: string, field: string): string {
  if (isId(text)) return text;
  throw fieldError('INVALID_ID', field, `${field} must be 1 to 63 characters of a-z, 0-9 and hyphen, with no hyphen at either end`);
}

export function resourceName(accountId: string, collection: Collection, id: string): string {
  return `accounts/${accountId}/${collection}/${id}`;
}

/** `accounts/a/datasets/d` or, where the context is clear, the bare `d` (then `accountId` is the caller's). Null when it is neither. */
export function parseName(text: string, collection: Collection, accountId: string): { accountId: string; id: string } | null {
  if (isId(text)) return { accountId, id: text };
  const parts = text.split('/');
  if (parts.length !== 4 || parts[0] !== 'accounts' || parts[2] !== collection) return null;
  const [, account, , id] = parts as [string, string, string, string];
  return isId(account) && isId(id) ? { accountId: account, id } : null;
}

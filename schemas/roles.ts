/** What each role may do: one table, which routes refer to and `/openapi.json` shows. */

/** `inference-user` may use models, and sees nothing else of the account. */
export const ROLES = ['admin', 'user', 'inference-user'] as const;
export type Role = (typeof ROLES)[number];

/** Permissions by the name that routes ask for, with the roles that have them. */
export const PERMISSIONS = {
  /** To know who one is, and to see the models. */
  member: ['admin', 'user', 'inference-user'],
  /** To work with datasets, jobs, models, and keys of one's own. */
  user: ['admin', 'user'],
  /** To manage who works here: users, everyone's keys, secrets, quotas, and to read the audit trail. */
  admin: ['admin'],
  /** To manage other accounts: admins of the deployment's own account, TEMPER_ACCOUNT_ID. */
  operator: ['admin'],
} as const satisfies Record<string, readonly Role[]>;
export type Permission = keyof typeof PERMISSIONS;

export function hasPermission(role: string, permission: Permission): boolean {
  return (PERMISSIONS[permission] as readonly string[]).includes(role);
}

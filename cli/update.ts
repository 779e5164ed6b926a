/** `temper update`: the fields of a resource that may change. */
import { Option, type Command } from 'commander';
import { callApi, type ApiRequest, type Resource } from './client.js';
import { UsageError } from './failures.js';
import { idOf, plainText } from './format.js';
import { ROLES } from '../schemas/roles.js';
import { ACCOUNT, DATASET, JOB, MODEL, QUOTA, resourcePath, SECRET, USER, type ResourceType } from './resources.js';
import { readSecretValue } from './secretValue.js';
import { openSession, printRequest, printResource, type Session } from './session.js';

/** Options by resource: [flag, help, field of the API]. */
const CHANGES = new Map<ResourceType, [flag: string, help: string, field: string][]>([
  [DATASET, [['--display-name <name>', 'name for people', 'displayName']]],
  [JOB, [['--display-name <name>', 'name for people', 'displayName']]],
  [
    MODEL,
    [
      ['--display-name <name>', 'name for people', 'displayName'],
      ['--description <text>', 'what the model is for', 'description'],
      ['--hugging-face-url <url>', 'where it is on the hub', 'huggingFaceUrl'],
      ['--github-url <url>', 'where its source is', 'githubUrl'],
    ],
  ],
  [
    USER,
    [
      ['--display-name <name>', 'name for people', 'displayName'],
      ['--role <role>', 'what the user may do', 'role'],
      ['--user <role>', 'the same as --role', 'role'],
    ],
  ],
  [
    QUOTA,
    [
      ['--value <number>', 'what is enforced, up to the maximum', 'value'],
      ['--max-value <number>', 'what the account is granted (for operators)', 'maxValue'],
    ],
  ],
  [
    ACCOUNT,
    [
      ['--display-name <name>', 'name for people', 'displayName'],
      ['--email <address>', 'address of who answers for it', 'email'],
    ],
  ],
  [SECRET, [['--value <value>', 'the secret; without it, it is read from stdin', 'value']]],
]);
export const UPDATABLE: readonly ResourceType[] = [...CHANGES.keys()];

export function defineUpdate(command: Command, type: ResourceType): void {
  const changes = CHANGES.get(type)!;
  command.description(`Change a ${type.noun}`).argument('<name>', `ID or full name of the ${type.noun}`);
  for (const [flag, help, field] of changes)
    command.addOption(field === 'role' ? new Option(flag, help).choices([...ROLES]) : new Option(flag, help));
  command.action(async (name: string, options: Record<string, string>, self: Command) => {
    const session = openSession(self);
    const body: Resource = {};
    for (const [flag, , field] of changes) {
      const value = options[optionName(flag)];
      if (value !== undefined) body[field] = value;
    }
    if (type === SECRET) {
      body.value = await readSecretValue(options.value);
      // The API wants it whole, as its published client sends it.
      await addKeyName(session, name, body);
    }
    if (Object.keys(body).length === 0)
      throw new UsageError(`nothing to change: give one of ${changes.map(([flag]) => flag.split(' ')[0]).join(', ')}`);
    const request: ApiRequest = { method: 'PATCH', path: await resourcePath(session, type, name), body, idempotent: true };
    if (session.dryRun) return printRequest(session, type === SECRET ? { ...request, body: { ...body, value: '(hidden)' } } : request);
    const resource = await callApi(session.connection, request);
    printResource(session, resource, idOf(resource.name), `Updated ${plainText(resource.name)}`);
  });
}

async function addKeyName(session: Session, name: string, body: Resource): Promise<void> {
  if (session.dryRun) return;
  const secret = await callApi(session.connection, { method: 'GET', path: await resourcePath(session, SECRET, name) });
  body.keyName = secret.keyName;
}

function optionName(flag: string): string {
  return flag
    .slice(2)
    .split(' ')[0]!
    .replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

/** `temper update`: the fields of a resource that may change. */
import { Option, type Command } from 'commander';
import { callApi, type ApiRequest, type Resource } from './client.js';
import { UsageError } from './failures.js';
import { idOf, plainText } from './format.js';
import { readNumber } from './settingFlags.js';
import { ROLES } from '../schemas/roles.js';
import { ACCOUNT, DATASET, JOB, MODEL, QUOTA, resourcePath, SECRET, USER, type ResourceType } from './resources.js';
import { readSecretValue } from './secretValue.js';
import { openSession, printRequest, printResource, type Session } from './session.js';

/** Options by resource: [flag, help, field of the API]. */
const CHANGES = new Map<ResourceType, [flag: string, help: string, field: string][]>([
  [DATASET, [['--display-name <name>', 'name for people', 'displayName']]],
  [
    JOB,
    [
      ['--display-name <name>', 'name for people', 'displayName'],
      ['--priority <number>', 'place in the GPU queue: 1 (first) to 5', 'priority'],
      ['--epochs <number>', 'more passes over the dataset than so far; a job that trains goes on from where it is', 'epochs'],
      ['--deadline <time>', 'when training ends at the latest, such as 2027-01-31T18:00:00Z, or none', 'deadline'],
      ['--max-gpu-seconds <number>', 'most seconds that training may hold the GPU, or none', 'maxGpuSeconds'],
      ['--wandb-api-key <key>', 'another Weights & Biases key for the job; what its run lacks is delivered', 'wandbApiKey'],
    ],
  ],
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
/** In JSON numbers, and not text. */
const NUMBERS: Record<string, 'number' | 'integer'> = { priority: 'integer', epochs: 'number', maxGpuSeconds: 'integer' };
/** Limits that can be lifted. */
const LIFTABLE = ['deadline', 'maxGpuSeconds'];

export const UPDATABLE: readonly ResourceType[] = [...CHANGES.keys()];

export function defineUpdate(command: Command, type: ResourceType): void {
  const changes = CHANGES.get(type)!;
  command.description(`Change a ${type.noun}`).argument('<name>', `ID or full name of the ${type.noun}`);
  for (const [flag, help, field] of changes) {
    const option = new Option(flag, help);
    const number = NUMBERS[field];
    if (field === 'role') option.choices([...ROLES]);
    else if (number) option.argParser((text) => (LIFTABLE.includes(field) && text === 'none' ? text : readNumber(text, number)));
    command.addOption(option);
  }
  command.action(async (name: string, options: Record<string, string | number>, self: Command) => {
    const session = openSession(self);
    const body: Resource = {};
    const lifted: string[] = [];
    for (const [flag, , field] of changes) {
      const value = options[optionName(flag)];
      if (value === undefined) continue;
      if (LIFTABLE.includes(field) && value === 'none') lifted.push(field);
      else body[field] = value;
    }
    if (type === SECRET) {
      body.value = await readSecretValue(options.value as string | undefined);
      // The API wants it whole, as its published client sends it.
      await addKeyName(session, name, body);
    }
    if (Object.keys(body).length + lifted.length === 0)
      throw new UsageError(`nothing to change: give one of ${changes.map(([flag]) => flag.split(' ')[0]).join(', ')}`);
    // What is in the mask and not in the body is cleared.
    const mask = lifted.length > 0 ? `?updateMask=${[...Object.keys(body), ...lifted].join(',')}` : '';
    const path = `${await resourcePath(session, type, name)}${mask}`;
    const request: ApiRequest = { method: 'PATCH', path, body, idempotent: true };
    const hidden = Object.fromEntries(
      ['value', 'wandbApiKey'].filter((field) => type !== QUOTA && field in body).map((field) => [field, '(hidden)']),
    );
    if (session.dryRun) return printRequest(session, { ...request, body: { ...body, ...hidden } });
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

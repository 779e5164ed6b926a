/**
 * `temper`, the command-line client. Verbs first, as the reference's documents have it (`temper create dataset`), and nouns
 * first, as its newer versions do (`temper dataset create`): both orders from the one table below.
 * Exit codes: 0 done, 1 the operation failed, 2 wrong usage, 130 watching was stopped with Ctrl-C.
 */
import { Command, CommanderError, Option } from 'commander';
import { TEMPER_VERSION } from '../schemas/version.js';
import { defineAddVersion, defineRollback, defineUpdateAlias } from './aliases.js';
import { defineCreateAccount, defineCreateApiKey, defineCreateSecret, defineCreateUser, defineCreateWebhook } from './createAccess.js';
import { defineCompare } from './compare.js';
import { defineComplete, defineCompletion } from './completion.js';
import { defineCreateDataset } from './createDataset.js';
import { defineCreateJob } from './createJob.js';
import { defineCreateModel, defineImportModel } from './createModel.js';
import { defineDelete } from './delete.js';
import { defineDoctor } from './doctor.js';
import { defineDownloadModel } from './download.js';
import { defineExportMetrics } from './exportMetrics.js';
import { defineCancelExport, defineDownloadExport, defineExportModel } from './exportModel.js';
import { exitCode, explain } from './failures.js';
import { defineGet } from './get.js';
import { defineSetApiKey, defineVersion, defineWhoami } from './identity.js';
import { defineList } from './list.js';
import { definePreview } from './preview.js';
import {
  ACCOUNT,
  ALIAS,
  API_KEY,
  AUDIT_EVENT,
  DATASET,
  EXPORT,
  JANITOR_REPORT,
  JOB,
  MODEL,
  pluralOf,
  QUOTA,
  RUN,
  SCHEDULE,
  SECRET,
  SWEEP,
  USAGE,
  USER,
  WEBHOOK,
  type ResourceType,
} from './resources.js';
import { defineReproduce } from './reproduce.js';
import { defineBackfill, defineCreateSchedule, defineRunVerb, defineScheduleVerb, defineUpdateSchedule } from './schedules.js';
import { defineSignIn, defineSignOut } from './signIn.js';
import { defineSteering, STEERING } from './steer.js';
import { defineUpdate, UPDATABLE } from './update.js';
import { defineGetUsage } from './usage.js';
import { defineValidate } from './validate.js';

const TYPES = [
  DATASET,
  JOB,
  MODEL,
  EXPORT,
  USER,
  API_KEY,
  SECRET,
  WEBHOOK,
  QUOTA,
  AUDIT_EVENT,
  JANITOR_REPORT,
  ACCOUNT,
  SCHEDULE,
  RUN,
  SWEEP,
  ALIAS,
];
/** Always there, or history: not made and removed one by one from here. */
const LASTING = [QUOTA, AUDIT_EVENT, JANITOR_REPORT, ACCOUNT, RUN, SWEEP];

const VERBS = {
  create: 'Create a resource',
  get: 'Show a resource',
  list: 'List resources',
  update: 'Change a resource',
  delete: 'Delete a resource',
  download: 'Download files',
  export: 'Make a model available in another form',
  import: 'Import from elsewhere',
  cancel: 'Cancel a job, an export, a run or a sweep',
  pause: 'Pause a job or a schedule',
  resume: 'Let a paused or failed job go on',
  report: 'Deliver a job to its trackers again',
  unpause: 'Let a schedule run again',
  trigger: 'Run a schedule now',
  backfill: 'Run a schedule for a time that has passed',
  approve: 'Approve a job or a promotion',
  reject: 'Reject a job or a promotion',
  rollback: 'Point an alias back at the model before',
  'export-metrics': 'Write metrics to a file',
};
type Verb = keyof typeof VERBS;
type Define = (command: Command) => void;

const ACTIONS: [verb: Verb, type: ResourceType, define: Define][] = [
  ['create', DATASET, defineCreateDataset],
  ['create', JOB, defineCreateJob],
  ['create', MODEL, defineCreateModel],
  ['import', MODEL, defineImportModel],
  ['create', USER, defineCreateUser],
  ['create', API_KEY, defineCreateApiKey],
  ['create', SECRET, defineCreateSecret],
  ['create', WEBHOOK, defineCreateWebhook],
  ['create', ACCOUNT, defineCreateAccount],
  ['create', SCHEDULE, defineCreateSchedule],
  ...TYPES.filter((type) => type !== API_KEY).map((type): [Verb, ResourceType, Define] => [
    'get',
    type,
    (command) => defineGet(command, type),
  ]),
  ...TYPES.map((type): [Verb, ResourceType, Define] => ['list', type, (command) => defineList(command, type)]),
  ...UPDATABLE.map((type): [Verb, ResourceType, Define] => ['update', type, (command) => defineUpdate(command, type)]),
  ...TYPES.filter((type) => !LASTING.includes(type)).map((type): [Verb, ResourceType, Define] => [
    'delete',
    type,
    (command) => defineDelete(command, type),
  ]),
  ['update', SCHEDULE, defineUpdateSchedule],
  ['update', ALIAS, defineUpdateAlias],
  ['rollback', ALIAS, defineRollback],
  ...(['pause', 'unpause', 'trigger'] as const).map((verb): [Verb, ResourceType, Define] => [
    verb,
    SCHEDULE,
    (command) => defineScheduleVerb(command, verb),
  ]),
  ['backfill', SCHEDULE, defineBackfill],
  ...(['cancel', 'approve', 'reject'] as const).flatMap((verb) =>
    [RUN, SWEEP].map((type): [Verb, ResourceType, Define] => [verb, type, (command) => defineRunVerb(command, type, verb)]),
  ),
  ['get', USAGE, defineGetUsage],
  ['download', MODEL, defineDownloadModel],
  ['download', EXPORT, defineDownloadExport],
  ['export', MODEL, defineExportModel],
  ['cancel', EXPORT, defineCancelExport],
  ['export-metrics', JOB, defineExportMetrics],
  ...(Object.keys(STEERING) as (keyof typeof STEERING)[]).map((verb): [Verb, ResourceType, Define] => [
    verb,
    JOB,
    (command) => defineSteering(command, verb),
  ]),
];

function buildProgram(): Command {
  const program = new Command('temper')
    .description('Fine-tune models on your own machines')
    .version(`temper ${TEMPER_VERSION}`, '--version', 'show the version')
    .option('-a, --account-id <id>', 'account to use (default: the one of the key)')
    .option('--api-key <key>', 'API key (default: TEMPER_API_KEY, then the stored one)')
    .option('--api-url <url>', 'address of the server (default: TEMPER_API_URL, then a running local stack)')
    .addOption(new Option('-o, --output <format>', 'how to print the result').choices(['text', 'json']).default('text'))
    .option('--quiet', 'print only the ID of the result, and no progress')
    .option('--dry-run', 'print the request instead of sending it')
    .configureHelp({ showGlobalOptions: true, subcommandTerm: (command) => command.name() })
    .addHelpText(
      'after',
      [
        '',
        'Examples:',
        '  temper create dataset intents.jsonl',
        '  temper create fine-tuning-job --settings-file settings.yaml --wait',
        '  temper list fine-tuning-jobs --filter \'state = "RUNNING"\'',
        '  temper download model my-model ./my-model',
      ].join('\n'),
    );

  for (const [verb, description] of Object.entries(VERBS)) {
    const group = program.command(verb).description(description);
    for (const [ofVerb, type, define] of ACTIONS) {
      if (ofVerb === verb) define(group.command(verb === 'list' ? pluralOf(type) : type.noun).aliases(namesOf(type, verb === 'list')));
    }
  }
  defineReproduce(program.command('reproduce'));
  defineCompare(program.command('compare'));
  defineAddVersion(program.command('add-version'));
  defineValidate(program.command('validate'));
  definePreview(program.command('preview'));
  defineWhoami(program.command('whoami'));
  defineSetApiKey(program.command('set-api-key'));
  defineSignIn(program.command('signin').alias('sign-in'));
  defineSignOut(program.command('signout').alias('sign-out'));
  defineVersion(program.command('version'));
  defineDoctor(program.command('doctor'));
  defineCompletion(program.command('completion'));
  defineComplete(program.command('complete', { hidden: true }), program, TYPES);
  for (const type of TYPES) {
    const group = program
      .command(type.noun, { hidden: true })
      .aliases(namesOf(type, false))
      .description(`Commands for ${pluralOf(type)}`);
    for (const [verb, ofType, define] of ACTIONS) if (ofType === type) define(group.command(verb));
  }
  return program;
}

/** The other names of a noun, beside the one it is listed under. */
function namesOf(type: ResourceType, plural: boolean): string[] {
  return [plural ? type.noun : pluralOf(type), ...type.aliases.filter((alias) => alias !== pluralOf(type))];
}

/** Every command ends here or in its own process.exit: an error becomes words and an exit code, never a stack. */
function end(error: unknown): never {
  if (error instanceof CommanderError) process.exit(error.exitCode === 0 ? 0 : 2);
  process.stderr.write(`${explain(error)}\n`);
  process.exit(exitCode(error));
}

process.on('uncaughtException', end);
process.on('unhandledRejection', end);
// `temper list … | head`: the reader has enough.
process.stdout.on('error', (error: NodeJS.ErrnoException) => (error.code === 'EPIPE' ? process.exit(0) : end(error)));

const program = buildProgram();
program.exitOverride();
const exitOnUsage = (command: Command): void =>
  command.commands.forEach((child) => exitOnUsage(child.exitOverride().showHelpAfterError('(add --help for the usage)')));
exitOnUsage(program);
await program.parseAsync().catch(end);

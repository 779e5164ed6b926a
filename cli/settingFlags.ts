/** The settings of a job as flags, and what a file and flags say together. */
import { InvalidArgumentError, Option, type Command } from 'commander';
import { UsageError } from './failures.js';
import { KINDS, kindOf, mergeSettings, SETTINGS, type JobSettings, type Kind, type Setting, type SettingValue } from './jobSettings.js';
import { impliedKind, readSettingsFile, readText } from './settingsFile.js';

export function addSettingFlags(command: Command, settings: readonly Setting[]): void {
  command
    .option('--settings-file <file>', 'YAML file with the settings; flags win over it')
    .addOption(new Option('--kind <kind>', 'what the job learns').choices(KINDS))
    .option('--conversation', 'the same as --kind conversation')
    .option('--jinja-template-file <file>', 'file with the chat template')
    .addOption(new Option('--conversation-template <template>', 'the same as --jinja-template').hideHelp());
  for (const setting of settings) addFlag(command, setting);
}

/** The settings of the file, if one is given, under those of the flags. */
export function gatherSettings(command: Command): JobSettings {
  const options = command.opts<Record<string, SettingValue | undefined>>();
  const flags: JobSettings = { values: new Map() };
  for (const { key, flag } of SETTINGS) {
    const value = options[optionName(flag)];
    if (value !== undefined) flags.values.set(key, { value, origin: value === false ? flag.replace('--', '--no-') : flag });
  }
  for (const [option, flag] of [
    ['jinjaTemplateFile', '--jinja-template-file'],
    ['conversationTemplate', '--conversation-template'],
  ] as const) {
    const given = options[option];
    if (given === undefined) continue;
    if (flags.values.has('jinja_template'))
      throw new UsageError(`the chat template is given twice: keep one of ${flags.values.get('jinja_template')!.origin} and ${flag}`);
    flags.values.set('jinja_template', { value: option === 'jinjaTemplateFile' ? readText(String(given)) : given, origin: flag });
  }
  const named = options.kind ? { name: options.kind as Kind, origin: '--kind' } : undefined;
  const conversation = options.conversation ? { name: 'conversation' as const, origin: '--conversation' } : undefined;
  if (named && conversation && named.name !== 'conversation')
    throw new UsageError(`--conversation and --kind ${named.name} contradict each other`);
  flags.kind = named ?? conversation ?? impliedKind(flags);
  for (const [key, { origin }] of flags.values) {
    const kind = kindOf(key);
    if (kind && kind !== flags.kind?.name)
      throw new UsageError(`${origin} is for ${kind}, and ${flags.kind?.origin} for ${flags.kind?.name}: a job has one kind`);
  }
  return options.settingsFile ? mergeSettings(readSettingsFile(String(options.settingsFile)), flags) : flags;
}

function addFlag(command: Command, { flag, type, help }: Setting): void {
  if (type === 'boolean') {
    command.option(flag, help).option(flag.replace('--', '--no-'), `no ${flag.slice(2)}`);
  } else if (type === 'text') {
    command.option(`${flag} <value>`, help);
  } else {
    command.option(`${flag} <number>`, help, (text) => readNumber(text, type));
  }
}

export function readNumber(text: string, type: 'number' | 'integer'): number {
  const value = /^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$/.test(text) ? Number(text) : NaN;
  if (type === 'integer' ? Number.isSafeInteger(value) : Number.isFinite(value)) return value;
  throw new InvalidArgumentError(type === 'integer' ? 'It must be a whole number.' : 'It must be a number.');
}

function optionName(flag: string): string {
  return flag.slice(2).replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

/**
 * `temper completion SHELL`: a script that completes verbs, nouns, options and names. The script knows no commands itself: it asks
 * `temper complete WORDS…`, which reads them off the program, so that completion can never lag behind.
 */
import type { Argument, Command, Option } from 'commander';
import { callApi, type Resource } from './client.js';
import { UsageError } from './failures.js';
import { idOf } from './format.js';
import { collectionPath, type ResourceType } from './resources.js';
import { openSession, print } from './session.js';

const SCRIPTS: Record<string, string> = {
  bash: `_temper() {
  local IFS=$'\\n'
  COMPREPLY=($(temper complete -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
  [ \${#COMPREPLY[@]} -eq 0 ] && compopt -o default
}
complete -F _temper temper`,
  zsh: `#compdef temper
_temper() {
  local -a found
  found=("\${(@f)$(temper complete -- "\${words[@]:1:$((CURRENT-1))}" 2>/dev/null)}")
  if [[ -n "$found" ]]; then compadd -a found; else _files; fi
}
compdef _temper temper`,
  fish: `function __temper_complete
  set -l words (commandline -opc) (commandline -ct)
  temper complete -- $words[2..-1] 2>/dev/null
end
complete -c temper -a '(__temper_complete)'`,
};
const NAMES_SHOWN = 100;

export function defineCompletion(command: Command): void {
  command
    .description('Print a script that completes commands and names in your shell')
    .argument('<shell>', Object.keys(SCRIPTS).join(', '))
    .addHelpText(
      'after',
      '\nExamples:\n  source <(temper completion bash)          in ~/.bashrc\n  temper completion zsh > ~/.zfunc/_temper\n  temper completion fish > ~/.config/fish/completions/temper.fish',
    )
    .action((shell: string) => {
      const script = SCRIPTS[shell];
      if (!script) throw new UsageError(`there is no completion for "${shell}": choose ${Object.keys(SCRIPTS).join(', ')}`);
      print(script);
    });
}

/** What the scripts call: one candidate a line. Nothing, rather than an error, when there is nothing to say. */
export function defineComplete(command: Command, program: Command, types: readonly ResourceType[]): void {
  command
    .argument('[words...]')
    .allowUnknownOption()
    .action(async (words: string[]) => {
      const { of, current, option } = walk(program, words);
      const candidates = option ? choicesOf(option) : [...subcommandsOf(of), ...(current.startsWith('-') ? optionsOf(of, program) : [])];
      if (!option && of.commands.length === 0 && !current.startsWith('-')) candidates.push(...(await namesFor(command, of, types)));
      for (const candidate of candidates) if (candidate.startsWith(current)) print(candidate);
    });
}

/** The command that the finished words lead to, the word that is being typed, and the option that it belongs to, if one waits for a value. */
function walk(program: Command, words: string[]): { of: Command; current: string; option?: Option } {
  let of = program;
  let option: Option | undefined;
  for (const word of words.slice(0, -1)) {
    if (option) option = undefined;
    else if (word.startsWith('-')) {
      const found = [...of.options, ...program.options].find(({ long, short }) => word === long || word === short);
      option = found?.required && !word.includes('=') ? found : undefined;
    } else of = of.commands.find((child) => child.name() === word || child.aliases().includes(word)) ?? of;
  }
  return { of, current: words.at(-1) ?? '', option };
}

function subcommandsOf(command: Command): string[] {
  const hidden = (child: Command) => (child as unknown as { _hidden?: boolean })._hidden;
  return command.commands.filter((child) => !hidden(child)).map((child) => child.name());
}

function optionsOf(command: Command, program: Command): string[] {
  return [...command.options, ...(command === program ? [] : program.options)].map(({ long, short }) => long ?? short ?? '');
}

function choicesOf(option: Option): string[] {
  return option.argChoices ?? [];
}

/** IDs of the resources that the command takes, when a server is near. */
async function namesFor(completing: Command, of: Command, types: readonly ResourceType[]): Promise<string[]> {
  const takesName = (of.registeredArguments as readonly Argument[])[0]?.name() === 'name';
  const nouns = [of.name(), of.parent?.name() ?? ''];
  const type = types.find(({ noun }) => nouns.includes(noun));
  if (!takesName || !type) return [];
  try {
    const session = openSession(completing);
    const path = `${await collectionPath(session, type)}?pageSize=${NAMES_SHOWN}`;
    const page = await callApi<Record<string, Resource[]>>(session.connection, { method: 'GET', path });
    return (page[type.collection] ?? []).map((item) => idOf(item.name));
  } catch {
    return [];
  }
}

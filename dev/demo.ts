/**
 * `npm run demo`: the whole of Temper on real data, as a user would drive it. Every step is a `temper` command, printed before
 * it runs; three jobs of the three kinds, one of them QLoRA. Ends with what was reached, and fails if any of it did not happen.
 */
import { spawn } from 'node:child_process';
import { rm } from 'node:fs/promises';
import path from 'node:path';
import { callApi, type Connection, type Resource } from '../cli/client.js';
import { prepare } from './prepare.js';
import { homeFolder, rootFolder, startStack, type Stack } from './stack.js';

interface DemoJob {
  title: string;
  dataset: string;
  file: string;
  settings: string;
}

const JOBS: DemoJob[] = [
  {
    title: 'Text classification (150 intents), LoRA',
    dataset: 'clinc150',
    file: 'examples/clinc150.jsonl',
    settings: 'examples/classification.yaml',
  },
  { title: 'Text completion, LoRA', dataset: 'alpaca', file: 'examples/alpaca.jsonl', settings: 'examples/completion.yaml' },
  { title: 'Conversation, QLoRA', dataset: 'chat', file: 'examples/chat.jsonl', settings: 'examples/conversation.yaml' },
];

/** What the demo promises of the first job: accuracy on rows that neither pretraining nor training saw. */
const ACCURACY_GAIN = 3;

/** What a user's own program does with the download: plain transformers and PEFT, in a process of its own. */
const ASK_WITH_PEFT = `
import logging, sys
logging.disable()
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
base, adapter, *requests = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(adapter)
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter).eval()
for request in requests:
    answer = model.generate(**tokenizer(request + chr(10), return_tensors="pt"), max_new_tokens=12, do_sample=False)
    print(f"  {request} -> {tokenizer.decode(answer[0], skip_special_tokens=True)[len(request):].strip()}")
`;

interface JobSummary {
  title: string;
  name: string;
  model: string;
  metric: string;
  base: number;
  tuned: number;
  examples: number;
  seconds: { total: number; trainer: number; stages: Record<string, number> };
}

const startedAt = performance.now();
const progress = (line: string) => console.log(line);

let stack: Stack | null = null;
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => void stopAndExit(130));

try {
  const { baseModel } = await prepare(progress);
  stack = await startStack({ home: homeFolder(), progress, baseModel });
  await demonstrate(stack, baseModel);
  await stopAndExit(0);
} catch (error) {
  console.error(`\nThe demo failed: ${error instanceof Error ? error.message : String(error)}`);
  console.error(`The logs are in ${path.join(homeFolder(), 'logs')}.`);
  await stopAndExit(1);
}

async function stopAndExit(code: number): Promise<void> {
  await stack?.stop();
  process.exit(code);
}

async function demonstrate(running: Stack, baseModel: string): Promise<void> {
  const dev = running.dev();
  const connection: Connection = { apiUrl: dev.apiUrl, apiKey: dev.apiKey, accountId: dev.accountId } as Connection;
  const readyAt = performance.now();
  console.log(`\nTemper runs at ${dev.apiUrl}; its jobs can be watched in the Temporal UI at ${dev.temporalUiUrl}\n`);

  const summaries: JobSummary[] = [];
  // A new name a run: datasets and models are immutable.
  const run = Date.now().toString(36);
  for (const job of JOBS) {
    const id = `${job.dataset}-${run}`;
    console.log(`── ${job.title} ${'─'.repeat(Math.max(0, 100 - job.title.length))}`);
    await temper('create', 'dataset', job.file, '--dataset-id', id);
    await temper('create', 'fine-tuning-job', '--settings-file', job.settings, '--dataset', id, '--job-id', id, '--model-id', id, '--wait');
    summaries.push(await summarise(connection, job, id));
    console.log('');
  }

  const folder = path.join(running.home, 'demo', summaries[0]!.model);
  await rm(folder, { recursive: true, force: true });
  await temper('download', 'model', summaries[0]!.model, folder);
  await askWithPeft(baseModel, folder);

  printSummaries(summaries);
  console.log(`\nThe adapter of the first job lies in ${folder}`);
  console.log(`Set-up took ${seconds((readyAt - startedAt) / 1000)}, everything ${seconds((performance.now() - startedAt) / 1000)}.`);
  console.log(`
Next:
  npm run dev                                    keep the stack running
  npx temper list models                         what the demo made
  npx temper get fine-tuning-job ${summaries[0]!.name.split('/').at(-1)}
  npx temper create fine-tuning-job --settings-file examples/classification.yaml --dataset ${summaries[0]!.model} --wait`);

  const [first] = summaries;
  if (!(first!.tuned >= ACCURACY_GAIN * first!.base)) {
    throw new Error(`tuning took the accuracy from ${first!.base} to ${first!.tuned}: less than ${ACCURACY_GAIN} times`);
  }
  for (const other of summaries.slice(1))
    if (!(other.tuned < other.base)) throw new Error(`tuning did not lower the perplexity of "${other.title}"`);
}

/** Runs the command line as a user would, in the repository. */
async function temper(...args: string[]): Promise<void> {
  console.log(`$ npx temper ${args.map((arg) => (/[\s"']/.test(arg) ? JSON.stringify(arg) : arg)).join(' ')}`);
  const dev = stack!.dev();
  const environment = { ...process.env, TEMPER_API_URL: dev.apiUrl, TEMPER_API_KEY: dev.apiKey, TEMPER_ACCOUNT_ID: dev.accountId };
  await execute(process.execPath, [path.join(rootFolder, 'cli', 'bin.js'), ...args], environment, `temper ${args[0]} ${args[1]}`);
}

function execute(command: string, args: string[], environment: NodeJS.ProcessEnv, name: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: rootFolder, env: environment, stdio: ['ignore', 'inherit', 'inherit'] });
    child.on('error', reject);
    child.on('exit', (code) => (code === 0 ? resolve() : reject(new Error(`\`${name}\` ended with exit code ${code}`))));
  });
}

async function askWithPeft(baseModel: string, adapter: string): Promise<void> {
  console.log('\nPlain PEFT loads it and answers:');
  const requests = [
    'can you tell me how to say good morning in spanish',
    'how much money do i have in my account',
    'please set an alarm for seven',
  ];
  const quiet = { HF_HUB_OFFLINE: '1', HF_HUB_DISABLE_PROGRESS_BARS: '1', TRANSFORMERS_VERBOSITY: 'error', PYTHONWARNINGS: 'ignore' };
  const python = stack!.environment['TEMPER_PYTHON']!;
  await execute(
    python,
    ['-c', ASK_WITH_PEFT, baseModel, adapter, ...requests],
    { ...process.env, ...quiet },
    'loading the adapter with PEFT',
  );
}

async function summarise(connection: Connection, job: DemoJob, id: string): Promise<JobSummary> {
  const base = `/v1/accounts/${connection.accountId}/fineTuningJobs/${id}`;
  const resource = await callApi<
    Resource & {
      state: string;
      evaluationResult?: { metric: string; base: number; tuned: number; examples: number };
      progress?: { trainerSeconds?: number };
    }
  >(connection, { method: 'GET', path: base });
  if (resource.state !== 'COMPLETED') throw new Error(`the job ${id} is ${resource.state}`);
  const { events } = await callApi<{ events: { time: string; type: string; state?: string; data?: { stage?: string } }[] }>(connection, {
    method: 'GET',
    path: `${base}:listEvents?pageSize=200`,
  });
  const changes = events.filter((event) => event.type === 'state' || event.type === 'stage');
  const stages: Record<string, number> = {};
  changes.forEach((event, index) => {
    const next = changes[index + 1];
    if (!next) return;
    const stage = event.data?.stage ?? 'created';
    stages[stage] = (stages[stage] ?? 0) + (Date.parse(next.time) - Date.parse(event.time)) / 1000;
  });
  const total = (Date.parse(changes.at(-1)!.time) - Date.parse(changes[0]!.time)) / 1000;
  const evaluation = resource.evaluationResult;
  if (!evaluation) throw new Error(`the job ${id} has no evaluation`);
  return {
    title: job.title,
    name: String(resource['name']),
    model: id,
    ...evaluation,
    seconds: { total, trainer: resource.progress?.trainerSeconds ?? 0, stages },
  };
}

function printSummaries(summaries: JobSummary[]): void {
  console.log('\nHeld-out examples, base model and tuned model side by side\n');
  const rows = summaries.map(({ title, metric, base, tuned, examples, seconds: time }) => [
    title,
    metric,
    String(examples),
    format(metric, base),
    format(metric, tuned),
    seconds(time.total),
    seconds(time.trainer),
    seconds(time.total - time.trainer),
  ]);
  printTable([['job', 'metric', 'examples', 'base', 'tuned', 'total', 'trainer', 'overhead'], ...rows]);
  console.log("\nSeconds by stage; overhead is everything from POST to COMPLETED less the running time of the trainer's own processes\n");
  const names = [...new Set(summaries.flatMap((summary) => Object.keys(summary.seconds.stages)))];
  printTable([
    ['job', ...names],
    ...summaries.map(({ title, seconds: { stages } }) => [title, ...names.map((name) => (stages[name] ?? 0).toFixed(1))]),
  ]);
}

function printTable(rows: string[][]): void {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  for (const row of rows)
    console.log(
      `  ${row.map((cell, column) => (column === 0 ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!))).join('  ')}`,
    );
}

function format(metric: string, value: number): string {
  return metric === 'accuracy' ? `${(value * 100).toFixed(1)} %` : value.toFixed(2);
}

function seconds(value: number): string {
  return `${value.toFixed(1)} s`;
}

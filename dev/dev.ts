/** `npm run dev`: the stack in the foreground, until Ctrl-C. What it stores survives in TEMPER_HOME. */
import { prepare } from './prepare.js';
import { homeFolder, startStack, type Stack } from './stack.js';

const progress = (line: string) => console.log(line);
let stack: Stack | undefined;
let stopping = false;

// Both may come twice for one Ctrl-C: from the terminal and from npm.
process.on('SIGINT', () => void stop());
process.on('SIGTERM', () => void stop());
process.on('SIGHUP', () => void stop());

try {
  const { baseModel } = await prepare(progress);
  stack = await startStack({ home: homeFolder(), progress, baseModel });
  printPlaces(stack);
} catch (error) {
  console.error((error as Error).message);
  process.exit(1);
}

async function stop(): Promise<void> {
  if (stopping) return;
  stopping = true;
  // Still starting: what was started ends with this process, and all of it can bear that at any moment.
  if (!stack) process.exit(130);
  console.log('\nStopping…');
  await stack.stop();
  console.log('Stopped. The data is kept; `npm run dev` goes on from here.');
  process.exit(0);
}

function printPlaces(running: Stack): void {
  const dev = running.dev();
  console.log(`
Temper is running.

  API           ${dev.apiUrl}        key ${dev.apiKey}
  Temporal UI   ${dev.temporalUiUrl || '(not known: set TEMPORAL_UI_URL)'}
  S3            ${dev.s3Endpoint}  bucket ${dev.s3Bucket}
  Postgres      ${dev.databaseUrl}
  Home, logs    ${running.home}

Next, in another terminal:

  npx temper whoami
  npx temper create dataset intents examples/clinc150.jsonl
  curl -H "Authorization: Bearer ${dev.apiKey}" ${dev.apiUrl}/v1/accounts/${dev.accountId}

Ctrl-C stops everything; the data stays.
`);
}

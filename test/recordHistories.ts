/**
 * Records what the running stack's workflows went through, for test/replay.test.ts. Run at a release, with `npm run dev` running:
 *
 *   node --import tsx test/recordHistories.ts RELEASE CASE=WORKFLOW_ID …
 *
 * The workflow's type comes from its history. Payloads stay as they are: they hold names and hashes, never data or secrets.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Client, Connection } from '@temporalio/client';
import { historyToJSON } from '@temporalio/common/lib/proto-utils.js';
import { homeFolder, type DevFile } from '../dev/stack.js';

const [release, ...wanted] = process.argv.slice(2);
if (!release || wanted.length === 0) throw new Error('usage: recordHistories.ts RELEASE CASE=WORKFLOW_ID …');
const dev = JSON.parse(readFileSync(path.join(homeFolder(), 'dev.json'), 'utf8')) as DevFile;
const connection = await Connection.connect({ address: dev.temporalAddress });
const client = new Client({ connection, namespace: dev.temporalNamespace });
for (const pair of wanted) {
  const [name, workflowId] = pair.split('=') as [string, string];
  const handle = client.workflow.getHandle(workflowId);
  const { type } = await handle.describe();
  const folder = fileURLToPath(new URL(`./histories/${type}/`, import.meta.url));
  mkdirSync(folder, { recursive: true });
  writeFileSync(`${folder}${release}-${name}.json`, `${historyToJSON(await handle.fetchHistory())}\n`);
  console.log(`${type}/${release}-${name}.json`);
}
await connection.close();

// The whole road with OpenAI's own client: node finetune.mjs ROWS.jsonl
// Only OPENAI_BASE_URL (…/v1) and OPENAI_API_KEY say that it is Temper that answers.
import { createReadStream } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import OpenAI from 'openai';

const client = new OpenAI();
const file = await client.files.create({ file: createReadStream(process.argv[2]), purpose: 'fine-tune' });
let job = await client.fineTuning.jobs.create({
  model: 'temper-tiny',
  training_file: file.id,
  suffix: 'support-bot',
  method: { type: 'supervised', supervised: { hyperparameters: { n_epochs: 1 } } },
});
while (['validating_files', 'queued', 'running'].includes(job.status)) {
  await sleep(500);
  job = await client.fineTuning.jobs.retrieve(job.id);
}
console.log(job.status, job.fine_tuned_model ?? job.error);
for (const id of job.result_files) console.log(await (await client.files.content(id)).text());

/** The retry policy that users read is the one in force, and it names every activity. */
import { readFileSync } from 'node:fs';
import type { ActivityOptions } from '@temporalio/workflow';
import { expect, it } from 'vitest';
import { makeCheckJob } from '../../../activities/checkJob.js';
import { makeClaimRun } from '../../../activities/claimRun.js';
import { makeCleanUp } from '../../../activities/cleanup.js';
import { makeDeliverWebhook } from '../../../activities/deliverWebhook.js';
import { makeEvaluate } from '../../../activities/evaluate.js';
import { makeExportData, makeMergeModel } from '../../../activities/exportModel.js';
import { makeImportModel } from '../../../activities/importModel.js';
import { makeJanitor } from '../../../activities/janitor.js';
import { makeRecords } from '../../../activities/records.js';
import { makeRegister } from '../../../activities/register.js';
import { makeRender } from '../../../activities/render.js';
import { makeRetraining } from '../../../activities/retraining.js';
import { makeRetrainingData } from '../../../activities/retrainingData.js';
import { makeRetrainingJobs } from '../../../activities/retrainingJobs.js';
import { makeTrain } from '../../../activities/train.js';
import { makeValidate } from '../../../activities/validate.js';
import { makeValidateModel } from '../../../activities/validateModel.js';
import { makeVerify } from '../../../activities/verify.js';
import {
  CLEANUP,
  DELIVER,
  DELIVER_REPORT,
  EVALUATE,
  EXPORT,
  RECORD,
  REPORT,
  STREAM,
  TRAIN,
  TURN,
} from '../../../workflows/activityOptions.js';

const none = {} as never;
const namesOf = (...made: object[]) => made.flatMap((activities) => Object.keys(activities));
const records = namesOf(makeRecords(none), makeRetraining(none), makeDeliverWebhook(none)).filter((name) => name !== 'deliverWebhook');
const { abandonExport, ...exporting } = makeExportData(none);
const data = namesOf(
  { abandonExport },
  makeCheckJob(none),
  makeImportModel(none),
  makeJanitor(none),
  makeRegister(none),
  makeRender(none),
  makeRetrainingData(none),
  makeRetrainingJobs(none),
  makeValidate(none),
  makeValidateModel(none),
);

const POLICY: [activities: string[], options: ActivityOptions][] = [
  [records, RECORD],
  [namesOf(makeClaimRun(none)), TURN],
  [data, STREAM],
  [namesOf(exporting), EXPORT],
  [namesOf(makeCleanUp(none)), CLEANUP],
  [namesOf(makeTrain(none)), TRAIN],
  [namesOf(makeEvaluate(none), makeMergeModel(none), makeVerify(none)), EVALUATE],
  [['deliverReport'], DELIVER_REPORT],
  [['report'], REPORT],
  [['deliverWebhook'], DELIVER],
];

function describePolicy([activities, options]: (typeof POLICY)[number]): string {
  const { startToCloseTimeout, heartbeatTimeout = '', scheduleToCloseTimeout, retry } = options;
  const { initialInterval, maximumInterval, maximumAttempts, backoffCoefficient = 2 } = retry!;
  const again = maximumAttempts === 1 ? 'by the workflow' : `${initialInterval}, ×${backoffCoefficient} to ${maximumInterval}`;
  const end = maximumAttempts === 1 ? 'see below' : maximumAttempts ? `${maximumAttempts} attempts` : (scheduleToCloseTimeout ?? 'never');
  const names = activities
    .toSorted()
    .map((name) => `\`${name}\``)
    .join(', ');
  return `| ${[names, startToCloseTimeout, heartbeatTimeout, again, end].join(' | ')} |`.replaceAll('|  |', '| |');
}

it('docs/faults.md has the retry policy of every activity', () => {
  const document = readFileSync(new URL('../../../docs/faults.md', import.meta.url), 'utf8');
  const written = document.split('\n').filter((line) => /^\| `/.test(line));
  expect(written).toEqual(POLICY.map(describePolicy));
});

/** What a run of retraining writes down, and the move of its alias. Each is idempotent: a repeat finds what the first one wrote. */
import { randomUUID } from 'node:crypto';
import { expandJobs, runJobId } from '../jobs/expandJobs.js';
import { resolveModelName } from '../jobs/modelNames.js';
import { runIdOf, runName } from '../jobs/retrainingRun.js';
import { TemperError } from '../schemas/errors.js';
import { DEFAULT_APPROVAL_TIMEOUT_SECONDS } from '../schemas/limits.js';
import { parseName, resourceName } from '../schemas/names.js';
import type { RetrainingRecordActivities, RunJobResult, RunPlan } from '../schemas/retraining.js';
import { moveAlias } from '../stores/aliases.js';
import type { Database } from '../stores/database.js';
import { findJob } from '../stores/jobs.js';
import { findModel } from '../stores/models.js';
import { forgetParts, insertRun, pruneSkippedRuns, recordRunJob, recordRunState, type RunRecord } from '../stores/retrainingRuns.js';
import { findScheduleByUid } from '../stores/schedules.js';
import { deleteSecret } from '../stores/secrets.js';
import { requireRun } from './retrainingData.js';
import { wandbSecretId } from './retrainingJobs.js';

export function makeRetraining({ database }: { database: Database }): RetrainingRecordActivities {
  return {
    async beginRun({ accountId, scheduleUid, runUid, workflowId }) {
      if (!scheduleUid) return plan(await requireRun(database, runUid!));
      const schedule = await findScheduleByUid(database, scheduleUid);
      if (!schedule || schedule.deleting) throw new TemperError('RESOURCE_NOT_FOUND', 'The schedule was deleted.');
      const run = await insertRun(database, {
        uid: randomUUID(),
        accountId,
        id: runIdOf(schedule.id, workflowId),
        scheduleUid,
        scheduleId: schedule.id,
        displayName: schedule.display_name,
        retraining: schedule.retraining,
        requestHash: null,
        workflowId,
        workflowStarted: true,
        createdBy: schedule.created_by,
      });
      return plan(run);
    },

    async readRunJob({ runUid, index, failure }) {
      const run = await requireRun(database, runUid);
      const id = runJobId(run.id, index, expandJobs(run.retraining).length);
      const job = await findJob(database, run.account_id, id);
      const result: RunJobResult = {
        index,
        id,
        uid: job?.uid ?? null,
        model: resourceName(run.account_id, 'models', job?.model_id ?? id),
        baseModel: job?.base_model ?? null,
        state: job?.state ?? (failure ? 'FAILED' : 'DELETED'),
        evaluation: job?.evaluation ?? null,
      };
      const cause = job?.failure ?? failure;
      if (cause) result.failure = cause;
      await recordRunJob(database, runUid, result);
      return result;
    },

    async readAlias({ runUid }) {
      const { account_id: accountId, retraining } = await requireRun(database, runUid);
      const name = await resolveModelName(database, accountId, retraining.promotion!.alias);
      const parsed = parseName(name, 'models', accountId);
      const model = parsed ? await findModel(database, accountId, parsed.id) : undefined;
      return model?.state === 'READY' && model.base_model ? { model: name, baseModel: model.base_model } : null;
    },

    recordPromotion: ({ runUid, outcome, state, reason }) => recordRunState(database, runUid, state, reason, { promotion: outcome }),

    async promote({ runUid, model, expected, reason, by }) {
      const run = await requireRun(database, runUid);
      const id = (name: string) => name.slice(name.lastIndexOf('/') + 1);
      const moved = await moveAlias(database, {
        accountId: run.account_id,
        id: run.retraining.promotion!.alias,
        modelId: id(model),
        kind: 'PROMOTION',
        key: `run/${run.uid}`,
        by,
        reason,
        // An alias that pointed at nothing usable may be moved from wherever it is.
        expected: expected === null ? undefined : id(expected),
      });
      return moved !== null;
    },

    async endRun({ runUid, state, reason, failure }) {
      const run = await requireRun(database, runUid);
      await recordRunState(database, runUid, state, reason, { failure });
      // Only where later runs ask which objects are new, and only of those that were trained on.
      if (run.retraining.data.s3Import?.objects !== 'NEW' || state !== 'COMPLETED') await forgetParts(database, runUid);
      if (run.schedule_uid && state === 'SKIPPED') await pruneSkippedRuns(database, run.schedule_uid);
      if (!run.schedule_uid) await deleteSecret(database, run.account_id, wandbSecretId(run.uid));
    },
  };
}

function plan(run: RunRecord): RunPlan {
  const { promotion, maxConcurrentJobs } = run.retraining;
  return {
    uid: run.uid,
    id: run.id,
    name: runName(run),
    jobs: expandJobs(run.retraining).length,
    maxConcurrentJobs: maxConcurrentJobs ?? 1,
    promotion: promotion
      ? {
          alias: promotion.alias,
          minImprovement: promotion.minImprovement ?? 0,
          approval: promotion.approval === 'MANUAL' ? 'MANUAL' : 'AUTOMATIC',
          approvalTimeoutMs: 1000 * Number.parseInt(promotion.approvalTimeout ?? `${DEFAULT_APPROVAL_TIMEOUT_SECONDS}s`, 10),
        }
      : null,
  };
}

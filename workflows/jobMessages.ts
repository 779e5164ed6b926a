/** What a job's workflow is asked, by the API, by an operator in the Temporal UI or by a GPU worker: each refused where it makes no sense now. */
import { ApplicationFailure, CancellationScope, condition, currentUpdateInfo, setHandler } from '@temporalio/workflow';
import type { JobState } from '../schemas/states.js';
import { recordActivities } from './activityOptions.js';
import { failureOf } from './failures.js';
import type { Job } from './job.js';
import {
  approveUpdate,
  asker,
  cancelSignal,
  cancelUpdate,
  deleteUpdate,
  extendUpdate,
  milestoneSignal,
  pauseSignal,
  pauseUpdate,
  progressQuery,
  rejectUpdate,
  resumeSignal,
  resumeUpdate,
  setPriorityUpdate,
  stepAsideUpdate,
  turnSignal,
} from './messages.js';

/** How long an update's caller waits for the state it asked for; the wish stands in any case. */
const SETTLE_TIMEOUT = '20s';

export function handleMessages(job: Job): void {
  const settled = async (reached: () => boolean): Promise<JobState> => {
    await condition(() => reached() || job.terminal, SETTLE_TIMEOUT);
    await job.written();
    return job.state;
  };
  const refuse = (message: string): never => {
    throw ApplicationFailure.nonRetryable(message, 'ILLEGAL_STATE');
  };
  const refuseOnceOver = (done: string) => {
    if (job.overdue) refuse('The deadline of the job has come: training is ending.');
    if (job.state === 'WRITING_RESULTS' || job.stage === 'evaluating') refuse(`Training is over: there is nothing left to be ${done}.`);
  };
  const refuseIfOver = (verb: string) => {
    if (job.terminal || job.state === 'DELETING') refuse(`The job is ${job.state}: it cannot be ${verb} any more.`);
    if (job.ending) refuse(`The job is being cancelled: it cannot be ${verb}.`);
  };

  const checkPause = () => {
    refuseIfOver('paused');
    refuseOnceOver('paused');
  };
  const checkResume = () => {
    refuseIfOver('resumed');
    if (job.wish !== 'pause') refuse(`The job is ${job.state}, not paused.`);
  };

  setHandler(progressQuery, () => job.progress());
  setHandler(milestoneSignal, async (milestone) => {
    if (milestone.attempt !== job.attempt) return;
    job.reached(milestone);
    if (milestone.kind === 'began' && (job.state === 'PENDING' || job.state === 'RE_QUEUEING'))
      await job.move(
        job.state,
        'starting',
        `Attempt ${milestone.attempt} began on ${milestone.worker}${milestone.resumedFrom ? `, from the checkpoint of step ${milestone.step}` : ''}.`,
      );
    if (milestone.kind === 'firstStep' && (job.state === 'PENDING' || job.state === 'RE_QUEUEING'))
      await job.move('RUNNING', 'training', `Training: step ${milestone.step} of ${milestone.totalSteps}.`);
  });
  setHandler(turnSignal, () => job.callToTurn());
  setHandler(
    pauseUpdate,
    (request) => {
      job.wishFor('pause', asker(request));
      return settled(() => job.state === 'PAUSED');
    },
    { validator: (_request) => checkPause() },
  );
  setHandler(
    resumeUpdate,
    async (request) => {
      if (job.state === 'FAILED') {
        job.leave();
        return job.state;
      }
      job.resumeBy(asker(request));
      return settled(() => job.state !== 'PAUSED');
    },
    {
      validator: (_request) => {
        if (job.state === 'FAILED' && !job.ending) return;
        checkResume();
      },
    },
  );
  setHandler(
    cancelUpdate,
    (request) => {
      job.wishFor('cancel', asker(request));
      return settled(() => job.state === 'CANCELLING');
    },
    { validator: (_request) => refuseIfOver('cancelled') },
  );
  // A signal asks for the same, and has no answer: where an update would be refused it changes nothing.
  const asSignal = (check: () => void, act: (by: string) => void) => (request?: { by?: string } | null) => {
    try {
      check();
    } catch {
      return;
    }
    act(asker(request));
  };
  setHandler(
    pauseSignal,
    asSignal(checkPause, (by) => job.wishFor('pause', by)),
  );
  setHandler(
    resumeSignal,
    asSignal(checkResume, (by) => job.resumeBy(by)),
  );
  setHandler(
    cancelSignal,
    asSignal(
      () => refuseIfOver('cancelled'),
      (by) => job.wishFor('cancel', by),
    ),
  );
  const awaitsDecision = () => {
    refuseIfOver('decided on');
    if (job.stage !== 'approval' || job.approval) refuse(`The job is ${job.state} and waits for no approval.`);
  };
  setHandler(
    approveUpdate,
    async (request) => {
      job.approval = { by: asker(request), note: request?.note ?? '' };
      await settled(() => job.state !== 'PAUSED');
      return 'approved';
    },
    { validator: (_request) => awaitsDecision() },
  );
  setHandler(
    rejectUpdate,
    async (request) => {
      job.wishFor('cancel', `${asker(request)}, who rejected it${request?.note ? ` (${request.note})` : ''}`);
      await settled(() => job.state === 'CANCELLING');
      return 'rejected';
    },
    { validator: (_request) => awaitsDecision() },
  );
  setHandler(
    extendUpdate,
    async (request) => {
      const { epochs, deadline, maxGpuSeconds } = request;
      const by = asker(request);
      const { uid } = job.input;
      const { id } = currentUpdateInfo()!;
      try {
        const length = await CancellationScope.nonCancellable(() =>
          recordActivities('extend').extendJob({ uid, id, epochs, deadline, maxGpuSeconds, by }),
        );
        job.deadline = length.deadline;
        return length;
      } catch (error) {
        const { code, message } = failureOf(error);
        throw ApplicationFailure.nonRetryable(message, code);
      }
    },
    {
      validator: (request) => {
        const { epochs, deadline, maxGpuSeconds } = request ?? {};
        refuseIfOver('extended');
        refuseOnceOver('extended');
        if (epochs === undefined && deadline === undefined && maxGpuSeconds === undefined)
          refuse('Say what to change: epochs, deadline or maxGpuSeconds.');
        if (epochs !== undefined && !(Number.isFinite(epochs) && epochs > 0)) refuse('epochs must be a number above 0.');
        if (deadline !== undefined && deadline !== null && !(Date.parse(deadline) > Date.now()))
          refuse('deadline must be a time to come, such as 2027-01-31T18:00:00Z, or null for none.');
        if (maxGpuSeconds !== undefined && maxGpuSeconds !== null && !(Number.isInteger(maxGpuSeconds) && maxGpuSeconds > 0))
          refuse('maxGpuSeconds must be a whole number above 0, or null for no limit.');
      },
    },
  );
  setHandler(
    stepAsideUpdate,
    (request) => {
      job.stepAside(request?.for ?? 'an operator');
      return settled(() => job.state === 'RE_QUEUEING');
    },
    {
      validator: (_request) => {
        refuseIfOver('preempted');
        if (!job.interruptibleByOthers) refuse('Only a job that trains can step aside.');
      },
    },
  );
  setHandler(deleteUpdate, (request) => {
    job.wishFor('delete', asker(request));
    return settled(() => job.state === 'CANCELLING' || job.state === 'DELETING');
  });
  setHandler(
    setPriorityUpdate,
    ({ priority }) => {
      job.priority = priority;
      return priority;
    },
    {
      validator: (request) => {
        const { priority } = request ?? {};
        refuseIfOver('moved in the queue');
        if (!Number.isInteger(priority) || priority < 1 || priority > 5) refuse('priority must be a whole number from 1 (first) to 5.');
      },
    },
  );
}

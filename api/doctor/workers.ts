/** The workers' own rows: versions, disks, clocks, GPUs, the trainer's environment; and the base models that jobs need. */
import { BASE_MODELS } from '../../schemas/baseModels.js';
import type { Check } from '../../schemas/doctor.js';
import { TEMPER_VERSION } from '../../schemas/version.js';
import { isSilent, listWorkers, type LivingWorker } from '../../stores/workers.js';
import { hasModelFile } from '../../stores/modelFiles.js';
import type { ApiDependencies } from '../server.js';
import { checkClock, checkDisk, problem } from './stores.js';

export async function checkWorkers({ database }: ApiDependencies): Promise<Check[]> {
  const workers = await listWorkers(database);
  return workers.flatMap((worker) => checkWorker(worker));
}

function checkWorker(worker: LivingWorker): Check[] {
  const { identity, kind, version, report } = worker;
  const name = (what: string) => `${kind} ${identity} ${what}`;
  if (isSilent(worker)) {
    const message = `Not heard of for ${Math.round(worker.silentSeconds)} s.`;
    return [
      problem(
        'WARNING',
        'worker',
        name('alive'),
        message,
        'It was killed or cut off: its work goes to the others. Start it again if it is missed.',
      ),
    ];
  }
  const { slots, busy } = report;
  const alive: Check = {
    component: 'worker',
    name: name('alive'),
    state: 'OK',
    message: `Polls ${report.queue}; ${busy} of ${slots} slots are busy.`,
  };
  const versions: Check =
    version === TEMPER_VERSION
      ? { component: 'worker', name: name('version'), state: 'OK', message: `Temper ${version}, Node ${report.node}.` }
      : problem(
          'WARNING',
          'worker',
          name('version'),
          `Temper ${version}, the API is ${TEMPER_VERSION}.`,
          'Of use while a new version rolls out; else bring it up to date.',
        );
  return [
    alive,
    versions,
    checkDisk('worker', name('disk'), { free: report.diskFreeBytes, of: report.diskBytes }),
    checkClock('worker', name('clock'), worker.clock_offset_ms),
    ...(report.trainer ? checkTrainer(name, report.trainer) : []),
  ];
}

function checkTrainer(name: (what: string) => string, { versions, error, gpus }: NonNullable<LivingWorker['report']['trainer']>): Check[] {
  const { python, torch, transformers, peft } = versions;
  const environment: Check = error
    ? problem(
        'FAILED',
        'worker',
        name('trainer'),
        `The trainer's environment does not work: ${error}`,
        'Run `uv sync --locked` in trainer/, and set TEMPER_PYTHON to its interpreter.',
      )
    : {
        component: 'worker',
        name: name('trainer'),
        state: 'OK',
        message: `Python ${python}, torch ${torch}, transformers ${transformers}, peft ${peft}.`,
      };
  if (gpus.length === 0) {
    const message = 'No GPU: it trains on its CPUs, small models only.';
    return [environment, { component: 'worker', name: name('gpu'), state: 'OK', message }];
  }
  const listed = gpus.map((gpu) => `${gpu.name} (${(gpu.memoryBytes / 1e9).toFixed(0)} GB, driver ${gpu.driver})`).join(', ');
  if (torch?.includes('+cpu'))
    return [
      environment,
      problem(
        'FAILED',
        'worker',
        name('gpu'),
        `${listed}, but torch ${torch} cannot use it.`,
        'Install the trainer’s environment on this machine itself, with `uv sync --locked`.',
      ),
    ];
  return [environment, { component: 'worker', name: name('gpu'), state: 'OK', message: listed }];
}

/** Models whose files the deployment itself keeps must be there; those of the hub are brought when a job needs them. */
export async function checkBaseModels({ objects, database }: ApiDependencies): Promise<Check[]> {
  const cached = new Set((await listWorkers(database)).flatMap(({ report }) => report.models.map((model) => model.replace(/@.*/, ''))));
  const checks = await Promise.all(
    BASE_MODELS.map(async ({ name, source }): Promise<Check | null> => {
      if (!('prefix' in source)) return null;
      if (await hasModelFile(source, 'config.json', objects))
        return { component: 'baseModel', name, state: 'OK', message: 'Its files are in the object store.' };
      return problem(
        'WARNING',
        'baseModel',
        name,
        'Its files are not in the object store.',
        'Put them there, or take it out of TEMPER_BASE_MODELS: jobs on it fail.',
      );
    }),
  );
  const hub = BASE_MODELS.filter(({ source }) => 'hub' in source);
  const here = hub.filter(({ name }) => cached.has(name.slice(name.lastIndexOf('/') + 1)));
  const message = `${hub.length} models of the hub; ${here.length} of them are on the disk of a worker, the others are brought when a job needs them.`;
  return [...checks.filter((check) => check !== null), { component: 'baseModel', name: 'catalogue', state: 'OK', message }];
}

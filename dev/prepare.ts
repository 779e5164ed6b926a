/** All the set-up that a fresh clone needs after npm's packages: the servers' programs, the Python environments, the small base model. */
import { ensureBaseModel } from './baseModel.js';
import { ensureTemporal, ensureVersitygw } from './binaries.js';
import type { Progress } from './progress.js';
import { ensurePython, ensureReporterPython } from './python.js';
import { homeFolder } from './stack.js';

export interface Prepared {
  /** The trainer's interpreter. */
  python: string;
  /** Folder of the small base model, for startStack to store. */
  baseModel: string;
}

/** Builds use the processors and downloads the network, so the two go side by side; the two builds go one after the other. */
export async function prepare(progress: Progress): Promise<Prepared> {
  const programs = async () => {
    if (!process.env.TEMPORAL_ADDRESS) await ensureTemporal(progress);
    if (!process.env.TEMPER_S3_ENDPOINT) await ensureVersitygw(progress);
  };
  const environments = async () => {
    const trainer = await ensurePython(progress);
    await ensureReporterPython(progress);
    return trainer;
  };
  const [python] = await Promise.all([environments(), programs()]);
  return { python, baseModel: await ensureBaseModel({ home: homeFolder(), python, progress }) };
}

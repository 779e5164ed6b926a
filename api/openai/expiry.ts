/** Files and uploads whose time is over are removed. A file that a job still needs stays until the job has ended. */
import { TemperError } from '../../schemas/errors.js';
import { findDataset } from '../../stores/datasets.js';
import { expiredDatasets } from '../../stores/files.js';
import { removeDataset } from '../datasets.js';
import type { ApiDependencies } from '../server.js';
import { removeExpiredUploads } from './uploads.js';

export async function removeExpired(dependencies: Pick<ApiDependencies, 'database' | 'objects' | 'temporal'>): Promise<void> {
  for (const { account_id: accountId, id } of await expiredDatasets(dependencies.database)) {
    const dataset = await findDataset(dependencies.database, accountId, id);
    if (dataset) await removeDataset(dependencies, dataset, { force: true, by: 'its expiry' }).catch(unlessInUse);
  }
  await removeExpiredUploads(dependencies);
}

function unlessInUse(error: unknown): void {
  if (!(error instanceof TemperError && error.code === 'RESOURCE_IN_USE')) throw error;
}

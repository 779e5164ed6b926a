/** A dataset in words: its record and what validation found. */
import { describeReport } from '../datasets/describeReport.js';
import type { ValidationReport } from '../schemas/validationReport.js';
import { callApi, type Connection, type Resource } from './client.js';
import { ApiError } from './failures.js';
import { formatFields } from './format.js';
import { DATASET } from './resources.js';

export function describeDataset(dataset: Resource, report: ValidationReport | undefined): string {
  const fields = formatFields(DATASET.fields(dataset));
  return report ? `${fields}\n\n${describeReport(report)}` : fields;
}

/** Undefined while there is none: before the upload, and until validation has ended. */
export async function fetchReport(connection: Connection, path: string): Promise<ValidationReport | undefined> {
  try {
    return await callApi<ValidationReport>(connection, { method: 'GET', path: `${path}:getValidationReport` });
  } catch (error) {
    if (error instanceof ApiError && error.status >= 400 && error.status < 500) return undefined;
    throw error;
  }
}

/** Datasets: create, get, list, rename, delete, download, and the report of their validation. */
import { randomUUID } from 'node:crypto';
import type { FastifyInstance } from 'fastify';
import { sql } from 'kysely';
import { Type, type Static } from 'typebox';
import { CreateDatasetRequest, Dataset } from '../schemas/dataset.js';
import { notFound, TemperError } from '../schemas/errors.js';
import { DOWNLOAD_URL_SECONDS } from '../schemas/limits.js';
import { resourceName } from '../schemas/names.js';
import { DeleteQuery, Empty, GetQuery, Id, listReply, ListQuery, SignedUrls } from '../schemas/wire.js';
import type { Database } from '../stores/database.js';
import {
  createDataset,
  deleteDataset,
  findDataset,
  jobsUsingDataset,
  renameDataset,
  withdrawDataset,
  type DatasetRecord,
} from '../stores/datasets.js';
import { addTombstone } from '../stores/lineage.js';
import { standingOnDataset } from '../stores/standing.js';
import { readIdempotencyKey, requestHash, requireSameRequest } from './idempotency.js';
import { refuseStoodOn } from './lineage.js';
import { name, number, text, time, type ListFields } from './listFields.js';
import { answerList } from './listRequest.js';
import { compileReadMask } from './readMask.js';
import { giveUpParts } from './resumableUploads.js';
import { tellRetry } from './retry.js';
import type { ApiDependencies } from './server.js';
import { stopWork } from './temporal.js';
import { readChanges, UpdateQuery } from './updateMask.js';

const DatasetPath = Type.Object({ account: Id(), id: Id() });

const FIELDS: ListFields = {
  name: name('datasets'),
  displayName: text('display_name'),
  createTime: time('create_time'),
  updateTime: time('update_time'),
  createdBy: text('created_by'),
  state: text('state', ['UPLOADING', 'READY']),
  format: text('format', ['FORMAT_UNSPECIFIED', 'CHAT', 'COMPLETION']),
  exampleCount: number(sql.ref('examples')),
  sizeBytes: number(sql.ref('size_bytes')),
  sha256: text('sha256'),
  'status.code': text('status_code'),
  'status.message': text('status_message'),
};

export function datasetRoutes(server: FastifyInstance, { database, objects, temporal, config }: ApiDependencies): void {
  const collection = '/v1/accounts/:account/datasets';
  const one = `${collection}/:id(^[^:/]+$)`;

  server.post(
    collection,
    {
      config: { access: 'user' },
      schema: { params: Type.Object({ account: Id() }), body: CreateDatasetRequest, response: { 200: Dataset } },
    },
    async (request) => {
      const body = request.body as CreateDatasetRequest;
      const { accountId, email } = request.caller;
      const hash = requestHash(config.secretKey, 'datasets', body);
      await readIdempotencyKey(request, database, hash);
      const dataset = await createDataset(database, {
        uid: randomUUID(),
        accountId,
        id: body.datasetId,
        displayName: body.dataset?.displayName ?? '',
        request: { ...body },
        requestHash: hash,
        createdBy: email,
      });
      requireSameRequest(dataset.request_hash, hash, datasetName(dataset));
      return viewDataset(dataset);
    },
  );

  server.get(
    collection,
    {
      config: { access: 'user' },
      schema: { params: Type.Object({ account: Id() }), querystring: ListQuery, response: { 200: listReply('datasets', Dataset) } },
    },
    (request) =>
      answerList(database, config.secretKey, request.caller.accountId, request.query as Static<typeof ListQuery>, {
        table: 'datasets',
        collection: 'datasets',
        fields: FIELDS,
        schema: Dataset,
        view: viewDataset,
      }),
  );

  server.get(
    one,
    { config: { access: 'user' }, schema: { params: DatasetPath, querystring: GetQuery, response: { 200: Dataset } } },
    async (request) => {
      const dataset = await requireDataset(database, request.params);
      const told = await tellRetry(temporal, datasetName(dataset), dataset);
      return compileReadMask((request.query as Static<typeof GetQuery>).readMask, Dataset)(viewDataset(told));
    },
  );

  server.patch(
    one,
    { config: { access: 'user' }, schema: { params: DatasetPath, querystring: UpdateQuery, body: Dataset, response: { 200: Dataset } } },
    async (request) => {
      const dataset = await requireDataset(database, request.params);
      const { displayName } = readChanges<Dataset, 'displayName'>(request, Dataset, { displayName: '' });
      return viewDataset(displayName === undefined ? dataset : await renameDataset(database, dataset.account_id, dataset.id, displayName));
    },
  );

  server.delete(
    one,
    { config: { access: 'user' }, schema: { params: DatasetPath, querystring: DeleteQuery, response: { 200: Empty } } },
    async (request) => {
      const force = (request.query as Static<typeof DeleteQuery>).force === 'true';
      const dataset = await requireDataset(database, request.params);
      await removeDataset({ database, objects, temporal }, dataset, { force, by: request.caller.email });
      return {};
    },
  );

  const Download = Type.Object({ ...GetQuery.properties, downloadLineage: Type.Optional(Type.String()) });
  server.get(
    `${one}::getDownloadEndpoint`,
    { config: { access: 'user' }, schema: { params: DatasetPath, querystring: Download, response: { 200: SignedUrls } } },
    async (request) => {
      const dataset = await requireDataset(database, request.params);
      if (dataset.state !== 'READY' || !dataset.object_key)
        throw new TemperError('DATASET_NOT_READY', `${datasetName(dataset)} is ${dataset.state}: there is nothing to download yet.`);
      // What is stored is plain, whatever was uploaded.
      const filename = dataset.upload?.filename.replace(/\.(gz|zst)$/i, '') ?? `${dataset.id}.jsonl`;
      return { filenameToSignedUrls: { [filename]: await objects.signDownload(dataset.object_key, filename, DOWNLOAD_URL_SECONDS) } };
    },
  );

  const Report = Type.Object({}, { additionalProperties: true, description: 'schemas/validationReport.ts' });
  server.get(
    `${one}::getValidationReport`,
    { config: { access: 'user' }, schema: { params: DatasetPath, response: { 200: Report } } },
    async (request, reply) => {
      const dataset = await requireDataset(database, request.params);
      if (!dataset.report_key)
        throw new TemperError(
          'DATASET_NOT_READY',
          `${datasetName(dataset)} has no validation report yet. Upload a file first, then wait for its validation.`,
        );
      return reply
        .type('application/json')
        .serializer((text: string) => text)
        .send(await objects.getText(dataset.report_key));
    },
  );
}

/** @throws TemperError RESOURCE_IN_USE while a job needs it */
export async function removeDataset(
  { database, objects, temporal }: Pick<ApiDependencies, 'database' | 'objects' | 'temporal'>,
  dataset: DatasetRecord,
  { force, by }: { force: boolean; by: string },
): Promise<void> {
  const jobs = await jobsUsingDataset(database, dataset.uid);
  if (jobs.length > 0) {
    const names = `${jobs.slice(0, 5).join(', ')}${jobs.length > 5 ? ` and ${jobs.length - 5} more` : ''}`;
    throw new TemperError(
      'RESOURCE_IN_USE',
      `${datasetName(dataset)} is in use by ${names}. Wait for them to end, or cancel them.`,
      jobs.slice(0, 20).map((job) => ({ reason: 'RESOURCE_IN_USE', message: job })),
    );
  }
  const standing = await standingOnDataset(database, dataset);
  if (!force) refuseStoodOn(datasetName(dataset), standing);
  if (standing.length > 0) {
    const facts = dataset.sha256 ? { sha256: dataset.sha256 } : {};
    await addTombstone(database, dataset.account_id, {
      name: datasetName(dataset),
      uid: dataset.uid,
      kind: 'DATASET',
      facts,
      deletedBy: by,
    });
  }
  await stopWork(temporal, datasetName(dataset));
  await withdrawDataset(database, dataset.uid);
  // The record goes last: a deletion that is cut short can be asked for again.
  await giveUpParts(objects, dataset.upload);
  await objects.removePrefix(`uploads/${dataset.uid}/`);
  await objects.removePrefix(`datasets/${dataset.uid}/`);
  await deleteDataset(database, dataset.uid);
}

/** @throws TemperError DATASET_NOT_FOUND */
export async function requireDataset(database: Database, params: unknown): Promise<DatasetRecord> {
  const { account, id } = params as Static<typeof DatasetPath>;
  const dataset = await findDataset(database, account, id);
  if (!dataset) throw notFound(account, 'datasets', id);
  return dataset;
}

export function datasetName(dataset: DatasetRecord): string {
  return resourceName(dataset.account_id, 'datasets', dataset.id);
}

export function viewDataset(dataset: DatasetRecord): Dataset {
  return {
    name: datasetName(dataset),
    displayName: dataset.display_name,
    createTime: dataset.create_time.toISOString(),
    updateTime: dataset.update_time.toISOString(),
    createdBy: dataset.created_by,
    state: dataset.state,
    status: { code: dataset.status_code, message: dataset.status_message },
    ...(dataset.status_details.length > 0 ? { statusDetails: dataset.status_details as object[] } : {}),
    exampleCount: String(dataset.examples),
    ...(dataset.tokens !== null ? { estimatedTokenCount: String(dataset.tokens) } : {}),
    ...(dataset.average_turns !== null ? { averageTurnCount: dataset.average_turns } : {}),
    format: dataset.format,
    userUploaded: {},
    sizeBytes: String(dataset.size_bytes),
    ...(dataset.sha256 ? { sha256: dataset.sha256 } : {}),
  };
}

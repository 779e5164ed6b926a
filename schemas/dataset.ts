/** The dataset resource and the bodies of its methods. Shapes: the published client's `Dataset`. */
import { Type, type Static } from 'typebox';
import { DisplayName, Id, Ignored, Int64, ReadOnly, ResourceName, Status, Time } from './wire.js';

const NOT_FOR_UPLOADS = 'Datasets here are uploaded files.';

export const Dataset = Type.Object({
  name: ReadOnly(ResourceName()),
  displayName: DisplayName(),
  createTime: ReadOnly(Time()),
  updateTime: ReadOnly(Time()),
  createdBy: ReadOnly(Type.String({ description: 'E-mail of the user' })),
  state: ReadOnly(
    Type.String({
      enum: ['STATE_UNSPECIFIED', 'UPLOADING', 'READY'],
      description: 'A dataset that failed validation stays UPLOADING, and `status` says why',
    }),
  ),
  status: ReadOnly(Status),
  exampleCount: ReadOnly(Int64()),
  estimatedTokenCount: ReadOnly(Int64()),
  averageTurnCount: ReadOnly(Type.Number()),
  format: ReadOnly(Type.String({ enum: ['FORMAT_UNSPECIFIED', 'CHAT', 'COMPLETION', 'RL'], description: 'Found by validation' })),
  userUploaded: Type.Optional(Type.Object({}, { additionalProperties: true })),
  sizeBytes: ReadOnly(Int64()),
  sha256: ReadOnly(Type.String()),
  statusDetails: ReadOnly(
    Type.Array(Type.Object({}, { additionalProperties: true }), {
      description: 'The first problems found; the full list: `:getValidationReport`',
    }),
  ),
  externalUrl: Type.Optional(Type.String({ maxLength: 0, 'x-expected': 'left out: upload the file instead' })),
  evalProtocol: Ignored(NOT_FOR_UPLOADS),
  evaluationResult: Ignored(NOT_FOR_UPLOADS),
  sourceJobName: Ignored(NOT_FOR_UPLOADS),
  splitted: Ignored(NOT_FOR_UPLOADS),
  transformed: Ignored(NOT_FOR_UPLOADS),
});
export type Dataset = Partial<Static<typeof Dataset>>;

export const CreateDatasetRequest = Type.Object({
  datasetId: Id(),
  dataset: Type.Optional(Dataset),
  sourceDatasetId: Type.Optional(Type.String({ maxLength: 0, 'x-expected': 'left out: datasets are not copied; upload the file' })),
  filter: Type.Optional(Type.String({ maxLength: 0, 'x-expected': 'left out: datasets are not copied; upload the file' })),
});
export type CreateDatasetRequest = Static<typeof CreateDatasetRequest>;

export const GetUploadEndpointRequest = Type.Object({
  filenameToSize: Type.Record(Type.String(), Int64(), { description: 'One file name with its size in bytes' }),
  readMask: Type.Optional(Type.String({ maxLength: 2000 })),
  enableResumableUpload: Type.Optional(
    Type.Boolean({ description: 'The file in parts, each with a URL of its own. Asked for again, the same upload goes on' }),
  ),
});
export type GetUploadEndpointRequest = Static<typeof GetUploadEndpointRequest>;

export const UploadEndpointReply = Type.Object({
  filenameToSignedUrls: Type.Record(Type.String(), Type.String()),
  resumableUpload: Type.Optional(
    Type.Object({
      partSizeBytes: Type.Integer({ description: 'Of every part but the last' }),
      parts: Type.Array(
        Type.Object({
          partNumber: Type.Integer(),
          sizeBytes: Type.Integer(),
          signedUrl: Type.String({ description: 'PUT the bytes of the part here' }),
          etag: Type.Optional(Type.String({ description: 'Of a part that has arrived: its MD5 in hex, with most object stores' })),
        }),
      ),
    }),
  ),
});
export type UploadEndpointReply = Static<typeof UploadEndpointReply>;

export const ValidateUploadRequest = Type.Object({
  sha256: Type.Optional(
    Type.String({ pattern: '^[0-9a-f]{64}$', description: 'Of the whole file: validation compares it with what arrived' }),
  ),
  baseModel: Type.Optional(
    ResourceName({ description: "Whose tokenizer counts the tokens of the report; the deployment's default when absent" }),
  ),
});
export type ValidateUploadRequest = Static<typeof ValidateUploadRequest>;

export const UploadReply = Type.Object({
  id: Type.String(),
  bytes: Type.Integer(),
  created_at: Type.Integer({ description: 'Seconds since 1970' }),
  filename: Type.String(),
  object: Type.Literal('file'),
  purpose: Type.String(),
});

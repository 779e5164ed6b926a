/** A model in another form, made by a workflow of its own: files that can be downloaded, and that other programs load. */
import { Type, type Static } from 'typebox';
import { Id, Int64, ReadOnly, ResourceName, Status, Time } from './wire.js';

/** What comes out of each. */
export const EXPORT_FORMATS = {
  ADAPTER: 'The files of the model as they are, each read once more and checked against its SHA-256',
  MERGED: 'Base model and adapter as one model, in bfloat16 safetensors; its logits are those of both, or it fails',
  GGUF: 'The merged model as one file for llama.cpp',
  GGUF_ADAPTER: 'The adapter as one file for llama.cpp, beside a GGUF of its base model (`--lora`)',
} as const;
export type ExportFormat = keyof typeof EXPORT_FORMATS;

/** How a GGUF keeps its weights, as llama.cpp's converter writes them; with what it is when nothing is asked for. */
export const GGUF_QUANTIZATIONS = ['F32', 'F16', 'BF16', 'Q8_0'] as const;
export type GgufQuantization = (typeof GGUF_QUANTIZATIONS)[number];
/** Merged weights are bfloat16, an adapter's float32: nothing is lost. */
export const DEFAULT_QUANTIZATION = { GGUF: 'BF16', GGUF_ADAPTER: 'F32' } as const;

/** Transitions: an export that has ended stays as it is until it is deleted. */
export const EXPORT_STATES = ['PENDING', 'RUNNING', 'COMPLETED', 'FAILED', 'CANCELLED'] as const;
export type ExportState = (typeof EXPORT_STATES)[number];
export type ExportStage = 'queued' | 'reading' | 'merging' | 'checking' | 'converting' | 'storing' | 'done';

/** What an export's workflow and its steps are given. */
export interface ExportInput {
  uid: string;
  /** `accounts/A/models/M/exports/E`: the workflow ID. */
  name: string;
  accountId: string;
}
export interface ExportPlan {
  /** False: it has ended already, or is gone. */
  goesOn: boolean;
  format: ExportFormat;
  /** A GPU worker makes the merged model first. */
  merges: boolean;
}

export interface ExportDataActivities {
  beginExport(input: ExportInput): Promise<ExportPlan>;
  /** Publishes the adapter, or the GGUF. */
  finishExport(input: ExportInput): Promise<void>;
  /** Removes what an export that came to nothing has stored, and says why it did. */
  abandonExport(input: ExportInput, end: { state: 'FAILED' | 'CANCELLED'; failure?: ExportFailure }): Promise<void>;
}
export interface ExportGpuActivities {
  /** Publishes the merged model where that is what was asked for. */
  mergeModel(input: ExportInput): Promise<void>;
}
/** As `Failure` of activities.ts, without its places. */
export interface ExportFailure {
  code: string;
  message: string;
  domain: string;
  retryable: boolean;
}

/** What was compared, by format. */
export interface ExportCheck {
  /** MERGED: root mean square of the differences of logits, as a share of their spread, and what it may be at most. */
  difference?: number;
  tolerance?: number;
  /** The same distance between the base model with and without the adapter. */
  effect?: number;
  /** GGUF: tensors in the file, and weights in its matrices. */
  tensors?: number;
  weights?: string;
  /** GGUF: between the mean absolute weight of the file and that of what it was made from, as a share. */
  weightDifference?: number;
  converter?: string;
}

const Format = Type.String({
  enum: Object.keys(EXPORT_FORMATS),
  description: Object.entries(EXPORT_FORMATS)
    .map(([format, what]) => `${format}: ${what}`)
    .join('. '),
});

export const Export = Type.Object({
  name: ReadOnly(ResourceName()),
  model: ReadOnly(ResourceName()),
  format: Type.Optional(Format),
  quantization: Type.Optional(
    Type.String({ enum: [...GGUF_QUANTIZATIONS], description: 'Of a GGUF: BF16 of a merged model, F32 of an adapter when it is left out' }),
  ),
  state: ReadOnly(Type.String({ enum: [...EXPORT_STATES] })),
  stage: ReadOnly(Type.String({ description: 'queued, reading, merging, checking, converting, storing, done' })),
  percent: ReadOnly(Type.Integer({ description: 'Of the stage' })),
  status: ReadOnly(Status),
  failure: ReadOnly(Type.Object({}, { additionalProperties: true, description: 'code, message, domain, retryable' })),
  check: ReadOnly(Type.Object({}, { additionalProperties: true, description: 'How far the result is from what it was made of' })),
  sizeBytes: ReadOnly(Int64({ description: 'Of all its files' })),
  files: ReadOnly(Type.Array(Type.Object({ name: Type.String(), sizeBytes: Int64(), sha256: Type.String() }))),
  createTime: ReadOnly(Time()),
  updateTime: ReadOnly(Time()),
  completedTime: ReadOnly(Time()),
  createdBy: ReadOnly(Type.String()),
});
export type Export = Static<typeof Export>;

export const CreateExportRequest = Type.Object({
  exportId: Type.Optional(Id({ description: 'The format and, of a GGUF, its quantization when it is left out: gguf-q8-0' })),
  export: Type.Object({ ...Export.properties, format: Format }),
});
export type CreateExportRequest = Static<typeof CreateExportRequest>;

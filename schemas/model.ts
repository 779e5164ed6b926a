/** The model resource: tuned models, and the catalogue's base models. Shape: the published client's `Model`. */
import { Type, type Static } from 'typebox';
import { DisplayName, Int64, PlainText, ReadOnly, ResourceName, Status, Time } from './wire.js';

const OpenObject = (description: string) => Type.Object({}, { additionalProperties: true, description });

export const Model = Type.Object({
  name: ReadOnly(ResourceName()),
  displayName: DisplayName(),
  description: Type.Optional(PlainText(999)),
  createTime: ReadOnly(Time()),
  updateTime: ReadOnly(Time()),
  createdBy: ReadOnly(Type.String()),
  state: ReadOnly(Type.String({ enum: ['STATE_UNSPECIFIED', 'UPLOADING', 'READY'] })),
  status: ReadOnly(Status),
  kind: ReadOnly(Type.String({ description: 'HF_PEFT_ADDON: an adapter. HF_BASE_MODEL: what adapters are trained on' })),
  public: ReadOnly(Type.Boolean()),
  tunable: ReadOnly(Type.Boolean()),
  supportsLora: ReadOnly(Type.Boolean()),
  supportsImageInput: ReadOnly(Type.Boolean()),
  supportsTools: ReadOnly(Type.Boolean()),
  contextLength: ReadOnly(Type.Integer()),
  trainingContextLength: ReadOnly(Type.Integer()),
  peftDetails: ReadOnly(
    Type.Object({
      baseModel: Type.String(),
      r: Type.Integer(),
      targetModules: Type.Array(Type.String()),
      baseModelType: Type.Optional(Type.String()),
    }),
  ),
  baseModelDetails: ReadOnly(
    Type.Object({
      parameterCount: Int64(),
      checkpointFormat: Type.String(),
      moe: Type.Boolean(),
      tunable: Type.Boolean(),
      worldSize: Type.Integer(),
    }),
  ),
  conversationConfig: ReadOnly(
    Type.Object({ style: Type.String(), system: Type.Optional(Type.String()), template: Type.Optional(Type.String()) }),
  ),
  fineTuningJob: ReadOnly(ResourceName({ description: 'The job that made it' })),
  importedFrom: ReadOnly(Type.String()),
  huggingFaceUrl: ReadOnly(Type.String()),
  deployedModelRefs: ReadOnly(Type.Array(OpenObject('A deployment that serves it'))),
  sizeBytes: ReadOnly(Int64({ description: 'Of all its files' })),
  files: ReadOnly(Type.Array(Type.Object({ name: Type.String(), sizeBytes: Int64(), sha256: Type.String() }))),
  metrics: ReadOnly(OpenObject('Evaluation of the base and of the tuned model')),
  tuningDefaults: ReadOnly(OpenObject('Of a base model: settings of a job that gives none')),
});
export type Model = Static<typeof Model>;

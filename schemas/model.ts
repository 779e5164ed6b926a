/** The model resource: tuned models, and the catalogue's base models. Shape: the published client's `Model`. */
import { Type, type Static } from 'typebox';
import { DisplayName, Id, Ignored, Int64, PlainText, ReadOnly, ResourceName, Status, Time } from './wire.js';

const OpenObject = (description: string) => Type.Object({}, { additionalProperties: true, description });

/** What the uploader says of a model; kept and shown. */
const Facts = {
  supportsImageInput: Type.Optional(Type.Boolean()),
  supportsTools: Type.Optional(Type.Boolean()),
  huggingFaceUrl: Type.Optional(PlainText(500)),
  githubUrl: Type.Optional(PlainText(500)),
};

const ConversationConfig = Type.Object({
  style: Type.String(),
  system: Type.Optional(Type.String()),
  template: Type.Optional(Type.String()),
});

const ContextLength = () => Type.Integer({ minimum: 8, maximum: 100_000_000, 'x-expected': 'a whole number of tokens, at least 8' });

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
  ...Facts,
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
  conversationConfig: ReadOnly(ConversationConfig),
  fineTuningJob: ReadOnly(ResourceName({ description: 'The job that made it' })),
  importedFrom: ReadOnly(Type.String({ description: 'Where it was imported from, with the commit' })),
  warnings: ReadOnly(Type.Array(Type.String(), { description: 'What validation found odd, but not wrong' })),
  statusDetails: ReadOnly(Type.Array(OpenObject('One problem'), { description: 'The problems that validation found, each with its file' })),
  deployedModelRefs: ReadOnly(Type.Array(OpenObject('A deployment that serves it'))),
  sizeBytes: ReadOnly(Int64({ description: 'Of all its files' })),
  files: ReadOnly(Type.Array(Type.Object({ name: Type.String(), sizeBytes: Int64(), sha256: Type.String() }))),
  metrics: ReadOnly(OpenObject('Evaluation of the base and of the tuned model')),
  tuningDefaults: ReadOnly(OpenObject('Of a base model: settings of a job that gives none')),
});
export type Model = Static<typeof Model>;

const NOT_SERVED = 'Models are not served here.';
const FOUND = 'It is found in the files.';

/** A model that someone brings, as the published client describes it. */
export const NewModel = Type.Object({
  name: ReadOnly(ResourceName()),
  displayName: DisplayName(),
  description: Type.Optional(PlainText(999)),
  kind: Type.Optional(
    Type.String({ enum: ['KIND_UNSPECIFIED', 'HF_PEFT_ADDON', 'HF_BASE_MODEL'], description: 'HF_PEFT_ADDON when it is left out' }),
  ),
  peftDetails: Type.Optional(
    Type.Object({
      baseModel: ResourceName({ description: 'The base model that the add-on was made for' }),
      r: Type.Optional(Type.Integer({ description: 'adapter_config.json says it' })),
      targetModules: Type.Optional(Type.Array(Type.String(), { maxItems: 50, description: 'adapter_config.json says them' })),
      baseModelType: Ignored(FOUND),
      mergeAddonModelName: Ignored(NOT_SERVED),
    }),
  ),
  baseModelDetails: Ignored(FOUND),
  conversationConfig: Type.Optional(
    Type.Object({
      style: Type.String({ enum: ['jinja'] }),
      system: Ignored('A template says where the system message goes.'),
      template: Type.String({ minLength: 1, maxLength: 65_536 }),
    }),
  ),
  contextLength: Type.Optional(ContextLength()),
  trainingContextLength: Type.Optional(ContextLength()),
  ...Facts,
  public: Type.Optional(Type.Boolean({ const: false, 'x-expected': 'false: models are seen by their account alone' })),
  supportsLora: Ignored('Every base model takes add-ons.'),
  tunable: Ignored(FOUND),
  useHfApplyChatTemplate: Ignored('The tokenizer’s chat template is used when there is no other.'),
  defaultDraftModel: Ignored(NOT_SERVED),
  defaultDraftTokenCount: Ignored(NOT_SERVED),
  deprecationDate: Ignored(NOT_SERVED),
  snapshotType: Ignored('Every model is whole.'),
  teftDetails: Ignored('There are no such add-ons here.'),
  calibrated: Ignored(NOT_SERVED),
  rlTunable: Ignored(FOUND),
});

/** Where to import a model from: never an address, only a name on the hub that the operator chose. */
export const ImportSource = Type.Object({
  repository: Type.String({
    pattern: '^[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}$',
    'x-expected': 'a name on the Hugging Face hub, ORG/NAME',
  }),
  revision: Type.Optional(
    Type.String({
      pattern: '^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$',
      'x-expected': 'a branch, tag or commit',
      description: 'main when it is left out',
    }),
  ),
  tokenSecret: Type.Optional(ResourceName({ description: 'A secret of the account that holds a token for the hub' })),
});

export const CreateModelRequest = Type.Object({
  modelId: Id(),
  model: Type.Optional(NewModel),
  importFrom: Type.Optional(ImportSource),
  cluster: Ignored('There are no clusters of users here.'),
});
export type CreateModelRequest = Static<typeof CreateModelRequest>;

export const ModelUploadEndpointRequest = Type.Object({
  filenameToSize: Type.Record(Type.String(), Int64(), { description: 'Names of files with their sizes in bytes' }),
  enableResumableUpload: Ignored('A file is sent in one piece, again when it was cut short.'),
  readMask: Type.Optional(Type.String({ maxLength: 2000 })),
});
export type ModelUploadEndpointRequest = Static<typeof ModelUploadEndpointRequest>;

const ignoredFlag = (why: string) => Type.Optional(Type.String({ maxLength: 10, description: `Accepted and ignored. ${why}` }));
export const ValidateUploadQuery = Type.Object({
  configOnly: ignoredFlag('Everything is checked.'),
  skipHfConfigValidation: ignoredFlag('Everything is checked.'),
  trustRemoteCode: Type.Optional(Type.String({ maxLength: 10, description: 'Must be false: code that comes with a model never runs' })),
});
export const ValidateUploadReply = Type.Object({
  warnings: Type.Array(Type.String()),
  state: Type.String({ enum: ['UPLOADING', 'READY'] }),
  status: Status,
});

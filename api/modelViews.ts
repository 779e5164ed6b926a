/** Models as the API shows them. */
import type { BaseModel } from '../schemas/baseModels.js';
import type { Model } from '../schemas/model.js';
import { resourceName } from '../schemas/names.js';
import { asBaseModel } from '../stores/baseModels.js';
import type { ModelRecord } from '../stores/models.js';

export function viewModel(model: ModelRecord): Model {
  const { peft, conversation, facts, import: imported } = model;
  const base = asBaseModel(model);
  return {
    name: resourceName(model.account_id, 'models', model.id),
    displayName: model.display_name,
    description: model.description,
    createTime: model.create_time.toISOString(),
    updateTime: model.update_time.toISOString(),
    createdBy: model.created_by,
    state: model.state,
    status: { code: model.status_code, message: model.status_message },
    ...(model.status_details.length > 0 ? { statusDetails: model.status_details } : {}),
    ...(model.warnings.length > 0 ? { warnings: model.warnings } : {}),
    kind: model.kind,
    public: false,
    tunable: model.state === 'READY' && !peft?.untunable,
    supportsLora: model.kind === 'HF_BASE_MODEL',
    ...facts,
    ...(model.context_length !== null ? { contextLength: model.context_length, trainingContextLength: model.context_length } : {}),
    ...peftDetails(model),
    ...(base ? baseModelFields(base) : {}),
    ...(imported ? { importedFrom: `${imported.repository}@${imported.commit ?? imported.revision ?? 'main'}` } : {}),
    ...(conversation ? { conversationConfig: conversation as Model['conversationConfig'] } : {}),
    ...(model.job_name ? { fineTuningJob: model.job_name } : {}),
    deployedModelRefs: [],
    sizeBytes: String(model.files.reduce((sum, file) => sum + file.sizeBytes, 0)),
    files: model.files.map((file) => ({ name: file.name, sizeBytes: String(file.sizeBytes), sha256: file.sha256 })),
    ...(model.metrics ? { metrics: model.metrics } : {}),
  };
}

/** An add-on's, known before its files are when its uploader said for which base model it is. */
function peftDetails({ peft, kind, base_model: baseModel }: ModelRecord): Pick<Model, 'peftDetails'> {
  if (peft) return { peftDetails: { baseModel: peft.baseModel, r: peft.r, targetModules: peft.targetModules } };
  return kind === 'HF_PEFT_ADDON' && baseModel ? { peftDetails: { baseModel, r: 0, targetModules: [] } } : {};
}

/** What jobs on an account's own base model take. */
function baseModelFields(base: BaseModel): Model {
  const { trainingContextLength, baseModelDetails, tuningDefaults } = viewBaseModel(base);
  return { trainingContextLength, baseModelDetails, tuningDefaults } as Model;
}

export function viewBaseModel(model: BaseModel): Model {
  const { batchSize, loraRank, epochs, learningRate, quantization } = model;
  return {
    name: model.name,
    displayName: model.displayName,
    description: model.conversationRecommended ? 'Recommended for conversations.' : '',
    state: 'READY',
    status: { code: 'OK', message: '' },
    kind: 'HF_BASE_MODEL',
    public: true,
    tunable: true,
    supportsLora: true,
    supportsImageInput: false,
    contextLength: model.cutoffLength,
    trainingContextLength: model.cutoffLength,
    baseModelDetails: {
      parameterCount: String(model.parameters),
      checkpointFormat: 'HUGGINGFACE',
      moe: model.mixtureOfExperts ?? false,
      tunable: true,
      worldSize: 1,
    },
    ...('hub' in model.source ? { huggingFaceUrl: `https://huggingface.co/${model.source.hub}` } : {}),
    deployedModelRefs: [],
    tuningDefaults: { batchSize, loraRank, epochs, learningRate, quantization },
  };
}

/** A base model as a row of the models' table, so that lists filter, order and page it like any other. */
export function catalogueRow(model: BaseModel): object {
  const [, account, , id] = model.name.split('/');
  const since = '1970-01-01T00:00:00Z';
  return {
    account_id: account,
    id,
    display_name: model.displayName,
    description: '',
    kind: 'HF_BASE_MODEL',
    state: 'READY',
    context_length: model.cutoffLength,
    files: [],
    facts: {},
    warnings: [],
    status_details: [],
    create_time: since,
    update_time: since,
  };
}

/** The bundle's entry: every workflow type, under the name operators see. */
export { DatasetWorkflow } from './dataset.js';
export { FineTuningWorkflow } from './fineTuning.js';
export { RetrainingWorkflow } from './retraining.js';
export { WebhookWorkflow } from './webhook.js';
export { ReportWorkflow } from './report.js';
export { ModelWorkflow } from './model.js';
export { ExportWorkflow } from './export.js';
export { JanitorWorkflow } from './janitor.js';

/** The `README.md` of a tuned model: what it is, how good, how to load it, what went into it. */
import nunjucks from 'nunjucks';
import type { JobSettings } from '../schemas/task.js';
import compiled from './modelCard.compiled.js';
import { addFilters } from './modelCardFilters.js';

/** What a card tells; a model's lineage has all of it but the names and the modules. */
export type ModelCard = {
  modelName: string;
  displayName: string;
  job: string;
  baseModel: { name: string; source: object };
  warmStart: { name: string } | null;
  dataset: { name: string; sha256: string | null; examples: number | null };
  prepared: { trainExamples: number; evalExamples: number; labels: number | null };
  settings: JobSettings;
  settingOrigins: Record<string, string>;
  training: { steps: number; trainedTokens: number; finalLoss: number | null };
  evaluation: { metric: string; base: number; tuned: number; examples: number } | null;
  targetModules: string[];
};

const KIND_NAMES = { textCompletion: 'text completion', textClassification: 'text classification', conversation: 'conversation' };

/** The ranks vLLM can be told; the next one that holds the adapter. */
const VLLM_RANKS = [8, 16, 32, 64, 128, 256, 320, 512];

// The published types say that a loader takes a list; it takes templates by name.
const loader = new nunjucks.PrecompiledLoader({ 'modelCard.njk': compiled } as unknown as never[]);
const environment = addFilters(new nunjucks.Environment(loader, { autoescape: false }));

/** Markdown with a YAML head, as model hubs read it. */
export function renderModelCard(card: ModelCard): string {
  const { task, ...rest } = card.settings;
  const settingRows = Object.entries({ ...task, ...rest })
    .filter(([name, value]) => value !== undefined && value !== null && !['baseModel', 'jinjaTemplate', 'renderTime'].includes(name))
    .map(([name, value]) => ({ name, value, origin: card.settingOrigins[name] ?? '' }));
  return environment.render('modelCard.njk', {
    ...card,
    kind: task.kind,
    kindName: KIND_NAMES[task.kind],
    settingRows,
    vllmRank: VLLM_RANKS.find((rank) => rank >= card.settings.loraRank) ?? card.settings.loraRank,
  });
}

/** The Hugging Face hub, for the little that is asked of it without the weights: a commit, a small file. */
import { TemperError } from '../schemas/errors.js';

const TIMEOUT_MS = 30_000;
/** The largest tokenizer.json of the known models has 33 MB. */
const MAX_FILE_BYTES = 64 * 1024 * 1024;

export function hubEndpoint(): string {
  return (process.env['HF_ENDPOINT'] ?? 'https://huggingface.co').replace(/\/+$/, '');
}

/** The commit that a branch or tag is at. @throws TemperError MODEL_NOT_FOUND, MODEL_GATED, HUB_UNREACHABLE */
export async function resolveCommit(repository: string, revision = 'main'): Promise<string> {
  const reply = await ask(repository, `/api/models/${repository}/revision/${encodeURIComponent(revision)}`);
  if (!reply) throw new TemperError('MODEL_NOT_FOUND', `The hub has no model ${repository} with a revision ${revision}, or it is private.`);
  const { sha } = JSON.parse(reply) as { sha?: string };
  if (!sha) throw new TemperError('HUB_UNREACHABLE', `The hub did not say which commit ${repository} is at; the step is tried again.`);
  return sha;
}

/** A small file of a model; null when there is none. */
export function readHubFile(repository: string, revision: string, name: string): Promise<string | null> {
  return ask(repository, `/${repository}/resolve/${encodeURIComponent(revision)}/${name}`);
}

async function ask(repository: string, path: string): Promise<string | null> {
  const endpoint = hubEndpoint();
  const token = process.env['HF_TOKEN'];
  const reply = await fetch(`${endpoint}${path}`, {
    headers: token ? { authorization: `Bearer ${token}` } : {},
    signal: AbortSignal.timeout(TIMEOUT_MS),
  }).catch(() => {
    throw new TemperError('HUB_UNREACHABLE', `The Hugging Face hub (${endpoint}) does not answer; the step is tried again.`);
  });
  if (reply.ok && Number(reply.headers.get('content-length') ?? 0) <= MAX_FILE_BYTES) return reply.text();
  if (reply.status === 404) return null;
  if (reply.status === 401 || reply.status === 403) {
    throw new TemperError(
      'MODEL_GATED',
      `The hub does not give ${repository} to this deployment (HTTP ${reply.status}). Accept its licence and set HF_TOKEN on the workers.`,
    );
  }
  throw new TemperError('HUB_UNREACHABLE', `The hub answered ${reply.status} for ${repository}; the step is tried again.`);
}

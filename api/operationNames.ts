/** The name of every operation in `/openapi.json`, for generated clients and for people, from its method and path. */

export interface OperationName {
  operationId: string;
  summary: string;
}

const VERBS: Record<string, string> = { GET: 'get', POST: 'create', PUT: 'replace', PATCH: 'update', DELETE: 'delete', HEAD: 'probe' };

/**
 * `POST /v1/accounts/:account/fineTuningJobs/:id::pause` is `pauseFineTuningJob`: the verb, then what it is done to, within what.
 * OpenAI's routes keep the words of their paths, with `openai` before.
 * @param url  as Fastify knows it: `::` is a colon, parameters may have a pattern
 */
export function nameOperation(method: string, url: string): OperationName {
  const segments = url
    .replace(/\([^)]*\)/g, '')
    .split('/')
    .filter((segment) => segment !== '' && segment !== 'v1')
    .map(readSegment);
  const last = segments.at(-1)!;
  const statics = segments.filter(({ isParameter }) => !isParameter);
  if (url.startsWith('/v1/') && !['accounts', 'verifyApiKey', 'doctor'].includes(segments[0]!.word)) {
    const words = statics.map(({ word }) => pascalCase(word)).join('');
    const of = last.isParameter ? 'ById' : '';
    return { operationId: `openai${pascalCase(method.toLowerCase())}${words}${of}`, summary: `As OpenAI has it: ${method} ${url}` };
  }
  const isList = method === 'GET' && !last.verb && !last.isParameter && last.word.endsWith('s');
  const verb = last.verb ?? (isList ? 'list' : VERBS[method]!);
  // The account is the frame of everything; it is named only where it is the thing itself.
  const named = statics.length > 1 ? statics.filter(({ word }) => word !== 'accounts') : statics;
  const nouns = named.map(({ word, verb: onAll }, index) => {
    const isWhole = index === named.length - 1 && !last.isParameter && (isList || onAll !== undefined || !isCreate(method, last));
    return isWhole ? word : singular(word);
  });
  const operationId = `${verb}${nouns.map(pascalCase).join('')}`;
  return { operationId, summary: sentence(operationId) };
}

interface Segment {
  word: string;
  isParameter: boolean;
  verb?: string;
}

function readSegment(segment: string): Segment {
  const [name = '', verb] = segment.split('::');
  const isParameter = name.startsWith(':');
  return { word: isParameter ? name.slice(1) : name, isParameter, ...(verb ? { verb } : {}) };
}

const isCreate = (method: string, { verb }: Segment) => method === 'POST' && verb === undefined;

function singular(word: string): string {
  return word === 'aliases' ? 'alias' : word.replace(/ies$/, 'y').replace(/s$/, '');
}

function pascalCase(word: string): string {
  return word.replace(/(?:^|[-_.])([a-z])/g, (_, letter: string) => letter.toUpperCase()).replace(/[^A-Za-z0-9]/g, '');
}

function sentence(operationId: string): string {
  const words = operationId.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`).replace('fine tuning', 'fine-tuning');
  return words.charAt(0).toUpperCase() + words.slice(1);
}

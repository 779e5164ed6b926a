/**
 * A Weights & Biases server in one process, as far as its Python client needs one to create and resume a run, to stream rows, and to
 * upload a table and an artifact: GraphQL and `file_stream`, whose lines are stored by the offset that the client names. It can be told
 * to fail in every way that a server, or what lies before it, does.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

export interface WandbFault {
  on: 'everything' | 'query' | 'upsert' | 'stream' | 'files';
  /**
   * An HTTP status (429 with Retry-After: 1), errors in an answer of status 200, no answer, one that takes a second, a connection that is cut
   * before or in the middle of the answer, text that is no JSON, a page of a proxy, a redirect.
   */
  how: number | 'errors' | 'hang' | 'slow' | 'drop' | 'half' | 'badJson' | 'html' | 'redirect';
  /** Ends after this many requests; absent: never. */
  times?: number;
}

export interface StoredRun {
  entity: string;
  project: string;
  name: string;
  displayName: string;
  config: Record<string, unknown>;
  tags: string[];
  /** Line N of wandb-history.jsonl at index N; lines that never came are holes. */
  history: Record<string, unknown>[];
  summary: Record<string, unknown>;
  state: 'running' | 'finished' | 'failed';
  notes: string;
  /** Names of the files that were announced, tables among them. */
  files: string[];
  /** `type/name` of the artifacts that were logged. */
  artifacts: string[];
}

export interface WandbTestServer {
  url: string;
  /** By `entity/project/name`. */
  runs: Map<string, StoredRun>;
  /** What was asked, in order: names of GraphQL operations, and `file_stream`. */
  requests: string[];
  /** Names of the files whose bytes came. */
  stored: string[];
  fault: WandbFault | null;
  stop(): Promise<void>;
}

export interface WandbAccount {
  apiKey: string;
  entity: string;
  teams: string[];
}

export async function startWandbServer(account: WandbAccount, port = 0): Promise<WandbTestServer> {
  const state = { runs: new Map<string, StoredRun>(), requests: [] as string[], stored: [] as string[], fault: null as WandbFault | null };
  const server = createServer((request, response) => {
    answer(account, state, request, response).catch((error: unknown) => reply(response, 500, { error: String(error) }));
  });
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  return Object.assign(state, {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    stop: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  });
}

type State = Pick<WandbTestServer, 'runs' | 'requests' | 'stored' | 'fault'>;
type Variables = Record<string, string | string[] | null | undefined>;

async function answer(account: WandbAccount, state: State, request: IncomingMessage, response: ServerResponse): Promise<void> {
  if (request.method === 'PUT' && request.url?.startsWith('/storage/')) {
    for await (const _chunk of request);
    if (await fail(state, 'files', request, response)) return;
    state.stored.push(decodeURIComponent(request.url.slice('/storage/'.length)));
    return reply(response, 200, {});
  }
  if (!request.url?.startsWith('/graphql') && !request.url?.startsWith('/files/')) return reply(response, 404, {});
  const body = await readJson(request);
  const stream = /^\/files\/([^/]+)\/([^/]+)\/([^/]+)\/file_stream$/.exec(request.url);
  const query = String(body['query'] ?? '');
  const operation = stream ? 'file_stream' : (/(?:query|mutation)\s+(\w+)/.exec(query)?.[1] ?? `${request.method} ${request.url}`);
  state.requests.push(operation);
  const target = stream ? 'stream' : query.includes('upsertBucket') ? 'upsert' : query.startsWith('query') ? 'query' : 'files';
  if (await fail(state, target, request, response)) return;

  const given = Buffer.from(request.headers.authorization?.replace(/^Basic /, '') ?? '', 'base64').toString();
  if (given !== `api:${account.apiKey}`) return reply(response, 401, { errors: [{ message: 'user is not logged in' }] });
  if (stream) {
    const run = state.runs.get(stream.slice(1, 4).map(decodeURIComponent).join('/'));
    if (!run) return reply(response, 404, { error: 'run not found' });
    receive(run, body);
    return reply(response, 200, { limits: {} });
  }
  const variables = (body['variables'] ?? {}) as Variables;
  if (query.includes('upsertBucket')) return upsert(account, state, variables, response);
  const host = `http://${request.headers.host}`;
  if (query.includes('createRunFiles')) return createRunFiles(account, state, variables, response, host);
  if (query.includes('createArtifact(')) return createArtifact(account, state, variables, response);
  if (query.includes('createArtifactManifest(')) {
    const file = {
      id: 'file',
      name: 'wandb_manifest.json',
      displayName: 'wandb_manifest.json',
      uploadUrl: `${host}/storage/manifest`,
      uploadHeaders: [],
    };
    return reply(response, 200, { data: { createArtifactManifest: { artifactManifest: { id: 'manifest', file } } } });
  }
  if (query.includes('commitArtifact('))
    return reply(response, 200, { data: { commitArtifact: { artifact: { id: variables['artifactID'], digest: 'd' } } } });
  if (query.includes('serverInfo')) return reply(response, 200, { data: { serverInfo: { features: [] } } });
  if (query.includes('artifactType('))
    return reply(response, 200, { data: { project: { artifactType: { id: 'type', name: variables['artifactType'] } } } });
  if (/\brun\(|\bbucket\(/.test(query)) return find(account, state, query, variables, response);
  if (/\bviewer\b/.test(query)) return reply(response, 200, { data: { viewer: describeViewer(account) } });
  return reply(response, 200, { data: null, errors: [{ message: `Cannot query: ${operation}` }] });
}

/** True when the request was left to the fault. */
async function fail(
  state: State,
  target: 'query' | 'upsert' | 'stream' | 'files',
  request: IncomingMessage,
  response: ServerResponse,
): Promise<boolean> {
  const { fault } = state;
  if (!fault || (fault.on !== 'everything' && fault.on !== target)) return false;
  if (fault.times !== undefined && --fault.times <= 0) state.fault = null;
  switch (fault.how) {
    case 'hang':
      return true;
    case 'slow':
      await sleep(1_000);
      return false;
    case 'drop':
      request.socket.destroy();
      return true;
    case 'half':
      response.writeHead(200, { 'content-type': 'application/json', 'content-length': 1_000 }).write('{"data": {"viewer"');
      setTimeout(() => request.socket.destroy(), 20);
      return true;
    case 'badJson':
      response.writeHead(200, { 'content-type': 'application/json' }).end('{"data": {');
      return true;
    case 'html':
      response.writeHead(200, { 'content-type': 'text/html' }).end('<html>Please sign in to the network.</html>');
      return true;
    case 'redirect':
      response.writeHead(302, { location: 'http://127.0.0.1:1/elsewhere' }).end();
      return true;
    case 'errors':
      reply(response, 200, { data: null, errors: [{ message: 'permission denied', path: ['upsertBucket'] }] });
      return true;
    default:
      if (fault.how === 429) response.setHeader('retry-after', '1');
      reply(response, fault.how, { errors: [{ message: `HTTP ${fault.how}` }] });
      return true;
  }
}

function describeViewer({ entity, teams }: WandbAccount) {
  return {
    id: 'VXNlcjox',
    username: entity,
    entity,
    flags: '{}',
    teams: { edges: [entity, ...teams].map((name) => ({ node: { name } })) },
  };
}

function upsert(account: WandbAccount, state: State, variables: Variables, response: ServerResponse): void {
  const entity = String(variables['entity'] || account.entity);
  const [project, name] = [String(variables['project']), String(variables['name'])];
  if (![account.entity, ...account.teams].includes(entity)) {
    return reply(response, 404, {
      errors: [{ message: `entity ${entity} not found during upsertBucket`, path: ['upsertBucket'] }],
      data: { upsertBucket: null },
    });
  }
  const key = `${entity}/${project}/${name}`;
  const inserted = !state.runs.has(key);
  const run = state.runs.get(key) ?? {
    entity,
    project,
    name,
    displayName: name,
    config: {},
    tags: [],
    history: [],
    summary: {},
    state: 'running' as const,
    notes: '',
    files: [],
    artifacts: [],
  };
  if (variables['displayName']) run.displayName = String(variables['displayName']);
  if (variables['config']) run.config = JSON.parse(String(variables['config'])) as Record<string, unknown>;
  if (variables['notes']) run.notes = String(variables['notes']);
  if (Array.isArray(variables['tags'])) run.tags = variables['tags'];
  run.state = 'running';
  state.runs.set(key, run);
  reply(response, 200, { data: { upsertBucket: { bucket: describeBucket(run), inserted } } });
}

function find(account: WandbAccount, state: State, query: string, variables: Variables, response: ServerResponse): void {
  const entity = String(variables['entity'] || account.entity);
  const project = String(variables['project']);
  const run = state.runs.get(`${entity}/${project}/${String(variables['run'] ?? variables['name'])}`);
  const known = run ?? [...state.runs.values()].find((other) => other.entity === entity && other.project === project);
  const field = query.includes('bucket(') ? 'bucket' : 'run';
  const top = /\bmodel\(/.test(query) ? 'model' : 'project';
  reply(response, 200, {
    data: { [top]: known ? { name: project, entity: { name: entity }, [field]: run ? describeBucket(run) : null } : null },
  });
}

function describeBucket(run: StoredRun) {
  const { name, displayName, entity, project, history, summary, state, tags } = run;
  const tail = history.slice(-1).map((row) => JSON.stringify(row));
  return {
    id: Buffer.from(`Run:v1:${name}:${project}:${entity}`).toString('base64'),
    name,
    displayName,
    description: null,
    sweepName: null,
    state,
    tags,
    config: JSON.stringify(run.config),
    summaryMetrics: JSON.stringify(summary),
    historyLineCount: Object.keys(history).length,
    historyTail: JSON.stringify(tail),
    eventsLineCount: 0,
    eventsTail: '[]',
    logLineCount: 0,
    project: { id: Buffer.from(`Project:v1:${project}:${entity}`).toString('base64'), name: project, entity: { id: entity, name: entity } },
  };
}

function createRunFiles(account: WandbAccount, state: State, variables: Variables, response: ServerResponse, host: string): void {
  const run = runOf(state, String(variables['entity'] || account.entity), variables['project'], variables['run']);
  const names = [variables['files'] ?? []].flat();
  run?.files.push(...names);
  const files = names.map((name) => ({ name, uploadUrl: `${host}/storage/${encodeURIComponent(name)}` }));
  reply(response, 200, { data: { createRunFiles: { runID: 'run', uploadHeaders: [], files } } });
}

function createArtifact(account: WandbAccount, state: State, variables: Variables, response: ServerResponse): void {
  const input = (variables['input'] ?? variables) as Variables;
  const run = runOf(state, String(input['entityName'] || account.entity), input['projectName'], input['runName']);
  const type = String(input['artifactTypeName']);
  const name = String([input['artifactCollectionNames'] ?? input['artifactCollectionName']].flat()[0] ?? '');
  run?.artifacts.push(`${type}/${name}`);
  const artifact = { id: `artifact-${type}`, state: 'PENDING', artifactSequence: { id: 'sequence', name, latestArtifact: null } };
  reply(response, 200, { data: { createArtifact: { artifact } } });
}

function runOf(state: State, entity: string, project: unknown, name: unknown): StoredRun | undefined {
  return state.runs.get(`${entity}/${String(project)}/${String(name)}`);
}

/** Appends or overwrites lines from the offset on; the summary is one line that replaces the last. */
function receive(run: StoredRun, body: Record<string, unknown>): void {
  const files = (body['files'] ?? {}) as Record<string, { offset?: number; content: string[] }>;
  const lines = files['wandb-history.jsonl'];
  const parsed = lines?.content.map((line) => JSON.parse(line) as Record<string, unknown>) ?? [];
  for (const [index, line] of parsed.entries()) run.history[(lines?.offset ?? 0) + index] = line;
  const summary = files['wandb-summary.json']?.content.at(-1);
  if (summary) run.summary = JSON.parse(summary) as Record<string, unknown>;
  if (body['complete']) run.state = body['exitcode'] === 0 ? 'finished' : 'failed';
}

async function readJson(request: IncomingMessage): Promise<Record<string, unknown>> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const text = Buffer.concat(chunks).toString();
  return text ? (JSON.parse(text) as Record<string, unknown>) : {};
}

function reply(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

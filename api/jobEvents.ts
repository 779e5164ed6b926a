/** A job's events: as pages, and as a stream that goes on where a lost connection left off. */
import type { ServerResponse } from 'node:http';
import type { FastifyInstance } from 'fastify';
import { Type, type Static } from 'typebox';
import { fieldError } from '../schemas/errors.js';
import { JobEvent } from '../schemas/job.js';
import { isTerminal } from '../schemas/states.js';
import { listReply, ListQuery } from '../schemas/wire.js';
import { countEvents, listEvents } from '../stores/events.js';
import { findJobByUid, type JobRecord } from '../stores/jobs.js';
import { JOB_FAMILIES } from './jobFamilies.js';
import { JobPath, requireJob } from './jobs.js';
import { isLastEvent, viewEvent } from './jobViews.js';
import { openPageToken, parsePageSize, sealPageToken } from './paging.js';
import type { ApiDependencies } from './server.js';

/** New events are announced; this finds one whose announcement was lost. It also tells proxies that the connection lives. */
const LOOK_AGAIN_MS = 5_000;
const BATCH = 200;

export function jobEventRoutes(server: FastifyInstance, dependencies: ApiDependencies): void {
  const { database, config } = dependencies;
  const closing = new AbortController();
  server.addHook('preClose', async () => closing.abort());

  for (const family of JOB_FAMILIES) {
    const one = `/v1/accounts/:account/${family.collection}/:id(^[^:/]+$)`;
    const Query = Type.Pick(ListQuery, ['pageSize', 'pageToken']);

    server.get(
      `${one}::listEvents`,
      { config: { access: 'user' }, schema: { params: JobPath, querystring: Query, response: { 200: listReply('events', JobEvent) } } },
      async (request) => {
        const job = await requireJob(database, family, request.params);
        const { pageSize, pageToken } = request.query as Static<typeof Query>;
        const limit = parsePageSize(pageSize);
        const binding = [job.uid, 'events'];
        const after = pageToken ? Number(openPageToken(config.secretKey, binding, pageToken)[0]) : 0;
        const found = await listEvents(database, job.uid, { after, limit: limit + 1 });
        const page = found.slice(0, limit);
        const last = page.at(-1);
        return {
          events: page.map(viewEvent),
          nextPageToken: last && found.length > limit ? sealPageToken(config.secretKey, binding, [String(last.sequence)]) : '',
          totalSize: await countEvents(database, job.uid),
        };
      },
    );

    server.get(
      `${one}::streamEvents`,
      {
        config: { access: 'user' },
        schema: {
          params: JobPath,
          produces: ['text/event-stream'],
          description:
            'Server-sent events; the ID of each is its sequence. Resumes after Last-Event-ID; ends after the event of a final state.',
        },
      },
      async (request, reply) => {
        const job = await requireJob(database, family, request.params);
        const after = readLastEventId(request.headers['last-event-id']);
        reply.hijack();
        request.log.info({ job: job.id, after }, 'event stream begins');
        await streamEvents(dependencies, job, after, reply.raw, closing.signal).catch((error: Error) =>
          request.log.warn({ cause: error.message }, 'event stream ended'),
        );
        reply.raw.end();
      },
    );
  }
}

function readLastEventId(header: string | string[] | undefined): number {
  if (header === undefined || header === '') return 0;
  if (typeof header === 'string' && /^[0-9]{1,9}$/.test(header)) return Number(header);
  throw fieldError('INVALID_FIELD', 'Last-Event-ID', 'Last-Event-ID must be the ID of an event of this stream: a whole number.');
}

/** Writes events until the job's last, the client's leave or the server's end. An error ends the stream: the client comes again. */
async function streamEvents(
  { database, events }: ApiDependencies,
  job: JobRecord,
  after: number,
  response: ServerResponse,
  closing: AbortSignal,
): Promise<void> {
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store', 'x-accel-buffering': 'no' });
  response.write(`retry: 1000\n\n`);
  const waiter = makeWaiter();
  const unsubscribe = events.subscribe(job.uid, waiter.wake);
  let gone = false;
  response.on('close', () => {
    gone = true;
    waiter.wake();
  });
  closing.addEventListener('abort', waiter.wake);
  try {
    for (;;) {
      const found = await listEvents(database, job.uid, { after, limit: BATCH });
      for (const event of found) {
        after = event.sequence;
        if (!response.write(`id: ${event.sequence}\nevent: ${event.type}\ndata: ${JSON.stringify(viewEvent(event))}\n\n`))
          await drained(response, () => gone);
        // More follow where a failed job was resumed.
        if (isLastEvent(event) && event === found.at(-1)) return;
      }
      if (gone || closing.aborted) return;
      if (found.length === BATCH) continue;
      // A client that already has the last event, or whose job is gone, would wait for ever.
      const now = await findJobByUid(database, job.uid);
      if (!now || (isTerminal(now.state) && found.length === 0)) return;
      if (!(await waiter.wait(LOOK_AGAIN_MS))) response.write(': still here\n\n');
    }
  } finally {
    unsubscribe();
    closing.removeEventListener('abort', waiter.wake);
  }
}

function drained(response: ServerResponse, isGone: () => boolean): Promise<void> {
  if (isGone()) return Promise.resolve();
  return new Promise((resolve) => {
    const done = (): void => {
      response.off('drain', done);
      response.off('close', done);
      resolve();
    };
    response.on('drain', done);
    response.on('close', done);
  });
}

/** `wait` gives true at the next `wake`, also one that came since the last wait, and false when the time is over. */
function makeWaiter(): { wake: () => void; wait: (timeoutMs: number) => Promise<boolean> } {
  let isWoken = false;
  let resolveWait: (() => void) | null = null;
  return {
    wake() {
      isWoken = true;
      resolveWait?.();
    },
    async wait(timeoutMs) {
      if (!isWoken) {
        let timer: NodeJS.Timeout | undefined;
        await new Promise<void>((resolve) => {
          resolveWait = resolve;
          timer = setTimeout(resolve, timeoutMs);
        });
        clearTimeout(timer);
        resolveWait = null;
      }
      const woken = isWoken;
      isWoken = false;
      return woken;
    },
  };
}

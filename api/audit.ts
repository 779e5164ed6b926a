/** Who did what: every request that may change something leaves a row, whatever its outcome; admins read them. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { sql } from 'kysely';
import { Type, type Static } from 'typebox';
import { AuditEvent } from '../schemas/auditEvent.js';
import { notFound } from '../schemas/errors.js';
import { resourceName } from '../schemas/names.js';
import { GetQuery, Id, listReply, ListQuery } from '../schemas/wire.js';
import { appendAuditEvent, findAuditEvent, type AuditEventRecord } from '../stores/auditEvents.js';
import { name, number, text, time, type ListFields } from './listFields.js';
import { answerList } from './listRequest.js';
import { compileReadMask } from './readMask.js';
import type { ApiDependencies } from './server.js';

declare module 'fastify' {
  interface FastifyRequest {
    /** What the answer says the request made or changed. */
    answeredName: string;
    /** The stable code of a refusal. */
    failureReason: string;
  }
}

const READING = new Set(['GET', 'HEAD', 'OPTIONS']);
const MAX_PATH_LENGTH = 500;

const FIELDS: ListFields = {
  name: name('auditEvents'),
  time: time('time'),
  user: { type: 'text', expression: sql`('accounts/' || user_account_id || '/users/' || user_id)` },
  email: text('email'),
  keyId: text('key_id'),
  method: text('method'),
  path: text('path'),
  resource: text('resource'),
  status: number(sql.ref('status')),
  reason: text('reason'),
  address: text('address'),
};

/** Writes the trail. Registered before the routes; a row that cannot be written is logged whole instead. */
export function recordRequests(server: FastifyInstance, { database }: ApiDependencies): void {
  server.decorateRequest('answeredName', '');
  server.decorateRequest('failureReason', '');
  server.addHook('preSerialization', (request, _reply, payload: unknown, done) => {
    const answered = (payload as { name?: unknown } | null)?.name;
    if (typeof answered === 'string') request.answeredName = answered;
    done(null, payload);
  });
  server.addHook('onResponse', (request, reply, done) => {
    // Without a caller nobody did anything, and a flood is no deed: the log has them.
    if (READING.has(request.method) || !request.caller || request.failureReason === 'RATE_LIMITED') return done();
    const event = describeRequest(request, reply.statusCode);
    appendAuditEvent(database, event)
      .catch((error: Error) => request.log.error({ event, cause: error.message }, 'audit event not stored'))
      .finally(done);
  });
}

function describeRequest(request: FastifyRequest, status: number) {
  const { caller } = request;
  const path = (request.url.split('?')[0] ?? '').slice(0, MAX_PATH_LENGTH);
  const params = (request.params ?? {}) as { account?: string };
  return {
    id: request.id,
    // A request that was refused another account's resource is in the trail of its own account: the other must not learn of it.
    account_id: params.account !== undefined && request.isManaged ? params.account : caller.accountId,
    user_id: caller.userId,
    user_account_id: caller.accountId,
    email: caller.email,
    key_id: caller.keyId,
    method: request.method,
    path,
    resource: (request.answeredName || path.replace(/^\/v1\//, '')).slice(0, MAX_PATH_LENGTH),
    status,
    reason: request.failureReason,
    address: request.ip,
  };
}

export function auditRoutes(server: FastifyInstance, { database, config }: ApiDependencies): void {
  const collection = '/v1/accounts/:account/auditEvents';
  const access = { access: 'admin' as const, operators: true };
  const Account = Type.Object({ account: Id() });
  const EventPath = Type.Object({ account: Id(), id: Id() });

  server.get(
    collection,
    { config: access, schema: { params: Account, querystring: ListQuery, response: { 200: listReply('auditEvents', AuditEvent) } } },
    (request) => {
      const { account } = request.params as Static<typeof Account>;
      const query = request.query as Static<typeof ListQuery>;
      return answerList(
        database,
        config.secretKey,
        account,
        { ...query, orderBy: query.orderBy || 'time desc' },
        { table: 'audit_events', collection: 'auditEvents', fields: FIELDS, schema: AuditEvent, view: viewAuditEvent },
      );
    },
  );

  server.get(
    `${collection}/:id(^[^:/]+$)`,
    { config: access, schema: { params: EventPath, querystring: GetQuery, response: { 200: AuditEvent } } },
    async (request) => {
      const { account, id } = request.params as Static<typeof EventPath>;
      const mask = compileReadMask<AuditEvent>((request.query as Static<typeof GetQuery>).readMask, AuditEvent);
      const event = await findAuditEvent(database, account, id);
      if (!event) throw notFound(account, 'auditEvents', id);
      return mask(viewAuditEvent(event));
    },
  );
}

function viewAuditEvent(event: AuditEventRecord): AuditEvent {
  return {
    name: resourceName(event.account_id, 'auditEvents', event.id),
    time: event.time.toISOString(),
    user: resourceName(event.user_account_id, 'users', event.user_id),
    email: event.email,
    keyId: event.key_id,
    method: event.method,
    path: event.path,
    resource: event.resource,
    status: event.status,
    reason: event.reason,
    address: event.address,
  };
}

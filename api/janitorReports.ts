/** What the janitor found and removed, for operators; and a run of it now. Its Temporal schedule is made when the API starts. */
import { ScheduleAlreadyRunning, type Client } from '@temporalio/client';
import type { FastifyInstance } from 'fastify';
import { sql } from 'kysely';
import { Type, type Static } from 'typebox';
import { notFound } from '../schemas/errors.js';
import { JANITOR_CRON, JANITOR_SCHEDULE_ID, JanitorReport } from '../schemas/janitor.js';
import { resourceName } from '../schemas/names.js';
import { CONTROL_QUEUE } from '../schemas/taskQueues.js';
import { Empty, GetQuery, Id, listReply, ListQuery } from '../schemas/wire.js';
import { findJanitorReport, type JanitorReportRecord } from '../stores/janitorReports.js';
import { JANITOR_WORKFLOW } from '../workflows/messages.js';
import { name, number, time, type ListFields } from './listFields.js';
import { answerList } from './listRequest.js';
import { compileReadMask } from './readMask.js';
import type { ApiDependencies } from './server.js';

const FIELDS: ListFields = {
  name: name('janitorReports'),
  createTime: time('create_time'),
  removedCount: number(sql.ref('removed')),
  keptCount: number(sql.ref('kept')),
};
const TRIGGER_TIMEOUT_MS = 5_000;

export function janitorRoutes(server: FastifyInstance, { database, temporal, config }: ApiDependencies): void {
  const collection = '/v1/accounts/:account/janitorReports';
  const access = { access: 'operator' as const };
  const Account = Type.Object({ account: Id() });
  const ReportPath = Type.Object({ account: Id(), id: Id() });

  server.get(
    collection,
    { config: access, schema: { params: Account, querystring: ListQuery, response: { 200: listReply('janitorReports', JanitorReport) } } },
    (request) => {
      const query = request.query as Static<typeof ListQuery>;
      return answerList(
        database,
        config.secretKey,
        request.caller.accountId,
        { ...query, orderBy: query.orderBy || 'createTime desc' },
        { table: 'janitor_reports', collection: 'janitorReports', fields: FIELDS, schema: JanitorReport, view: viewReport },
      );
    },
  );

  server.get(
    `${collection}/:id(^[^:/]+$)`,
    { config: access, schema: { params: ReportPath, querystring: GetQuery, response: { 200: JanitorReport } } },
    async (request) => {
      const { account, id } = request.params as Static<typeof ReportPath>;
      const mask = compileReadMask<JanitorReport>((request.query as Static<typeof GetQuery>).readMask, JanitorReport);
      const report = await findJanitorReport(database, account, id);
      if (!report) throw notFound(account, 'janitorReports', id);
      return mask(viewReport(report));
    },
  );

  server.post(`${collection}::run`, { config: access, schema: { params: Account, body: Empty, response: { 200: Empty } } }, async () => {
    await ensureJanitorSchedule(temporal, config.operatorAccountId);
    await temporal.withDeadline(Date.now() + TRIGGER_TIMEOUT_MS, () => temporal.schedule.getHandle(JANITOR_SCHEDULE_ID).trigger());
    return {};
  });
}

/** The janitor's Temporal schedule; one that is there, paused or not, stays as it is. */
export async function ensureJanitorSchedule(client: Client, accountId: string): Promise<void> {
  try {
    await client.withDeadline(Date.now() + TRIGGER_TIMEOUT_MS, () =>
      client.schedule.create({
        scheduleId: JANITOR_SCHEDULE_ID,
        spec: { cronExpressions: [JANITOR_CRON], jitter: '10m' },
        policies: { overlap: 'SKIP' },
        action: {
          type: 'startWorkflow',
          workflowType: JANITOR_WORKFLOW,
          workflowId: JANITOR_SCHEDULE_ID,
          taskQueue: CONTROL_QUEUE,
          args: [{ accountId }],
        },
      }),
    );
  } catch (error) {
    if (!(error instanceof ScheduleAlreadyRunning)) throw error;
  }
}

function viewReport(report: JanitorReportRecord): JanitorReport {
  return {
    name: resourceName(report.account_id, 'janitorReports', report.id),
    createTime: report.create_time.toISOString(),
    removedCount: report.removed,
    keptCount: report.kept,
    removedBytes: String(report.size_bytes),
    orphans: report.orphans.map(({ kind, name: orphan, reason, sizeBytes, removed }) => ({
      kind,
      orphan,
      reason,
      sizeBytes: String(sizeBytes),
      removed,
    })),
  };
}

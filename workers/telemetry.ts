/** What a worker tells operators: log lines in JSON, metrics (its own and those of Temporal's SDK) on one port, traces where they are wanted. */
import {
  OpenTelemetryActivityInboundInterceptor,
  OpenTelemetryWorkflowClientInterceptor,
  makeWorkflowExporter,
} from '@temporalio/interceptors-opentelemetry';
import { DefaultLogger, makeTelemetryFilterString, Runtime, type WorkerOptions } from '@temporalio/worker';
import { failureInterceptor } from '../activities/failures.js';
import type { WorkerKind } from '../schemas/worker.js';
import { formatLogLine } from '../telemetry/logs.js';
import { findFreePort, openOperatorPort } from '../telemetry/server.js';
import { startTracing, type Tracing } from '../telemetry/tracing.js';

export interface Telemetry {
  tracing: Tracing | null;
  /** Opens TEMPER_METRICS_PORT where it is set. A port that is taken costs the metrics, not the work. */
  serve(notReady: () => Promise<string | null>): Promise<void>;
  close(): Promise<void>;
}

const SDK_METRICS_TIMEOUT_MS = 2_000;

export async function startTelemetry(kind: WorkerKind): Promise<Telemetry> {
  const tracing = startTracing(`${kind}-worker`);
  const metricsPort = process.env['TEMPER_METRICS_PORT'];
  // Of the SDK, in its own format: what the one port shows after ours.
  const sdkAddress = metricsPort ? `127.0.0.1:${await findFreePort()}` : null;
  const logger = new DefaultLogger('INFO', ({ level, message, meta }) =>
    process.stdout.write(`${formatLogLine(kind, level, message, meta)}\n`),
  );
  Runtime.install({
    logger,
    telemetryOptions: {
      logging: { forward: {}, filter: makeTelemetryFilterString({ core: 'WARN', other: 'ERROR' }) },
      ...(sdkAddress
        ? {
            metrics: { prometheus: { bindAddress: sdkAddress, countersTotalSuffix: true, unitSuffix: true, useSecondsForDurations: true } },
          }
        : {}),
    },
  });
  return {
    tracing,
    async serve(notReady) {
      if (!metricsPort) return;
      const more = async () => {
        const reply = await fetch(`http://${sdkAddress}/metrics`, { signal: AbortSignal.timeout(SDK_METRICS_TIMEOUT_MS) });
        return reply.text();
      };
      const host = process.env['TEMPER_METRICS_HOST'] || '127.0.0.1';
      await openOperatorPort(host, Number(metricsPort), { more: () => more().catch(() => ''), notReady }).catch((error: Error) =>
        logger.warn(`No metrics: ${host}:${metricsPort} cannot be listened on (${error.message})`),
      );
    },
    close: async () => tracing?.close(),
  };
}

/** The interceptors of every worker, and those of traces where they are wanted. */
export function traced({ tracing }: Telemetry): Pick<WorkerOptions, 'interceptors' | 'sinks'> {
  const failures = { inbound: failureInterceptor };
  if (!tracing) return { interceptors: { activity: [() => failures] } };
  return {
    interceptors: {
      activity: [(context) => ({ inbound: new OpenTelemetryActivityInboundInterceptor(context) }), () => failures],
      client: { workflow: [new OpenTelemetryWorkflowClientInterceptor()] },
      workflowModules: [new URL('../telemetry/workflowInterceptors.ts', import.meta.url).pathname],
    },
    sinks: { exporter: makeWorkflowExporter(tracing.processor, tracing.resource) },
  } as Pick<WorkerOptions, 'interceptors' | 'sinks'>;
}

/**
 * OpenTelemetry traces, where OTEL_EXPORTER_OTLP_ENDPOINT says where to send them: a request to the API, the workflow it starts,
 * each activity, the trainer's process. Without it nothing is recorded. The other OTEL_ variables of the standard hold, too.
 * Spans carry names, IDs and figures; never a request's content.
 */
import { context, propagation, trace, type Span, SpanStatusCode } from '@opentelemetry/api';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto';
import { Resource } from '@opentelemetry/resources';
import { BatchSpanProcessor, type SpanProcessor } from '@opentelemetry/sdk-trace-base';
import { NodeTracerProvider } from '@opentelemetry/sdk-trace-node';
import { TEMPER_VERSION } from '../schemas/version.js';

export interface Tracing {
  resource: Resource;
  processor: SpanProcessor;
  /** What was recorded is sent before the process ends. */
  close(): Promise<void>;
}

const CLOSE_TIMEOUT_MS = 3_000;

/** @returns null where traces are not wanted */
export function startTracing(process: string): Tracing | null {
  const endpoint = globalThis.process.env['OTEL_EXPORTER_OTLP_ENDPOINT'] ?? globalThis.process.env['OTEL_EXPORTER_OTLP_TRACES_ENDPOINT'];
  if (!endpoint) return null;
  const resource = Resource.default().merge(new Resource({ 'service.name': `temper-${process}`, 'service.version': TEMPER_VERSION }));
  const processor = new BatchSpanProcessor(new OTLPTraceExporter());
  const provider = new NodeTracerProvider({ resource, spanProcessors: [processor] });
  // The W3C headers, and the context along asynchronous calls.
  provider.register();
  return {
    resource,
    processor,
    async close() {
      const late = new Promise<void>((resolve) => setTimeout(resolve, CLOSE_TIMEOUT_MS).unref());
      await Promise.race([provider.shutdown().catch(() => {}), late]);
    },
  };
}

const tracer = () => trace.getTracer('temper', TEMPER_VERSION);

/** A span around work, under the one that is active. Costs next to nothing where traces are not wanted. */
export async function withSpan<T>(name: string, attributes: Record<string, string | number>, work: (span: Span) => Promise<T>): Promise<T> {
  return tracer().startActiveSpan(name, { attributes }, async (span) => {
    try {
      return await work(span);
    } catch (error) {
      // The kind, not the message: that may hold what is no one else's business.
      span.setStatus({ code: SpanStatusCode.ERROR, message: (error as { code?: string }).code ?? (error as Error).name });
      throw error;
    } finally {
      span.end();
    }
  });
}

/** The span of a request, under the client's own where it sent one. */
export function startRequestSpan(name: string, headers: Record<string, unknown>, attributes: Record<string, string>): Span {
  return tracer().startSpan(name, { attributes, kind: 1 }, propagation.extract(context.active(), headers));
}

export function runInSpan(span: Span, work: () => void): void {
  context.with(trace.setSpan(context.active(), span), work);
}

/** For a child process: the variable that OpenTelemetry reads from the environment. */
export function traceEnvironment(): Record<string, string> {
  const carrier: { traceparent?: string } = {};
  propagation.inject(context.active(), carrier);
  return carrier.traceparent ? { TRACEPARENT: carrier.traceparent } : {};
}

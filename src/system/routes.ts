import { Type } from 'typebox';
import { ApplicationError, errors } from '../errors.ts';
import { errorResponses } from '../http/schemas.ts';
import type { App, Services } from '../http/section.ts';
import { VERSION } from '../version.ts';
import { createProbe } from './probe.ts';
import { createMetrics, type ProcessFigures } from './prometheus.ts';
import type { Readiness } from './readiness.ts';
import { countOperations } from './store.ts';

const tags = ['System'];
const RETRY_AFTER_SECONDS = 2;

const Uptime = Type.Integer({ description: 'Seconds since the process started.' });
const Up = Type.Literal('up');

const HealthSchema = Type.Object(
  { status: Type.Literal('healthy'), version: Type.String(), uptime_seconds: Uptime },
  { title: 'Health', additionalProperties: false },
);
const MetricsSchema = Type.Object(
  {
    uptime_seconds: Uptime,
    tasks: Type.Object(
      {
        total: Type.Integer({
          description: 'Number of stored operations. Exact up to 100,000, then an estimate.',
        }),
        running: Type.Integer({ description: 'Number of running operations. Exact.' }),
      },
      { additionalProperties: false },
    ),
  },
  { title: 'Metrics', additionalProperties: false },
);

/**
 * Health, readiness and metrics. Call it on the application itself: its hook times every request.
 * @param figures of the process, for `/metrics`.
 */
export function registerSystemRoutes(
  app: App,
  services: Services,
  readiness: Readiness,
  figures: ProcessFigures,
): void {
  const { db, engine } = services;
  const probe = createProbe(db, engine);
  const metrics = createMetrics(app, db, services.providers, figures);
  const uptime = () => Math.floor(process.uptime());

  app.get(
    '/health',
    {
      config: { access: 'public' },
      schema: {
        operationId: 'getHealth',
        summary: 'Whether the server is healthy',
        description: '503 while the database cannot be reached or the server shuts down.',
        tags,
        response: { 200: HealthSchema, ...errorResponses() },
      },
    },
    async () => {
      if (readiness.leaving) throw errors.unavailable('The server is shutting down.', RETRY_AFTER_SECONDS);
      if (!(await probe()).database) {
        throw errors.unavailable('The database cannot be reached. Try again in a moment.', RETRY_AFTER_SECONDS);
      }
      return { status: 'healthy' as const, version: VERSION, uptime_seconds: uptime() };
    },
  );

  app.get(
    '/health/live',
    {
      config: { access: 'public' },
      schema: {
        operationId: 'getLiveness',
        summary: 'Whether the process runs',
        description: '200 as long as the process answers.',
        tags,
        response: { 200: Type.Object({ status: Type.Literal('alive') }, { additionalProperties: false }) },
      },
    },
    async () => ({ status: 'alive' as const }),
  );

  app.get(
    '/health/ready',
    {
      config: { access: 'public' },
      schema: {
        operationId: 'getReadiness',
        summary: 'Whether the server takes requests',
        description:
          '503 names in `details` what is missing: the database, the engine, room on the disk of the database (`disk`), or that the server is draining.',
        tags,
        response: {
          200: Type.Object(
            { status: Type.Literal('ready'), database: Up, engine: Up },
            { additionalProperties: false },
          ),
        },
      },
    },
    async () => {
      const { database, engine: engineUp } = await probe();
      const missing = [
        ...(readiness.leaving ? ['draining'] : []),
        ...(database ? [] : ['database']),
        ...(engineUp ? [] : ['engine']),
      ];
      const disk = readiness.disk.problem();
      if (missing.length > 0 || disk !== null) throw notReady(missing, disk);
      return { status: 'ready' as const, database: 'up' as const, engine: 'up' as const };
    },
  );

  app.get(
    '/v1/metrics',
    {
      config: { access: 'system_metrics' },
      schema: {
        operationId: 'getMetrics',
        summary: 'Metrics of the server',
        tags,
        response: { 200: MetricsSchema, ...errorResponses(401, 403) },
      },
    },
    async () => ({ uptime_seconds: uptime(), tasks: await countOperations(db) }),
  );

  app.get(
    '/metrics',
    {
      config: { access: 'system_metrics' },
      schema: {
        operationId: 'getPrometheusMetrics',
        summary: 'Metrics for Prometheus',
        tags,
        response: {
          200: { description: 'Prometheus text.', content: { 'text/plain': { schema: Type.String() } } },
          ...errorResponses(401, 403),
        },
      },
    },
    async (_request, reply) => {
      const text = await metrics.scrape();
      return reply.type(metrics.contentType).send(text);
    },
  );
}

const MISSING = {
  draining: 'the server is shutting down',
  database: 'the database does not answer',
  engine: 'the engine is not up',
} as Record<string, string>;

/** @param disk why the database's disk takes no more; null: it does. */
function notReady(missing: string[], disk: string | null): ApplicationError {
  const reasons = [...missing.map((part) => MISSING[part] ?? part), ...(disk === null ? [] : [disk])];
  return new ApplicationError(503, 'SERVICE_UNAVAILABLE', `Not ready: ${reasons.join(', ')}.`, {
    details: { missing: [...missing, ...(disk === null ? [] : ['disk'])] },
    retryAfter: RETRY_AFTER_SECONDS,
  });
}

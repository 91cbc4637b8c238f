import { collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { Database } from '../database/pool.ts';
import type { App } from '../http/section.ts';
import type { ProviderRegistry } from '../providers/registry.ts';
import { within } from './probe.ts';
import { readFigures } from './store.ts';

/** A scrape is never held up by a database that does not answer: the process's own figures go out without it. */
const FIGURES_MS = 3_000;

/** What a connection pool tells of itself (pg.Pool has this shape). */
interface PoolFigures {
  readonly totalCount: number;
  readonly idleCount: number;
  readonly waitingCount: number;
}

/** What the metrics tell of the process itself. */
export interface ProcessFigures {
  /** The application's connections. */
  pool: PoolFigures;
  /** Its own TLS; null: it has none. */
  tls: { state(): { expiresAt: Date; problem: string | null } } | null;
}

/** The Prometheus text of this process, and its content type. */
interface Metrics {
  contentType: string;
  scrape(): Promise<string>;
}

/** One registry for each application, fed by its requests from here on. */
export function createMetrics(
  app: App,
  db: Database,
  providers: ProviderRegistry,
  { pool, tls }: ProcessFigures,
): Metrics {
  const registry = new Registry();
  // Process, heap, garbage collection, and the event loop's lag (nodejs_eventloop_lag_seconds).
  collectDefaultMetrics({ register: registry });
  observeRequests(app, registry);
  observePool(pool, registry);
  observeTls(tls, registry);
  const update = databaseGauges(registry);
  const updateAccounts = accountGauges(registry);
  return {
    contentType: registry.contentType,
    async scrape() {
      const [figures, accounts] = await Promise.all([
        within(
          FIGURES_MS,
          readFigures(db).catch(() => null),
        ),
        within(
          FIGURES_MS,
          providers.accounts().catch(() => null),
        ),
      ]);
      update(figures);
      updateAccounts(accounts ?? []);
      return registry.metrics();
    },
  };
}

function observeRequests(app: App, registry: Registry): void {
  const duration = new Histogram({
    name: 'provisioning_http_request_duration_seconds',
    help: 'Time from the request to the end of its answer, by route.',
    labelNames: ['method', 'route', 'status'] as const,
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
    registers: [registry],
  });
  app.addHook('onResponse', (request, reply, done) => {
    // The route's pattern, never the path: ids and attackers would make a series each.
    const route = request.routeOptions.url ?? 'unmatched';
    duration.observe({ method: request.method, route, status: reply.statusCode }, reply.elapsedTime / 1_000);
    done();
  });
}

function observePool(pool: PoolFigures, registry: Registry): void {
  new Gauge({
    name: 'provisioning_database_pool_connections',
    help: 'Connections of this process to the database: in use, idle; and requests waiting for one.',
    labelNames: ['state'] as const,
    registers: [registry],
    collect() {
      this.set({ state: 'in_use' }, pool.totalCount - pool.idleCount);
      this.set({ state: 'idle' }, pool.idleCount);
      this.set({ state: 'waiting' }, pool.waitingCount);
    },
  });
}

function observeTls(tls: ProcessFigures['tls'], registry: Registry): void {
  new Gauge({
    name: 'provisioning_tls_certificate_expiry_timestamp_seconds',
    help: "When this process's own TLS certificate ends. Absent without TLS of its own.",
    registers: [registry],
    collect() {
      if (tls === null) this.remove();
      else this.set(tls.state().expiresAt.getTime() / 1_000);
    },
  });
  new Gauge({
    name: 'provisioning_tls_reload_failed',
    help: '1 while the TLS files cannot be used, so that the previous ones stay in use. Absent without TLS of its own.',
    registers: [registry],
    collect() {
      if (tls === null) this.remove();
      else this.set(tls.state().problem === null ? 0 : 1);
    },
  });
}

/** What an account is called that belongs to the installation: no workspace has such a name. */
const INSTALLATION = '(installation)';
const STATES = ['ok', 'paused', 'unreachable', 'refused'] as const;

/** @returns sets the gauges of the accounts at clouds, as this process sees them. */
function accountGauges(registry: Registry) {
  const gauge = <L extends string>(name: string, help: string, labels: readonly L[]) =>
    new Gauge({
      name: `provisioning_provider_${name}`,
      help,
      labelNames: ['provider', 'workspace', ...labels],
      registers: [registry],
    });
  const state = gauge('account_state', '1 for the state that calls of the account are in.', ['state']);
  const waiting = gauge('calls_waiting', 'Calls that wait for their turn.', []);
  const calls = gauge('calls', 'Calls sent since the process started, by what they were for.', ['kind']);
  const throttled = gauge('calls_throttled', 'Calls answered with "too many calls" since the process started.', []);
  return (accounts: Awaited<ReturnType<ProviderRegistry['accounts']>>) => {
    for (const each of [state, waiting, calls, throttled]) each.reset();
    for (const { provider, workspace } of accounts) {
      const now = provider.account?.();
      if (now === undefined) continue;
      const labels = { provider: provider.name, workspace: workspace ?? INSTALLATION };
      for (const each of STATES) state.set({ ...labels, state: each }, now.state === each ? 1 : 0);
      for (const [kind, count] of Object.entries(now.calls)) calls.set({ ...labels, kind }, count);
      waiting.set(labels, now.waiting);
      throttled.set(labels, now.throttled);
    }
  };
}

/** @returns sets the gauges; null: the database did not answer, so they are left out. */
function databaseGauges(registry: Registry) {
  const gauge = <L extends string>(name: string, help: string, labelNames: readonly L[]) =>
    new Gauge({ name, help, labelNames, registers: [registry] });
  const up = gauge('provisioning_database_up', '1 while the database answers.', []);
  const unfinished = gauge(
    'provisioning_operations_unfinished',
    'Pending and running operations of all replicas. Counted to 100,000.',
    ['kind', 'status'],
  );
  const finished = gauge(
    'provisioning_operations_finished_5m',
    'Operations of all replicas that ended in the last five minutes. Counted to 100,000.',
    ['kind', 'status'],
  );
  const depth = gauge('provisioning_queue_depth', 'Operations that wait to be taken up, over all queues.', []);
  const replicas = gauge('provisioning_replicas_alive', 'Workers with a fresh heartbeat.', []);
  const orphans = gauge('provisioning_orphans', 'Servers at providers that nobody here knows.', ['provider']);
  const missing = gauge('provisioning_servers_missing', 'Servers that their provider has no more.', []);
  const drifted = gauge('provisioning_servers_drifted', 'Servers that stand otherwise than they were left.', []);
  const sweeps = gauge(
    'provisioning_sweep_age_seconds',
    'Time since an account was last looked at whole; of several at a provider, the longest.',
    ['provider'],
  );
  const unexported = gauge(
    'provisioning_audit_export_pending_rows',
    'Sealed rows of the audit log that have not been exported yet. Absent without an export.',
    [],
  );

  return (figures: Awaited<ReturnType<typeof readFigures>> | null) => {
    for (const each of [unfinished, finished, orphans, sweeps]) each.reset();
    up.set(figures === null ? 0 : 1);
    if (figures === null) {
      for (const each of [depth, replicas, missing, drifted, unexported]) each.remove();
      return;
    }
    let pending = 0;
    for (const { kind, status, count } of figures.unfinished) {
      unfinished.set({ kind, status }, count);
      if (status === 'pending') pending += count;
    }
    for (const { kind, status, count } of figures.finished) finished.set({ kind, status }, count);
    depth.set(pending);
    replicas.set(figures.replicas);
    if (figures.auditPending === null) unexported.remove();
    else unexported.set(figures.auditPending);
    missing.set(figures.servers.missing);
    drifted.set(figures.servers.drifted);
    for (const { provider, count } of figures.orphans) orphans.set({ provider }, count);
    for (const { provider, seconds } of figures.sweeps) sweeps.set({ provider }, seconds);
  };
}

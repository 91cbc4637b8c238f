import { setTimeout as pause } from 'node:timers/promises';
import { type DestinationStream, type Logger, pino, type SerializedError } from 'pino';
import { startAuditExport } from './access/audit-export.ts';
import { auditKey, startAuditSealer } from './access/audit-sealer.ts';
import { createAuthenticator, USERS_CHANNEL } from './access/authenticate.ts';
import { createEncryption, type Encryption } from './access/encryption.ts';
import { prepareInstallation } from './access/installation.ts';
import { openEncryption } from './access/master-key.ts';
import { createIssuers } from './access/sso/issuers.ts';
import { startRevocations } from './accounts/sso/revocations.ts';
import { startRoleExpiry } from './accounts/sso/roles.ts';
import { createSessionCheck } from './accounts/sso/session-check.ts';
import { buildApp } from './app.ts';
import { BackupError } from './backup/errors.ts';
import { type Config, ConfigError } from './config.ts';
import { asDiskError, createDiskWatch, isDiskRefusal } from './database/disk.ts';
import { type EmbeddedPostgres, runningEmbeddedPostgres, startEmbeddedPostgres } from './database/embedded.ts';
import { startListener } from './database/listener.ts';
import { migrate, UnusableDatabaseError, withMigrationLock } from './database/migrate.ts';
import type { Database } from './database/pool.ts';
import { type ConnectionSettings, createDatabase, createPool, isDatabaseUnavailable } from './database/pool.ts';
import { CHANNELS, migrateEngine, startEngine } from './engine/engine.ts';
import { ApplicationError } from './errors.ts';
import { closeEvaluation, limitEvaluation } from './evaluation/pool.ts';
import { createMutate } from './http/mutation.ts';
import type { App } from './http/section.ts';
import { openTls } from './http/tls.ts';
import { createLimits } from './limits/limits.ts';
import { startSharedCounts } from './limits/shared-counts.ts';
import { OPERATION_KINDS } from './operation-kinds.ts';
import { createFollower } from './operations/follow.ts';
import { createEgressPolicy } from './outbound/egress.ts';

import { openProviders } from './provider-setup.ts';
import { detectDockerHost } from './providers/docker/provider.ts';
import { readInstallationId } from './providers/installation.ts';
import { providerQueue } from './providers/registry.ts';
import { EXISTING, IMPORT_QUEUE } from './servers/existing.ts';
import { expiringServers } from './servers/expiry/expiring.ts';
import { startExpirySweep } from './servers/expiry/sweep.ts';
import { startSweeper } from './servers/orphans/sweeper.ts';
import { OBSERVE_QUEUE } from './servers/refresh/procedure.ts';
import { enterServer } from './servers/ssh-way.ts';
import { nameSources } from './stack-traces.ts';
import { createReadiness } from './system/readiness.ts';
import { expiringTaskservs } from './taskservs/expiry/expiring.ts';
import { startHealthChecks } from './taskservs/health-checks.ts';
import { FORMER_TASKSERV_QUEUE, TASKSERV_QUEUE } from './taskservs/procedures/input.ts';
import { TransportError } from './transports/contract.ts';
import { createDockerExecTransport } from './transports/docker-exec.ts';
import { createHosts } from './transports/hosts.ts';
import { createSimulatedTransport } from './transports/simulated.ts';
import { createSshPool } from './transports/ssh.ts';
import { VERSION } from './version.ts';
import { startWebhooks } from './webhooks/dispatcher.ts';
import { allProcedures } from './worker.ts';
import { nodesOf } from './workflows/kinds/nodes.ts';
import { WORKFLOW_QUEUE } from './workflows/queue.ts';
import { startSchedules } from './workflows/schedules/scheduler.ts';
import { ensureDefaultWorkspace } from './workspaces/service.ts';

/** How long a start waits for an external database that does not answer yet. */
const DATABASE_WAIT_MS = 30_000;
/** Workflows at once in one process: more than there will be, as each only waits for its nodes. */
const MAX_WORKFLOWS = 1_000_000;
/** Owners whose operations on hosts are carried out at once by one process, each as many as they like. */
const OWNERS_AT_ONCE = 4;
/** At a stop: how long a request that has been begun may take. Long polls and streams end by themselves at once. */
const CUT_OFF_MS = 5_000;
/** Exit status of a replica that the others have given up (EX_TEMPFAIL: starting it again is right). */
const FENCED_EXIT_STATUS = 75;

const LISTEN_REASONS: Record<string, string> = {
  EADDRINUSE: 'another program listens there already',
  EACCES: 'this needs more rights than the process has',
  EADDRNOTAVAIL: 'this machine has no such address',
  ENOTFOUND: 'there is no such host',
};

/** A server that runs. */
export interface RunningServer {
  app: App;
  /** `http://127.0.0.1:8083`, `https:` with TLS; null for a replica that serves no API (role `worker`). */
  address: string | null;
  /** Drains, hands running procedures over, stops the embedded database. */
  close(): Promise<void>;
}

export function createLogger(config: Config): Logger {
  const options = {
    level: config.logLevel,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    serializers: { err: describeError },
    redact: [
      'password',
      'token',
      'refresh_token',
      'authorization',
      '*.password',
      '*.token',
      '*.refresh_token',
      '*.authorization',
    ],
  };
  if (config.logFormat === 'json') return pino(options, gatheredLines());
  return pino({
    ...options,
    transport: { target: 'pino-pretty', options: { destination: 2, translateTime: 'HH:MM:ss' } },
  });
}

/** Log lines wait this long for others. Milliseconds. */
const LOG_GATHER_MS = 10;
/** More than this is written without waiting. Bytes. */
const LOG_GATHER_BYTES = 8_192;

/**
 * Standard error, where lines that come close together are written at once: under load a write for each line is a seventh
 * of what a request costs. Pino writes what is left after a fatal line and at the end of the process.
 */
function gatheredLines(): DestinationStream & { flush(): void; flushSync(): void } {
  const destination = pino.destination({ fd: 2, sync: false, minLength: LOG_GATHER_BYTES });
  let timer: NodeJS.Timeout | undefined;
  return {
    write(line) {
      destination.write(line);
      if (timer !== undefined) return;
      timer = setTimeout(() => {
        timer = undefined;
        destination.flush();
      }, LOG_GATHER_MS).unref();
    },
    flush: (done?: (error?: Error) => void) => destination.flush(done),
    flushSync: () => destination.flushSync(),
  };
}

function describeError(error: Error): SerializedError {
  const described = pino.stdSerializers.err(error);
  if (typeof described.stack === 'string') described.stack = nameSources(described.stack);
  return described;
}

/** Where the database is: the external one, or the embedded one, started. */
async function openDatabase(
  config: Config,
  logger: Logger,
  signal: AbortSignal | undefined,
): Promise<{ settings: ConnectionSettings; embedded: EmbeddedPostgres | null }> {
  if (config.databaseUrl !== null) return { settings: { connectionString: config.databaseUrl }, embedded: null };
  const embedded = await startEmbeddedPostgres({
    dataDir: config.dataDir,
    log: (line) => logger.warn({ component: 'postgres' }, line),
    ...(signal === undefined ? {} : { signal }),
  });
  return { settings: embedded.connection, embedded };
}

/** Creates or updates all tables, one replica at a time. @returns names of the application's migrations that ran. */
export async function migrateDatabase(settings: ConnectionSettings, db: Database, logger: Logger): Promise<string[]> {
  const deadline = performance.now() + DATABASE_WAIT_MS;
  for (;;) {
    try {
      return await withMigrationLock(settings, async () => {
        const ran = await migrate(db);
        await migrateEngine(settings, logger);
        return ran;
      });
    } catch (error) {
      if (isDiskRefusal(error)) throw error;
      if (!isDatabaseUnavailable(error) || performance.now() > deadline) throw describeDatabaseError(error);
      logger.warn('the database does not answer yet; trying again');
      await pause(1_000);
    }
  }
}

/** Postgres' codes for: no such database, no such role, wrong password, not allowed to connect. */
const REFUSED_CODES = ['3D000', '28000', '28P01', '42501'];

function describeDatabaseError(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  if (error instanceof UnusableDatabaseError) return new ConfigError(error.message);
  const code = 'code' in error ? String(error.code) : '';
  if (REFUSED_CODES.includes(code)) {
    return new ConfigError(`The database refused this server: ${error.message}. Check PROVISIONING_DATABASE_URL.`);
  }
  if (!isDatabaseUnavailable(error)) return error;
  return new ConfigError(
    `The database does not answer (${error.message || code}). Check PROVISIONING_DATABASE_URL, and that PostgreSQL is running.`,
  );
}

/** Runs `work` on the configured database, which is stopped again afterwards where it is the embedded one. */
export async function withDatabase<T>(
  config: Config,
  logger: Logger,
  work: (db: Database, settings: ConnectionSettings) => Promise<T>,
  { signal }: { signal?: AbortSignal } = {},
): Promise<T> {
  try {
    const { settings, embedded } = await openDatabase(config, logger, signal);
    const db = createDatabase(createPool(settings, { max: 2, applicationName: 'provisioning' }));
    try {
      return await work(db, settings);
    } finally {
      await db.destroy();
      await embedded?.stop();
    }
  } catch (error) {
    // A backup says itself which file it cannot write.
    if (error instanceof BackupError) throw error;
    throw asDiskError(error, config.dataDir) ?? error;
  }
}

/** The same where a server may be working on the embedded database: then `work` shares it. */
export async function withSharedDatabase<T>(
  config: Config,
  logger: Logger,
  work: (settings: ConnectionSettings) => Promise<T>,
  options: { signal?: AbortSignal } = {},
): Promise<T> {
  const running = config.databaseUrl === null ? await runningEmbeddedPostgres(config.dataDir) : null;
  if (running !== null) return work(running);
  return withDatabase(config, logger, (_, settings) => work(settings), options);
}

/** How the servers of each provider are entered. */
function createWays(config: Config, db: Database): Parameters<typeof createHosts>[1] {
  const engine = detectDockerHost(config.docker.host ?? undefined, config.docker.candidates);
  return {
    simulated: ({ provider_ref: ref, hostname: host }) =>
      createSimulatedTransport({ db, ref, host, ...config.simulated }),
    docker: ({ provider_ref: container, hostname: host }) => {
      if (engine !== null) return createDockerExecTransport({ engine, container, host });
      throw new TransportError('UNREACHABLE', `${host}: this replica has no container engine.`);
    },
  };
}

interface StartOptions {
  /** Ends a start that is not through yet: it then throws the signal's reason. */
  signal?: AbortSignal;
  /**
   * Gets the password made for `admin` at the first start, to be shown to a person once. Called as soon as the user
   * exists: a start that fails after that must not lock everybody out.
   */
  showPassword: (password: string) => void;
}

/** Starts everything the role asks for and listens. What was opened is closed again when a later part fails. */
export async function startServer(config: Config, logger: Logger, options: StartOptions): Promise<RunningServer> {
  const opened: (() => Promise<unknown>)[] = [];
  const closeAll = () => closeInReverse(opened);
  try {
    return await start(config, logger, opened, closeAll, options);
  } catch (error) {
    await closeAll().catch((failure) => logger.error({ err: failure }, 'could not clean up after a failed start'));
    throw asDiskError(error, config.dataDir) ?? error;
  }
}

/** Closes all, whatever goes wrong with one of them: the database comes last and must not be left running. */
async function closeInReverse(opened: (() => Promise<unknown>)[]): Promise<void> {
  const failures: unknown[] = [];
  for (const close of opened.splice(0).reverse()) {
    try {
      await close();
    } catch (error) {
      failures.push(error);
    }
  }
  if (failures.length > 0) throw failures.length === 1 ? failures[0] : new AggregateError(failures);
}

/** Answers what is under way; whoever has not sent a whole request, or does not take the answer, is cut off after a while. */
async function closeHttp(app: App): Promise<void> {
  const timer = setTimeout(() => app.server.closeAllConnections(), CUT_OFF_MS);
  await app.close();
  clearTimeout(timer);
}

/** @throws ConfigError where the address cannot be had. */
async function listen(app: App, { host, port, tls }: Config): Promise<string> {
  try {
    const address = await app.listen({ host, port });
    return tls === null ? address : address.replace(/^http:/, 'https:');
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    const reason = LISTEN_REASONS[String(code)];
    if (reason === undefined) throw error;
    throw new ConfigError(
      `Cannot listen on ${host} port ${port}: ${reason}. Set PROVISIONING_HOST or PROVISIONING_PORT.`,
    );
  }
}

/** The key of the audit log's checkpoints; null: this replica has another master key, and leaves sealing and exporting to the others. */
function sealingKeyOf(encryption: Encryption, logger: Logger): Buffer | null {
  try {
    return auditKey(encryption);
  } catch (error) {
    if (!(error instanceof ApplicationError)) throw error;
    logger.error(`this replica neither seals nor exports the audit log: ${error.message}`);
    return null;
  }
}

async function start(
  config: Config,
  logger: Logger,
  opened: (() => Promise<unknown>)[],
  closeAll: () => Promise<void>,
  { signal, showPassword }: StartOptions,
): Promise<RunningServer> {
  const tls = config.tls === null || config.role === 'worker' ? null : await openTls(config.tls, logger);
  opened.push(async () => tls?.stop());
  limitEvaluation(config.evaluationThreads);
  opened.push(closeEvaluation);
  const { settings, embedded } = await openDatabase(config, logger, signal);
  if (embedded !== null) opened.push(() => embedded.stop());
  const pool = createPool(settings, { max: config.poolSize, applicationName: 'provisioning' });
  const db = createDatabase(pool);
  opened.push(() => db.destroy());
  const migrations = await migrateDatabase(settings, db, logger);
  if (migrations.length > 0) logger.info({ migrations }, 'database migrated');
  signal?.throwIfAborted();
  const encryption = await openEncryption(db, config, logger);
  const { secret, generatedAdminPassword } = await prepareInstallation(db, config, encryption);
  if (generatedAdminPassword !== null) showPassword(generatedAdminPassword);
  await ensureDefaultWorkspace(db, config);
  const installation = await readInstallationId(db);

  const listener = await startListener(
    settings,
    [...Object.values(CHANNELS), USERS_CHANNEL],
    () => embedded?.ensureRunning() ?? Promise.resolve(),
  );
  opened.push(() => listener.close());
  const counts = await startSharedCounts(db, (error, message) => logger.warn({ err: error }, message));
  opened.push(() => counts.stop());
  const limits = createLimits(db, config.limits, counts);
  const providers = await openProviders(config, db, encryption, logger);
  opened.push(() => providers.close());
  const egress = createEgressPolicy(config.egress);
  const sshTools = { db, encryption, egress, pool: createSshPool() };
  opened.push(() => sshTools.pool.close());
  const hosts = createHosts(db, createWays(config, db), (server) => enterServer(sshTools, server));
  const hostTools = { db, hosts, encryption, hostsAtOnce: config.hostsAtOnce };
  signal?.throwIfAborted();
  const engine = await startEngine({
    settings,
    db,
    listener,
    logger: logger.child({ component: 'engine' }),
    version: VERSION,
    queues: [
      ...providers.queues().map((provider) => ({
        name: providerQueue(provider.name),
        workerConcurrency: config.workerConcurrency,
        ...(Number.isFinite(provider.concurrency) ? { globalConcurrency: provider.concurrency } : {}),
      })),
      { name: providerQueue(EXISTING), workerConcurrency: config.workerConcurrency },
      { name: OBSERVE_QUEUE, workerConcurrency: config.workerConcurrency },
      ...[TASKSERV_QUEUE, IMPORT_QUEUE].map((name) => ({
        name,
        workerConcurrency: OWNERS_AT_ONCE * config.workerConcurrency,
        ownerConcurrency: config.workerConcurrency,
      })),
      { name: FORMER_TASKSERV_QUEUE, workerConcurrency: config.workerConcurrency },
      { name: WORKFLOW_QUEUE, workerConcurrency: MAX_WORKFLOWS },
    ],
    work: config.role !== 'api',
    alone: embedded !== null,
    retentionDays: config.retentionDays,
    poolSize: config.poolSize,
    output: limits.output,
    onFenced: () => {
      logger.fatal(
        'the other replicas have declared this one dead (it did not answer for too long); it ends now, start it again',
      );
      logger.flush();
      process.exit(FENCED_EXIT_STATUS);
    },
  });
  opened.push(() => engine.close());
  signal?.throwIfAborted();

  const readiness = createReadiness(createDiskWatch(embedded?.directory ?? null));
  const issuers = createIssuers(egress('issuer', null));
  const checkSession = createSessionCheck({ db, encryption, issuers, logger });
  const services = {
    config,
    db,
    listener,
    engine,
    providers,
    hosts,
    mutate: createMutate(db, encryption, createEncryption(secret)),
    encryption,
    installation,
    egress,
    issuers,
    checkSession,
    limits,
  };
  const follower = createFollower(db, engine.signals, logger);
  opened.push(async () => follower.close());
  const runtime = { services, follower, nodes: new Map(nodesOf(OPERATION_KINDS)) };
  engine.register(
    allProcedures({ db, providers, encryption, ssh: sshTools, engine }, { runtime, hosts: hostTools, egress, limits }),
  );
  const authenticator = createAuthenticator({ db, listener, secret, adminTotp: config.adminTotp, checkSession });
  const app = await buildApp(services, authenticator, { logger, readiness, pool, follower, tls });
  // Making the application ready keeps the process busy for seconds on a slow machine. A replica that is silent for so
  // long counts as dead: it joins afterwards.
  if (config.role !== 'worker') await app.ready();
  signal?.throwIfAborted();
  await engine.join();
  if (config.role !== 'api' && config.healthCheckInterval > 0) {
    const checks = startHealthChecks(hostTools, { seconds: config.healthCheckInterval, logger });
    opened.push(() => checks.stop());
  }
  if (engine.replicaId !== null && config.sweepInterval > 0) {
    const sweeper = startSweeper({
      ...{ db, engine, providers, replica: engine.replicaId, installation },
      ...{ intervalSeconds: config.sweepInterval, deleteAfter: config.orphanDeleteAfter },
      logger: logger.child({ component: 'sweep' }),
    });
    opened.push(() => sweeper.stop());
  }
  const roleExpiry = startRoleExpiry(db, (error) =>
    logger.warn({ err: error }, 'could not remove roles that no issuer confirms any more; the next round tries again'),
  );
  opened.push(() => roleExpiry.stop());
  const revocations = startRevocations({ db, encryption, issuers, logger });
  opened.push(() => revocations.stop());
  const auditing = { db, installation, logger: logger.child({ component: 'audit' }) };
  const sealingKey = sealingKeyOf(encryption, logger);
  if (sealingKey !== null) {
    const sealer = startAuditSealer({ ...auditing, key: sealingKey });
    opened.push(() => sealer.stop());
    if (config.auditExport !== null) {
      const { auditExport: destination, auditRetentionDays: retentionDays } = config;
      const exported = startAuditExport({ ...auditing, key: sealingKey, destination, retentionDays });
      opened.push(() => exported.stop());
    }
  }
  if (config.role !== 'api') {
    const schedules = startSchedules(runtime, logger);
    opened.push(() => schedules.stop());
    const kinds = [expiringServers, expiringTaskservs];
    const expiries = startExpirySweep({ services, kinds, logger: logger.child({ component: 'expiry' }) });
    opened.push(() => expiries.stop());
    const webhooks = startWebhooks({ config, db, encryption, egress, logger, signals: engine.signals });
    opened.push(() => webhooks.stop());
  }
  opened.push(() => closeHttp(app));
  const address = config.role === 'worker' ? null : await listen(app, config);
  return {
    app,
    address,
    close: async () => {
      readiness.leaving = true;
      if (address !== null && config.shutdownDelay > 0) await pause(config.shutdownDelay * 1_000);
      readiness.draining = true;
      // At once: a client that takes its time must not keep work from the other replicas.
      const handedOver = engine
        .handOver()
        .catch((error) => logger.error({ err: error }, 'handing work over to the other replicas failed'));
      await Promise.all([handedOver, closeAll()]);
    },
  };
}

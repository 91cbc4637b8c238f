import { hostname } from 'node:os';
import { performance } from 'node:perf_hooks';
import { sql } from 'kysely';
import type pg from 'pg';
import type { Logger } from 'pino';
import {
  type ConnectionSettings,
  createClient,
  type Database,
  onConnection,
  PROCESS_TAG,
  type Queryable,
} from '../database/pool.ts';
import { sleep } from '../util/sleep.ts';

/** How often a replica says that it lives and looks for those that do not. */
const HEARTBEAT_MS = 1_000;
/** A replica whose database session is gone is dead when it has also been silent this long. Seconds. */
const SILENCE_SECONDS = 2.5;
/** A replica that holds its session but says nothing (stopped, stalled) is given up after this long. Seconds. */
const LEASE_SECONDS = 8;
/** Our own right to act ends this long before others may take over: time for a request already on its way. */
const GUARD_MS = (LEASE_SECONDS - 2) * 1_000;
/**
 * A replica that was silent itself (the database was away from it) leaves the others this long to be heard again before
 * it judges them: an outage must not end with all replicas but the fastest declared dead.
 */
const GRACE_MS = 4_000;
const RECONNECT_DELAY_MS = 250;

/** This process among the replicas: its lease, and what it notices of the others. */
export interface Replica {
  readonly id: string;
  /** Whether this process may still act: its last heartbeat is fresh. */
  alive(): boolean;
  /** Resolves when `alive()` is true (again). Rejects when `signal` fires. */
  untilAlive(signal: AbortSignal): Promise<void>;
  /** Gives the lease back. The others take unfinished work over at once. */
  leave(): Promise<void>;
}

/**
 * Registers this process and keeps its lease.
 * @param alone all others on the list are dead for certain: no need to wait until they have been silent for long.
 * @param onDead ids of executors that have unfinished work and no living replica (may repeat until recovered).
 * @param onFenced the others have declared this process dead: it must end without another write.
 */
export async function joinReplicas(options: {
  settings: ConnectionSettings;
  db: Database;
  logger: Logger;
  role: string;
  version: string;
  alone: boolean;
  onDead: (executorIds: string[]) => Promise<void>;
  onFenced: () => void;
}): Promise<Replica> {
  const { settings, db, logger } = options;
  const id = `${hostname()}-${process.pid}-${PROCESS_TAG}`;
  let lastHeartbeat = performance.now();
  let judgesFrom = Number.NEGATIVE_INFINITY;
  let lockSession: pg.Client | undefined;
  /** Resolves as soon as there is a lock session again, or this replica has left. */
  let reconnecting: Promise<void> = Promise.resolve();
  let left = false;
  let timer: NodeJS.Timeout | undefined;
  let beating: Promise<void> = Promise.resolve();
  let recovering: Promise<void> | undefined;
  const waiting = new Set<() => void>();

  // The session lock tells the others at once when this process dies: Postgres drops it with the connection.
  const holdLock = async () => {
    const client = createClient(settings, 'provisioning replica');
    await client.connect();
    await client.query('select pg_advisory_lock(hashtextextended($1, 0))', [id]);
    const lost = () => {
      if (lockSession !== client) return;
      lockSession = undefined;
      if (!left) reconnecting = holdLockAgain();
    };
    client.on('error', lost);
    client.on('end', lost);
    lockSession = client;
  };
  const holdLockAgain = async () => {
    for (;;) {
      await holdLock().catch((error) => logger.debug({ err: error }, 'the replica lock could not be taken yet'));
      if (left) await lockSession?.end();
      if (left || lockSession !== undefined) return;
      await sleep(RECONNECT_DELAY_MS);
    }
  };

  // What a heartbeat finds is looked after beside it: nothing may keep the next one waiting, or this replica would be
  // declared dead itself.
  const beatOn = async (connection: Queryable) => {
    const sentAt = performance.now();
    if (sentAt - lastHeartbeat > SILENCE_SECONDS * 1_000) judgesFrom = sentAt + GRACE_MS;
    const { known, struck, dead } = await heartbeat(connection, id, sentAt >= judgesFrom);
    if (!known) {
      options.onFenced();
      return;
    }
    lastHeartbeat = Math.max(lastHeartbeat, sentAt);
    for (const resume of waiting) resume();
    if (struck.length > 0) {
      logger.warn({ replicas: struck }, 'declared replicas dead that were silent for too long');
      void endSessions(connection, struck).catch((error) =>
        logger.warn({ err: error, replicas: struck }, 'could not end the database sessions of dead replicas'),
      );
    }
    if (dead.length > 0) {
      recovering ??= options
        .onDead(dead)
        .catch((error) => logger.debug({ err: error }, 'could not take over yet; the next heartbeat tries again'))
        .finally(() => {
          recovering = undefined;
        });
    }
  };
  // On the connection that holds the lock: requests can use up the pool. Only while that connection is away, on the pool.
  const beat = async () => {
    if (lockSession !== undefined) return beatOn(onConnection(lockSession));
    const back = reconnecting.then(() => {
      if (lockSession !== undefined) return beatOn(onConnection(lockSession));
    });
    return Promise.race([beatOn(db), back]);
  };
  const schedule = () => {
    timer = setTimeout(() => {
      beating = beat()
        .catch((error) => logger.debug({ err: error }, 'heartbeat failed'))
        .then(() => {
          if (!left) schedule();
        });
    }, HEARTBEAT_MS);
  };

  await holdLock();
  if (options.alone) await db.deleteFrom('provisioning.replicas').execute();
  await db
    .insertInto('provisioning.replicas')
    .values({
      id,
      lock_key: sql`hashtextextended(${id}, 0)`,
      role: options.role,
      version: options.version,
      host: hostname(),
      pid: process.pid,
    })
    .execute();
  lastHeartbeat = performance.now();
  schedule();

  const alive = () => performance.now() - lastHeartbeat < GUARD_MS;
  return {
    id,
    alive,
    async untilAlive(signal) {
      while (!alive()) {
        signal.throwIfAborted();
        const { promise, resolve, reject } = Promise.withResolvers<void>();
        const abort = () => reject(signal.reason);
        waiting.add(resolve);
        signal.addEventListener('abort', abort, { once: true });
        await promise.finally(() => {
          waiting.delete(resolve);
          signal.removeEventListener('abort', abort);
        });
      }
    },
    async leave() {
      left = true;
      clearTimeout(timer);
      await Promise.all([beating, recovering]);
      const connection = lockSession === undefined ? db : onConnection(lockSession);
      await connection.deleteFrom('provisioning.replicas').where('id', '=', id).execute();
      await lockSession?.end();
    },
  };
}

interface Heartbeat {
  /** Whether `id` itself is still on the list. */
  known: boolean;
  /** Replicas declared dead just now. */
  struck: string[];
  /** Executors that hold unfinished work without being on the list. */
  dead: string[];
}

/** Says that `id` lives, declares silent replicas dead where it `judges`, and looks for work that nobody has. */
async function heartbeat(db: Queryable, id: string, judges: boolean): Promise<Heartbeat> {
  const { rows } = await sql<Heartbeat>`
    with me as (
      update provisioning.replicas set heartbeat_at = clock_timestamp() where id = ${id} returning id),
    silent as (
      select id, lock_key, heartbeat_at < clock_timestamp() - make_interval(secs => ${LEASE_SECONDS}::float8) as expired
      from provisioning.replicas
      where ${judges} and id <> ${id} and heartbeat_at < clock_timestamp() - make_interval(secs => ${SILENCE_SECONDS}::float8)),
    struck as (
      delete from provisioning.replicas r using silent s
      where r.id = s.id and (s.expired or not exists (
        select from pg_locks l where l.locktype = 'advisory' and l.granted and l.objsubid = 1
          and l.database = (select oid from pg_database where datname = current_database())
          and ((l.classid::bigint << 32) | l.objid::bigint) = s.lock_key))
      returning r.id)
    select exists (select from me) as known, (select coalesce(array_agg(id), '{}') from struck) as struck,
           (select coalesce(array_agg(distinct w.executor_id), '{}') from dbos.workflow_status w
            where w.status = 'PENDING' and w.executor_id is not null
              and (w.executor_id not in (select id from provisioning.replicas) or w.executor_id in (select id from struck)))
             as dead`.execute(db);
  const row = rows[0];
  if (row === undefined) throw new Error('The heartbeat brought no row.');
  return row;
}

/** A process that stands still keeps its sessions, and with them the locks of whatever it was doing. */
async function endSessions(db: Queryable, replicaIds: string[]): Promise<void> {
  const tags = replicaIds.map((id) => id.slice(-PROCESS_TAG.length));
  await sql`
    select pg_terminate_backend(pid) from pg_stat_activity
    where datname = current_database() and pid <> pg_backend_pid()
      and right(application_name, ${PROCESS_TAG.length}::int) = any (${tags}::text[])`.execute(db);
}

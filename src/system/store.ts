import { sql } from 'kysely';
import type { Database } from '../database/pool.ts';

/** Up to here operations are counted one by one; past it the planner's estimate serves. */
const EXACT_COUNT_LIMIT = 100_000;
/** Seconds without a heartbeat after which a replica no longer counts as alive (src/engine/replica.ts). */
const LEASE_SECONDS = 8;

/** How many operations there are, and how many of them run. Costs the same with a million of them. */
export async function countOperations(db: Database): Promise<{ total: number; running: number }> {
  const { rows } = await sql<{ total: number; running: number }>`
    select
      (select count(*) from (select from provisioning.operations limit ${EXACT_COUNT_LIMIT} + 1) o)::int as total,
      (select count(*) from provisioning.operations where status = 'running')::int as running`.execute(db);
  const { total, running } = rows[0] ?? { total: 0, running: 0 };
  return { total: total <= EXACT_COUNT_LIMIT ? total : Math.max(total, await estimateOperations(db)), running };
}

/** As the planner does it: rows a page at the last vacuum or analyse, times the pages of today. */
async function estimateOperations(db: Database): Promise<number> {
  const { rows } = await sql<{ estimate: number }>`
    select coalesce(greatest(reltuples, 0) / nullif(relpages, 0)
        * (pg_relation_size(oid) / current_setting('block_size')::int), 0)::float8 as estimate
    from pg_class where oid = 'provisioning.operations'::regclass`.execute(db);
  return Math.round(rows[0]?.estimate ?? 0);
}

/** Operations of one kind and status. */
interface OperationCount {
  kind: string;
  status: string;
  count: number;
}

/** What a scrape reports from the database. Every count stops at `EXACT_COUNT_LIMIT`. */
interface DatabaseFigures {
  unfinished: OperationCount[];
  /** Ended in the last five minutes. */
  finished: OperationCount[];
  replicas: number;
  /** Orphaned servers, by provider. */
  orphans: { provider: string; count: number }[];
  /** Servers that their provider has no more, and those that it has otherwise than they were left. */
  servers: { missing: number; drifted: number };
  /** Seconds since an account was last looked at whole, the longest ago by provider. */
  sweeps: { provider: string; seconds: number }[];
  /** Sealed rows of the audit log that have not been exported yet; null: it is not exported. */
  auditPending: number | null;
}

export async function readFigures(db: Database): Promise<DatabaseFigures> {
  const [unfinished, finished, replicas, orphans, servers, sweeps, audit] = await Promise.all([
    sql<OperationCount>`
      select kind, status, count(*)::int as count
      from (select kind, status from provisioning.operations
            where status in ('pending', 'running') limit ${EXACT_COUNT_LIMIT}) o
      group by kind, status`.execute(db),
    sql<OperationCount>`
      select kind, status, count(*)::int as count
      from (select kind, status from provisioning.operations
            where finished_at > now() - interval '5 minutes' limit ${EXACT_COUNT_LIMIT}) o
      group by kind, status`.execute(db),
    sql<{ count: number }>`
      select count(*)::int as count from provisioning.replicas
      where heartbeat_at > clock_timestamp() - make_interval(secs => ${LEASE_SECONDS})`.execute(db),
    sql<{ provider: string; count: number }>`
      select provider, count(*)::int as count from provisioning.orphans group by provider`.execute(db),
    sql<{ missing: number; drifted: number }>`
      select (select count(*) from (select from provisioning.servers
                                    where status = 'missing' limit ${EXACT_COUNT_LIMIT}) m)::int as missing,
             (select count(*) from (select from provisioning.servers
                                    where drift <> '[]' limit ${EXACT_COUNT_LIMIT}) d)::int as drifted`.execute(db),
    sql<{ provider: string; seconds: number }>`
      select provider, extract(epoch from max(clock_timestamp() - listed_at))::float8 as seconds
      from provisioning.account_sweeps where listed_at is not null group by provider`.execute(db),
    sql<{ pending: number }>`
      select ((select max(position) from provisioning.audit_log) - position)::float8 as pending
      from provisioning.audit_exports order by exported_at desc limit 1`.execute(db),
  ]);
  return {
    unfinished: unfinished.rows,
    finished: finished.rows,
    replicas: replicas.rows[0]?.count ?? 0,
    orphans: orphans.rows,
    servers: servers.rows[0] ?? { missing: 0, drifted: 0 },
    auditPending: audit.rows[0]?.pending ?? null,
    sweeps: sweeps.rows,
  };
}

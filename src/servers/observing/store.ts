import { sql } from 'kysely';
import type { Queryable } from '../../database/pool.ts';
import type { Comparison, KnownServer } from './compare.ts';

/** States in which a server stands by itself, as far as we know. */
const STANDING = sql`s.status in ('running', 'stopped', 'error', 'missing', 'unknown') and s.provider_ref is not null
  and not exists (select from provisioning.operations o
                  where o.resource = 'server:' || s.id and o.status in ('pending', 'running'))`;
const FIELDS = sql`s.id, s.workspace, s.hostname, s.provider, s.provider_ref, s.plan, s.zone, s.ip_address, s.status,
  s.tags, s.drift`;

/** The servers at a provider that nothing is done with at the moment. @param only ids to choose from; null: all. */
export async function standingServers(
  db: Queryable,
  provider: string,
  only: readonly string[] | null,
): Promise<KnownServer[]> {
  const chosen = only === null ? sql`` : sql`and s.id = any(${[...only]}::text[])`;
  const { rows } = await sql<KnownServer>`
    select ${FIELDS} from provisioning.servers s
    where s.provider = ${provider} and ${STANDING} ${chosen} order by s.id`.execute(db);
  return rows;
}

/**
 * Those of the servers that still stand by themselves and that nobody has changed since `before`, locked until the
 * transaction ends. What somebody else is about to change is left out.
 */
export async function lockUnchanged(tx: Queryable, ids: readonly string[], before: Date): Promise<KnownServer[]> {
  const { rows } = await sql<KnownServer>`
    select ${FIELDS} from provisioning.servers s
    where s.id = any(${[...ids]}::text[]) and s.updated_at < ${before} and ${STANDING}
    order by s.id for update of s skip locked`.execute(tx);
  return rows;
}

/** One server, whatever is done with it; null: there is none. */
export async function readKnown(db: Queryable, id: string): Promise<KnownServer | null> {
  const { rows } = await sql<Omit<KnownServer, 'provider_ref'> & { provider_ref: string | null }>`
    select ${FIELDS} from provisioning.servers s where s.id = ${id}`.execute(db);
  const [row] = rows;
  return row === undefined ? null : { ...row, provider_ref: row.provider_ref ?? '' };
}

/** Writes what is true of a server now. */
export async function writeComparison(
  tx: Queryable,
  id: string,
  { status, ip_address, drift }: Comparison,
): Promise<void> {
  await sql`
    update provisioning.servers
    set status = ${status}, ip_address = ${ip_address}, drift = ${JSON.stringify(drift)}::jsonb,
        observed_at = now(), updated_at = now()
    where id = ${id}`.execute(tx);
}

/** Notes that these were looked at and stand as they did. */
export async function noteObserved(tx: Queryable, ids: readonly string[]): Promise<void> {
  await sql`update provisioning.servers set observed_at = now() where id = any(${[...ids]}::text[])`.execute(tx);
}

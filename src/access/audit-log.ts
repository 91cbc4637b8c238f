/** The sealed audit log as lines, with its checkpoints among the rows: what is exported and verified. */
import { sql } from 'kysely';
import type { Queryable } from '../database/pool.ts';
import { uuidv7 } from '../database/uuid.ts';
import type { AuditCheckpoint, AuditLine, AuditRetention, AuditRowLine } from '../documents/audit-chain.ts';

const TIME = `'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'`;
const AT = `to_char(at at time zone 'UTC', ${TIME})`;
/** The transaction's time, as lines say it. */
export const NOW = sql.raw<string>(`to_char(now() at time zone 'UTC', ${TIME})`);

/** All of a row that must never change, as text that is the same for ever: an array, times in UTC to the microsecond. */
export const SEALED_TEXT = sql.raw<string>(`json_build_array(
  id, ${AT}, principal, action, workspace, resource, outcome,
  address, request_id, operation_id, details)::text`);

const ROW = sql.raw<string>(`json_build_object(
  'kind', 'row', 'position', position, 'hash', encode(hash, 'hex'), 'id', id, 'at', ${AT}, 'principal', principal,
  'action', action, 'workspace', workspace, 'resource', resource, 'outcome', outcome, 'address', address,
  'request_id', request_id, 'operation_id', operation_id, 'details', details)::text`);

const CHECKPOINT = sql.raw<string>(`json_build_object(
  'number', number, 'since', since, 'position', position, 'hash', encode(hash, 'hex'), 'at', ${AT},
  'previous', encode(previous, 'hex'), 'mac', encode(mac, 'hex'))::text`);

const RETENTION = sql.raw<string>(`json_build_object(
  'through', through, 'hash', encode(hash, 'hex'), 'at', ${AT}, 'exported_to', exported_to,
  'mac', encode(mac, 'hex'))::text`);

/**
 * Sealed rows behind a position, in order, and the checkpoints behind it up to the last of these rows. Where retention has
 * deleted rows behind it, the record of that comes first.
 * @param limit rows at most
 */
export async function readAuditLines(
  db: Queryable,
  installation: string,
  after: number,
  limit: number,
): Promise<AuditLine[]> {
  // One statement, so that all of it is of one moment: retention deletes meanwhile.
  const { rows } = await sql<{ kind: AuditLine['kind']; json: string; sealed: string | null }>`
    with found as materialized (
      select position, ${ROW} as json, ${SEALED_TEXT} as sealed from provisioning.audit_log
      where position > ${after}::bigint order by position limit ${limit}::int)
    select 'row' as kind, position, json, sealed from found
    union all
    select 'checkpoint', position, ${CHECKPOINT}, null from provisioning.audit_checkpoints
    where position > ${after}::bigint and position <= (select max(position) from found)
    union all
    select 'retention', 0, ${RETENTION}, null from provisioning.audit_retention where through > ${after}::bigint
    order by position, kind desc`.execute(db);
  return rows.map(({ kind, json, sealed }): AuditLine => {
    if (kind === 'row') return { ...(JSON.parse(json) as Omit<AuditRowLine, 'sealed'>), sealed: sealed ?? '' };
    if (kind === 'checkpoint') return { kind, ...parse<AuditCheckpoint>(installation, json) };
    return { kind, ...parse<AuditRetention>(installation, json) };
  });
}

/** The newest checkpoint; null: nothing has been sealed yet. */
export async function lastCheckpoint(db: Queryable, installation: string): Promise<AuditCheckpoint | null> {
  const { rows } = await sql<{ checkpoint: string }>`
    select ${CHECKPOINT} as checkpoint from provisioning.audit_checkpoints order by number desc limit 1`.execute(db);
  return rows[0] === undefined ? null : parse(installation, rows[0].checkpoint);
}

/** What retention has said last; null: it has deleted nothing yet. */
export async function lastRetention(db: Queryable, installation: string): Promise<AuditRetention | null> {
  const { rows } = await sql<{ retention: string }>`
    select ${RETENTION} as retention from provisioning.audit_retention`.execute(db);
  return rows[0] === undefined ? null : parse(installation, rows[0].retention);
}

function parse<T extends { installation: string }>(installation: string, text: string): T {
  return { installation, ...JSON.parse(text) } as T;
}

/** Writes into the log itself that it has been tampered with. */
export async function noteTampering(tx: Queryable, reason: string): Promise<void> {
  await sql`
    insert into provisioning.audit_log (id, principal, action, outcome, details)
    values (${uuidv7()}, 'provisioning', 'audit.tampered', 'failed', ${JSON.stringify({ reason })})`.execute(tx);
}

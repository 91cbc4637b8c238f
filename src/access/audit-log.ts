/** The sealed audit log as lines, with its checkpoints among the rows: what is exported and verified. */
import { sql } from 'kysely';
import type { Queryable } from '../database/pool.ts';
import type { AuditCheckpoint, AuditLine, AuditRowLine } from './audit-chain.ts';

const TIME = `'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'`;
const AT = `to_char(at at time zone 'UTC', ${TIME})`;

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

/**
 * Sealed rows behind a position, in order, and the checkpoints behind it up to the last of these rows.
 * @param limit rows at most
 */
export async function readAuditLines(
  db: Queryable,
  installation: string,
  after: number,
  limit: number,
): Promise<AuditLine[]> {
  const { rows } = await sql<{ position: string; row: string; sealed: string }>`
    select position, ${ROW} as row, ${SEALED_TEXT} as sealed from provisioning.audit_log
    where position > ${after}::bigint order by position limit ${limit}::int`.execute(db);
  const last = rows.at(-1)?.position ?? '0';
  const checkpoints = await sql<{ checkpoint: string }>`
    select ${CHECKPOINT} as checkpoint from provisioning.audit_checkpoints
    where position > ${after}::bigint and position <= ${last}::bigint order by position`.execute(db);
  const lines: AuditLine[] = [
    ...checkpoints.rows.map(({ checkpoint }): AuditLine => {
      return { kind: 'checkpoint', ...parse(installation, checkpoint) };
    }),
    ...rows.map(({ row, sealed }): AuditLine => ({ ...(JSON.parse(row) as Omit<AuditRowLine, 'sealed'>), sealed })),
  ];
  return lines.sort((a, b) => a.position - b.position || (a.kind === 'row' ? -1 : 1));
}

/** The newest checkpoint; null: nothing has been sealed yet. */
export async function lastCheckpoint(db: Queryable, installation: string): Promise<AuditCheckpoint | null> {
  const { rows } = await sql<{ checkpoint: string }>`
    select ${CHECKPOINT} as checkpoint from provisioning.audit_checkpoints order by number desc limit 1`.execute(db);
  return rows[0] === undefined ? null : parse(installation, rows[0].checkpoint);
}

function parse(installation: string, checkpoint: string): AuditCheckpoint {
  return { installation, ...(JSON.parse(checkpoint) as Omit<AuditCheckpoint, 'installation'>) };
}

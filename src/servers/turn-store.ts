import { sql } from 'kysely';
import type { Queryable } from '../database/pool.ts';

/**
 * Puts an operation in line on hosts: it may change one once everything accepted before it has left that host. Call it
 * in the transaction that stores the operation, with the servers' rows locked in the order of their ids: then the order
 * is the same on every host.
 */
export async function takeTurns(tx: Queryable, operationId: string, serverIds: readonly string[]): Promise<void> {
  await sql`
    with drawn as (select nextval('provisioning.turns') as turn)
    insert into provisioning.host_turns (server_id, operation_id, turn)
    select s.id, ${operationId}::uuid, drawn.turn from drawn, unnest(${[...serverIds]}::text[]) as s (id)`.execute(tx);
}

/** Gives turns back: on one host, or on all. What is not held is no error. */
export async function leaveTurns(tx: Queryable, operationId: string, serverId?: string): Promise<void> {
  await sql`
    delete from provisioning.host_turns
    where operation_id = ${operationId}::uuid
      and (${serverId ?? null}::text is null or server_id = ${serverId ?? null})`.execute(tx);
}

/**
 * Who is ahead of the operation on a host: an unfinished one that changes the server itself, or one with a smaller turn.
 * Null: nobody.
 */
export async function aheadOf(
  db: Queryable,
  operationId: string,
  serverId: string,
): Promise<{ id: string; kind: string } | null> {
  const { rows } = await sql<{ id: string; kind: string }>`
    select o.id, o.kind from provisioning.operations o
    where o.resource = ${`server:${serverId}`} and o.status in ('pending', 'running')
    union all
    (select o.id, o.kind
     from provisioning.host_turns mine
       join provisioning.host_turns t on t.server_id = mine.server_id and t.turn < mine.turn
       join provisioning.operations o on o.id = t.operation_id
     where mine.operation_id = ${operationId}::uuid and mine.server_id = ${serverId}
       and o.status in ('pending', 'running')
     order by t.turn)
    limit 1`.execute(db);
  return rows[0] ?? null;
}

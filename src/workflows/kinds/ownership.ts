/** Whether the caller may do to things that stand what a workflow's nodes will ask for. */
import { sql } from 'kysely';
import { isPermittedOverOthers, type Principal, requirePermission } from '../../access/permissions.ts';
import { mayReachAll, requireReach } from '../../access/reach.ts';
import type { Queryable } from '../../database/pool.ts';
import type { JsonObject } from '../../documents/json.ts';
import { ApplicationError } from '../../errors.ts';
import type { NodeTarget } from '../../operations/node.ts';
import { isServerId } from '../../servers/names.ts';
import { serversOf } from '../../taskservs/host-store.ts';
import { isTaskservId } from '../../taskservs/store.ts';
import type { PlannedNode } from '../planning/contract.ts';
import type { Kind } from './plain-rules.ts';
import { rulesOf } from './rules.ts';

/** The first of a step's nodes that asks for what the caller may not do, and why; null: none is known to. */
export async function refusedNode(
  db: Queryable,
  principal: Principal,
  workspace: string,
  kind: Kind,
  nodes: readonly PlannedNode[],
): Promise<{ node: PlannedNode; field: string; message: string } | null> {
  const { target } = rulesOf(kind);
  if (target === undefined) return null;
  const { what, permission, field } = target;
  if (isPermittedOverOthers(principal, permission, workspace) && mayReachAll(principal, workspace)) return null;
  const nodeOf = new Map(nodes.flatMap((node) => namesIn(node.known, field).map((name) => [name, node] as const)));
  if (nodeOf.size === 0) return null;
  const isId = what === 'server' ? isServerId : isTaskservId;
  for (const { id, name, ownerId } of await ownersOf(db, what, workspace, [...nodeOf.keys()])) {
    // What has the form of an id is one, whatever else goes by that name.
    const node = nodeOf.get(id) ?? (isId(name) ? undefined : nodeOf.get(name));
    if (node === undefined) continue;
    try {
      requirePermission(principal, permission, { what, id, workspace, ownerId, read: `${what}_read` });
      if (what === 'taskserv') requireReach(principal, await serversOf(db, id));
    } catch (error) {
      if (!(error instanceof ApplicationError)) throw error;
      return { node, field, message: error.message };
    }
  }
  return null;
}

function namesIn(known: JsonObject, field: string): string[] {
  const value = known[field];
  return (Array.isArray(value) ? value : [value]).filter((name) => typeof name === 'string');
}

/** Those that there are now; what is still to come is the caller's own. */
async function ownersOf(db: Queryable, what: NodeTarget['what'], workspace: string, names: readonly string[]) {
  const table = sql.table(`provisioning.${what}s`);
  const name = sql.ref(what === 'server' ? 'hostname' : 'name');
  const { rows } = await sql<{ id: string; name: string; ownerId: string | null }>`
    select id, ${name} as name, owner_id as "ownerId" from ${table}
    where workspace = ${workspace} and (id = any(${[...names]}::text[]) or ${name} = any(${[...names]}::text[]))`.execute(
    db,
  );
  return rows;
}

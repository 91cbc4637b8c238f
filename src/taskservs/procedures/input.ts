import type { Encryption } from '../../access/encryption.ts';
import { loadCatalog, type TaskservDefinition } from '../../catalog/catalog.ts';
import type { Database, Queryable } from '../../database/pool.ts';
import { OperationError } from '../../engine/procedure.ts';
import type { Hosts } from '../../transports/hosts.ts';
import { workspaceDirectory } from '../../workspaces/store.ts';
import type { Round } from '../cluster/members.ts';
import { asMember, type Item, itemOf } from '../host-plan.ts';
import { readRevision } from '../store.ts';

/** Name of the queue that carries out what is done on hosts. Each owner has a part of it: what runs there may run for a day. */
export const TASKSERV_QUEUE = 'taskservs-by-owner';
/** What replicas of earlier versions put there is carried out from there. */
export const FORMER_TASKSERV_QUEUE = 'taskservs';

/** What this section's procedures work with. */
export interface HostTools {
  db: Database;
  hosts: Hosts;
  encryption: Encryption;
  /** Hosts that one operation works on at once. */
  hostsAtOnce: number;
}

/** A server among an operation's hosts. */
export interface Host {
  server_id: string;
  hostname: string;
}

/** What the procedures that change a taskserv on hosts are given. Ids only. */
export interface HostsInput {
  taskserv_id: string;
  name: string;
  hosts: Host[];
  /** Of a service across servers: the order in which its servers are changed. Absent: all at once, each by itself. */
  rounds?: Round[];
  /** Servers that it is taken from, where it stays on others. */
  leaving?: string[];
}

/** The definitions of a workspace as they are now. */
export async function definitionsOf(db: Queryable, workspace: string): Promise<Map<string, TaskservDefinition>> {
  return (await loadCatalog(await workspaceDirectory(db, workspace))).definitions;
}

/** What is wanted of a taskserv on a host. @throws TASKSERV_MISSING, DEFINITION_MISSING. */
export async function wantedItem(
  { db, encryption }: HostTools,
  definitions: ReadonlyMap<string, TaskservDefinition>,
  { taskserv_id: id, name, leaving = [] }: { taskserv_id: string; name: string; leaving?: string[] },
  serverId: string,
): Promise<Item> {
  const revision = await readRevision(db, id);
  if (revision === null) throw new OperationError('TASKSERV_MISSING', `Taskserv ${id} no longer exists.`);
  const definition = definitions.get(name);
  if (definition === undefined) throw definitionMissing(name);
  return asMember(db, itemOf(encryption, definition, id, revision), serverId, { leaving });
}

export function definitionMissing(name: string): OperationError {
  return new OperationError(
    'DEFINITION_MISSING',
    `The catalog no longer has the taskserv "${name}". Restore its definition, then try again.`,
  );
}

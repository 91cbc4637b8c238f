import { isPermitted, type Permission, type Principal, requirePermission } from '../access/permissions.ts';
import { requireReach } from '../access/reach.ts';
import { loadCatalog, type TaskservDefinition } from '../catalog/catalog.ts';
import type { Database, Queryable } from '../database/pool.ts';
import { type ApplicationError, errors } from '../errors.ts';
import type { Mutation } from '../http/mutation.ts';
import type { Services } from '../http/section.ts';
import { type Acceptance, type Accepted, accept, type ChangePlan } from '../operations/accept.ts';
import { holderOf, serverIdsOf } from '../servers/store.ts';
import { takeTurns } from '../servers/turn-store.ts';
import { requireWorkspace } from '../workspaces/service.ts';
import { workspaceDirectory } from '../workspaces/store.ts';
import type { Definitions } from './host-plan.ts';
import { type HostRecord, hostsOf, lockServers, type TaskservHost } from './host-store.ts';
import { definitionsOf, type Host } from './procedures/input.ts';
import { lockTaskserv, readTaskserv, readTaskservPlace, type TaskservRecord, taskservIdsOf } from './store.ts';

/** The taskserv as JSON text. @throws 404 also where the caller may not see its workspace. */
export async function getTaskserv(services: Services, principal: Principal, id: string): Promise<string> {
  const taskserv = await readTaskserv(services.db, id);
  if (taskserv === null) throw errors.notFound('taskserv', id);
  if (!isPermitted(principal, 'taskserv_read', taskserv.workspace)) throw errors.hidden('taskserv', id);
  return taskserv.json;
}

/** What can be installed: built in, or with a workspace's own definitions over it. */
export async function readCatalog(
  services: Services,
  principal: Principal,
  query: { workspace?: string; name?: string },
): Promise<TaskservDefinition[]> {
  let path: string | null = null;
  if (query.workspace !== undefined) {
    await requireWorkspace(services.db, principal, 'catalog_read', query.workspace);
    path = await workspaceDirectory(services.db, query.workspace);
  }
  const { definitions } = await loadCatalog(path);
  return [...definitions.values()]
    .filter(({ name }) => query.name === undefined || name === query.name)
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** What can be installed in the workspace of a taskserv. @throws 404 also where the caller may not see it. */
export async function definitionsFor(db: Database, principal: Principal, id: string): Promise<Definitions> {
  const place = await readTaskservPlace(db, id);
  if (place === null) throw errors.notFound('taskserv', id);
  if (!isPermitted(principal, 'taskserv_read', place.workspace)) throw errors.hidden('taskserv', id);
  return definitionsOf(db, place.workspace);
}

/** The id of a workspace's taskserv that a node names. @throws 404, 409 where several have the name. */
export async function taskservIdOf(tx: Queryable, workspace: string, name: string): Promise<string> {
  const [id, ...others] = await taskservIdsOf(tx, workspace, name);
  if (id === undefined) throw errors.notFound(`taskserv in workspace "${workspace}"`, name);
  if (others.length > 0) {
    throw errors.conflict(
      `There are ${others.length + 1} taskservs "${name}" (${[id, ...others].join(', ')}). Give the id.`,
    );
  }
  return id;
}

/** Locks a taskserv that the caller may do this to. */
export async function lockPermitted(mutation: Mutation, id: string, permission: Permission): Promise<TaskservRecord> {
  const taskserv = await lockTaskserv(mutation.tx, id);
  if (taskserv === null) throw errors.notFound('taskserv', id);
  requirePermission(mutation.principal, permission, {
    what: 'taskserv',
    id,
    workspace: taskserv.workspace,
    ownerId: taskserv.owner_id,
    read: 'taskserv_read',
  });
  return taskserv;
}

/** As `lockPermitted`, and nobody else is changing it. @throws 409 naming the operation that is. */
export async function lockForChange(mutation: Mutation, id: string, permission: Permission): Promise<TaskservRecord> {
  const taskserv = await lockPermitted(mutation, id, permission);
  const holder = await changeOf(mutation.tx, id);
  if (holder !== null) throw errors.resourceBusy(`Taskserv ${id}`, holder.id, holder.kind);
  return taskserv;
}

/**
 * As `lockForChange`, and the caller may reach its hosts. Their servers are locked as well: those first, in the order of
 * their ids, as everybody does.
 * @throws 404, 403, 409; 503 where it came to stand on another host in just this moment.
 */
export async function lockWithHosts(
  mutation: Mutation,
  id: string,
  permission: Permission,
): Promise<{ taskserv: TaskservRecord; hosts: TaskservHost[] }> {
  const seen = (await hostsOf(mutation.tx, id)).map(({ server_id }) => server_id);
  const servers = await lockServers(mutation.tx, seen);
  const taskserv = await lockForChange(mutation, id, permission);
  requireReach(mutation.principal, servers);
  const hosts = await hostsOf(mutation.tx, id);
  if (!hosts.every(({ server_id }) => seen.includes(server_id))) throw justChanged(id);
  return { taskserv, hosts };
}

/** As `lockWithHosts`, also while somebody is changing it: guards hold at any time. @throws 404, 403, 503. */
export async function lockToGuard(
  mutation: Mutation,
  id: string,
): Promise<{ taskserv: TaskservRecord; hosts: TaskservHost[] }> {
  const seen = (await hostsOf(mutation.tx, id)).map(({ server_id }) => server_id);
  const servers = await lockServers(mutation.tx, seen);
  const taskserv = await lockPermitted(mutation, id, 'taskserv_update');
  requireReach(mutation.principal, servers);
  const hosts = await hostsOf(mutation.tx, id);
  if (!hosts.every(({ server_id }) => seen.includes(server_id))) throw justChanged(id);
  return { taskserv, hosts };
}

/** Something else came between looking at a taskserv and locking it. */
export function justChanged(id: string): ApplicationError {
  return errors.unavailable(`Taskserv ${id} was changed by another request. Try again.`, 1);
}

/**
 * The workspace's servers by id or hostname, in the order of the names, each of which the caller may reach. They are
 * locked in the order of their ids, together with `besides`. `unknown`: what names none. @throws 403.
 */
export async function lockNamed(
  { tx, principal }: Mutation,
  workspace: string,
  names: readonly string[],
  besides: readonly string[] = [],
): Promise<{ servers: HostRecord[]; unknown: string[] }> {
  const idOf = await serverIdsOf(tx, workspace, names);
  const ids = [...new Set(names.flatMap((name) => idOf.get(name) ?? []))];
  const locked = new Map((await lockServers(tx, [...new Set([...ids, ...besides])])).map((host) => [host.id, host]));
  requireReach(principal, [...locked.values()]);
  const servers = ids.flatMap((id) => locked.get(id) ?? []);
  const unknown = names.filter((name) => !locked.has(idOf.get(name) ?? ''));
  return { servers, unknown };
}

async function changeOf(tx: Queryable, id: string): Promise<{ id: string; kind: string } | null> {
  const row = await tx
    .selectFrom('provisioning.operations')
    .select(['id', 'kind'])
    .where('resource', '=', `taskserv:${id}`)
    .where('status', 'in', ['pending', 'running'])
    .executeTakeFirst();
  return row ?? null;
}

/** With `wait: false`: @throws 409 while another operation is at work on one of the hosts or has its turn before. */
export async function requireFree(tx: Queryable, hosts: readonly Host[], wait: boolean | undefined): Promise<void> {
  if (wait !== false) return;
  for (const { server_id: serverId, hostname } of hosts) {
    const holder = await holderOf(tx, serverId);
    if (holder !== null) throw errors.resourceBusy(`Server ${hostname} (${serverId})`, holder.id, holder.kind);
  }
}

/** An operation on hosts, as it is accepted. */
export interface HostsOperation extends Pick<Acceptance, 'id' | 'kind' | 'workspace' | 'resource' | 'checkMode'> {
  /** What it does to the hosts, in words: "Install redis on". */
  doing: string;
  hosts: readonly Host[];
  /** Whether it changes the hosts. Their rows must be locked. */
  turns: boolean;
  /** Hosts that it holds besides: members that act for those that are changed. Locked as well. */
  holds?: readonly Host[];
  input: Record<string, unknown>;
  /** Details for the audit log. */
  details: Record<string, unknown>;
  plan: ChangePlan;
}

/** Hosts named in a title; of more than these only the number. */
const NAMED_HOSTS = 3;

/** Accepts the operation with its place in line on the hosts. */
export async function acceptOnHosts(
  services: Services,
  mutation: Mutation,
  { doing, turns, holds = [], details, hosts: on, ...operation }: HostsOperation,
): Promise<Accepted> {
  const hosts = on.map(({ server_id, hostname }) => ({ server_id, hostname }));
  const names = hosts.map(({ hostname }) => hostname);
  const where = names.length > NAMED_HOSTS ? `${names.length} servers` : names.join(', ');
  const accepted = await accept(services, mutation, {
    ...operation,
    title: `${doing} ${where}`,
    input: { ...operation.input, hosts },
    audit: { details },
  });
  if (turns) {
    const held = new Set([...hosts, ...holds].map(({ server_id }) => server_id));
    await takeTurns(mutation.tx, accepted.id, [...held]);
  }
  return accepted;
}

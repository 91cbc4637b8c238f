import path from 'node:path';
import { isPermitted, type Permission, type Principal, permittedWorkspaces } from '../access/permissions.ts';
import { type Config, ConfigError } from '../config.ts';
import type { Database, Queryable } from '../database/pool.ts';
import { ApplicationError, errors } from '../errors.ts';
import type { Answer, Mutation } from '../http/mutation.ts';
import { refuseProtected } from '../operations/protection.ts';
import { nearMatches } from '../util/near-matches.ts';
import { checkWorkspaceDirectory, makeWorkspaceDirectory, resolveWorkspacePath } from './paths.ts';
import { type ChangeWorkspace, WORKSPACE_NAME_PATTERN } from './schemas.ts';
import {
  anyWorkspace,
  countContents,
  deleteWorkspaceRow,
  findWorkspace,
  holdWorkspace,
  insertWorkspace,
  lockWorkspace,
  lockWorkspaces,
  nextActiveWorkspace,
  protectedIn,
  setActiveWorkspace,
  setLimits,
  type WorkspaceRow,
  workspaceNames,
  workspaceSharing,
} from './store.ts';

export { workspaceDirectory } from './store.ts';

const DEFAULT_WORKSPACE = 'default';
const NAME = new RegExp(WORKSPACE_NAME_PATTERN);

/**
 * For a workspace that a request names in its body. In a transaction it also keeps the workspace from being deleted
 * until that ends.
 * @throws 400 VALIDATION_ERROR with the near matches where it does not exist or the caller may not see it, 403 where
 * they may see it but lack the permission in it.
 */
export async function requireWorkspace(
  db: Queryable,
  principal: Principal,
  permission: Permission,
  name: string,
): Promise<void> {
  const visible = NAME.test(name) && isPermitted(principal, 'workspace_read', name);
  if (!visible || !(await holdWorkspace(db, name))) {
    const known = await workspaceNames(db, permittedWorkspaces(principal, 'workspace_read'));
    throw errors.validation([
      { field: 'workspace', message: `there is no workspace "${name}"`, near_matches: nearMatches(name, known) },
    ]);
  }
  if (!isPermitted(principal, permission, name)) throw errors.forbidden(permission, name);
}

/** @returns the workspace as JSON text. @throws 404 also where the caller may not see it. */
export async function getWorkspace(db: Queryable, principal: Principal, name: string): Promise<string> {
  requireVisible(principal, name);
  return (await findWorkspace(db, name))?.json ?? unknown(name);
}

/** Creates the record, its directory and its `workspace.yaml`. The first workspace of all is active in any case. */
export async function createWorkspace(
  config: Config,
  { tx, principal, audit, checkMode }: Mutation,
  input: { name: string; path?: string; activate?: boolean },
): Promise<Answer> {
  if (!isPermitted(principal, 'workspace_create')) throw errors.forbidden('workspace_create');
  const { name } = input;
  const place = await resolveWorkspacePath(config.workspaceRoots, input.path ?? defaultPath(config, name));
  await lockWorkspaces(tx);
  if ((await findWorkspace(tx, name)) !== null) throw errors.conflict(`Workspace "${name}" already exists.`, { name });
  const holder = await workspaceSharing(tx, place.path);
  if (holder !== null) {
    const how = holder.path === place.path ? 'belongs to' : 'lies inside, or around, that of';
    throw errors.conflict(`The path ${place.path} ${how} the workspace "${holder.name}". Choose another one.`, {
      path: place.path,
      workspace: holder.name,
    });
  }
  const first = !(await anyWorkspace(tx));
  await insertWorkspace(tx, name, place.path);
  if (first || input.activate === true) await setActiveWorkspace(tx, name);
  // Nothing rolls a directory back.
  if (checkMode) await checkWorkspaceDirectory(place);
  else await makeWorkspaceDirectory(place, config.defaults);
  audit({
    action: 'workspace.create',
    workspace: name,
    resource: `workspace:${name}`,
    details: { path: place.path, activate: input.activate === true },
  });
  return { body: (await findWorkspace(tx, name))?.json ?? unknown(name), location: `/v1/workspaces/${name}` };
}

/** Makes it the one active workspace; again is no error. */
export async function activateWorkspace({ tx, principal, audit }: Mutation, name: string): Promise<Answer> {
  requireVisible(principal, name);
  await lockWorkspaces(tx);
  const before: WorkspaceRow = (await findWorkspace(tx, name)) ?? unknown(name);
  if (!isPermitted(principal, 'workspace_update', name)) throw errors.forbidden('workspace_update', name);
  if (before.active) return { body: before.json };
  await setActiveWorkspace(tx, name);
  audit({ action: 'workspace.activate', workspace: name, resource: `workspace:${name}` });
  return { body: (await findWorkspace(tx, name))?.json ?? unknown(name) };
}

/** Sets what its servers may be together; null: no limit. What is there already stays. @throws 403, 404. */
export async function changeLimits(
  { tx, principal, audit }: Mutation,
  name: string,
  change: ChangeWorkspace['limits'],
): Promise<Answer> {
  requireVisible(principal, name);
  const json = (await setLimits(tx, name, change)) ?? unknown(name);
  audit({ action: 'workspace.limits', workspace: name, resource: `workspace:${name}`, details: { ...change } });
  return { body: json };
}

/**
 * Deletes the record; the files stay. Where it was the active one, `default` or else the oldest takes its place.
 * @throws 409 while it holds servers or unfinished operations, PROTECTED where one is protected.
 */
export async function deleteWorkspace(
  { tx, principal, audit }: Mutation,
  name: string,
  repeatedName: string | undefined,
): Promise<Answer> {
  requireVisible(principal, name);
  await lockWorkspaces(tx);
  const row: WorkspaceRow = (await lockWorkspace(tx, name)) ?? unknown(name);
  if (!isPermitted(principal, 'workspace_delete', name)) throw errors.forbidden('workspace_delete', name);
  if (repeatedName !== undefined && repeatedName !== name) {
    throw errors.validation([{ field: 'name', message: `contradicts the path, which names "${name}"` }]);
  }
  refuseProtected(await protectedIn(tx, name));
  const contents = await countContents(tx, name);
  if (contents.servers > 0) {
    throw errors.conflict(`Workspace "${name}" still has ${contents.servers} server(s). Delete them first.`, contents);
  }
  if (contents.operations > 0) {
    throw errors.conflict(
      `Workspace "${name}" still has ${contents.operations} unfinished operation(s). Wait until they end, or cancel them.`,
      contents,
    );
  }
  await deleteWorkspaceRow(tx, name);
  const successor = row.active ? await nextActiveWorkspace(tx) : null;
  if (successor !== null) await setActiveWorkspace(tx, successor);
  audit({
    action: 'workspace.delete',
    workspace: name,
    resource: `workspace:${name}`,
    ...(successor === null ? {} : { details: { now_active: successor } }),
  });
  return { body: { deleted: true, ...(JSON.parse(row.json) as Record<string, unknown>) } };
}

/**
 * At the first start: the workspace `default`, active. Does nothing where any workspace exists; safe with any number of
 * replicas starting at once.
 * @throws ConfigError where its directory cannot be made.
 */
export async function ensureDefaultWorkspace(db: Database, config: Config): Promise<void> {
  if (await anyWorkspace(db)) return;
  await db.transaction().execute(async (tx) => {
    await lockWorkspaces(tx);
    if (await anyWorkspace(tx)) return;
    const wanted = defaultPath(config, DEFAULT_WORKSPACE);
    try {
      const place = await resolveWorkspacePath(config.workspaceRoots, wanted);
      await insertWorkspace(tx, DEFAULT_WORKSPACE, place.path);
      await setActiveWorkspace(tx, DEFAULT_WORKSPACE);
      await makeWorkspaceDirectory(place, config.defaults);
    } catch (error) {
      if (!(error instanceof ApplicationError)) throw error;
      throw new ConfigError(
        `The directory of the workspace "default", ${wanted}, cannot be made: ${error.message}. See PROVISIONING_WORKSPACE_ROOTS.`,
      );
    }
  });
}

function defaultPath(config: Config, name: string): string {
  const [root] = config.workspaceRoots;
  if (root === undefined) throw errors.validation([{ field: 'path', message: 'this server has no workspace roots' }]);
  return path.join(root, name);
}

function requireVisible(principal: Principal, name: string): void {
  if (!NAME.test(name)) unknown(name);
  if (!isPermitted(principal, 'workspace_read', name)) throw errors.hidden('workspace', name);
}

function unknown(name: string): never {
  throw errors.notFound('workspace', name);
}

/** Users that are no persons: a workspace owns them, API tokens alone open them, and they go with the workspace. */
import type { Authenticator } from '../access/authenticate.ts';
import { isPermitted, type Permission, type Principal, type Role, requireLogin } from '../access/permissions.ts';
import {
  deleteUserRow,
  holdWorkspaces,
  insertUser,
  lockUser,
  notifyUserChanged,
  replaceBindings,
  type UserCredentials,
  updateUser,
} from '../access/store.ts';
import { holdsBinding, intersectBindings } from '../access/token-roles.ts';
import { API_TOKEN_JSON } from '../access/token-store.ts';
import type { Config } from '../config.ts';
import { isUniqueViolation, type Queryable } from '../database/pool.ts';
import type { RoleBinding } from '../database/tables.ts';
import { uuidv7 } from '../database/uuid.ts';
import { errors } from '../errors.ts';
import type { Answer, Mutation } from '../http/mutation.ts';
import { insertToken } from './api-tokens.ts';
import type { CreateApiToken } from './schemas.ts';
import {
  countServiceAccounts,
  findServiceAccount,
  lockServiceAccount,
  serviceAccountsJson,
  tokensJson,
} from './service-account-store.ts';
import { requireFreeName } from './users.ts';

/** Of one workspace: all are listed at once. */
const MAX_ACCOUNTS = 1_000;

/** No user can have such a name, nor log in by it. */
const usernameOf = (workspace: string, name: string) => `${name}@${workspace}`;

/** @throws 404 for a workspace that the caller may not see, 403 without the permission in it. */
function requireIn(principal: Principal, permission: Permission, workspace: string): void {
  if (!isPermitted(principal, 'workspace_read', workspace)) throw errors.hidden('workspace', workspace);
  if (!isPermitted(principal, permission, workspace)) throw errors.forbidden(permission, workspace);
}

/** Held until the transaction ends. @throws 404 */
async function holdWorkspace(tx: Queryable, workspace: string): Promise<void> {
  if (!(await holdWorkspaces(tx, [workspace])).includes(workspace)) throw errors.notFound('workspace', workspace);
}

/** JSON text. @throws 404, 403. */
export async function listServiceAccounts(db: Queryable, principal: Principal, workspace: string): Promise<string> {
  requireIn(principal, 'service_account_read', workspace);
  await holdWorkspace(db, workspace);
  return serviceAccountsJson(db, workspace);
}

async function readAccount(db: Queryable, principal: Principal, workspace: string, name: string) {
  requireIn(principal, 'service_account_read', workspace);
  const found = await findServiceAccount(db, workspace, usernameOf(workspace, name));
  if (found === null) throw errors.notFound('service account', name);
  return found;
}

/** JSON text. @throws 404, 403. */
export async function getServiceAccount(
  db: Queryable,
  principal: Principal,
  workspace: string,
  name: string,
): Promise<string> {
  return (await readAccount(db, principal, workspace, name)).json;
}

/** JSON text. @throws 404, 403. */
export async function listAccountTokens(
  db: Queryable,
  principal: Principal,
  workspace: string,
  name: string,
): Promise<string> {
  return tokensJson(db, (await readAccount(db, principal, workspace, name)).id, API_TOKEN_JSON);
}

/** @throws 400 for a role that the caller does not hold there. */
function bindingsIn(principal: Principal, workspace: string, roles: readonly Role[]): RoleBinding[] {
  const bindings = [...new Set(roles)].map((role) => ({ role, workspace }));
  const excess = bindings.filter((binding) => !holdsBinding(principal.bindings, binding));
  if (excess.length > 0) {
    throw errors.validation(
      excess.map(({ role }) => ({
        field: 'roles',
        message: `"${role}" in workspace "${workspace}" is more than you hold yourself`,
      })),
    );
  }
  return bindings;
}

async function lockForChange({ tx, principal }: Mutation, workspace: string, name: string): Promise<UserCredentials> {
  requireIn(principal, 'service_account_write', workspace);
  const account = await lockServiceAccount(tx, workspace, usernameOf(workspace, name));
  if (account === null) throw errors.notFound('service account', name);
  return account;
}

/** @throws 400, 403, 404, 409. */
export async function createServiceAccount(
  { tx, principal, audit }: Mutation,
  workspace: string,
  { name, roles }: { name: string; roles: Role[] },
): Promise<Answer> {
  requireIn(principal, 'service_account_write', workspace);
  requireLogin(principal, 'make service accounts');
  await holdWorkspace(tx, workspace);
  const bindings = bindingsIn(principal, workspace, roles);
  if ((await countServiceAccounts(tx, workspace)) >= MAX_ACCOUNTS) {
    throw errors.conflict(`Workspace "${workspace}" has ${MAX_ACCOUNTS} service accounts already. Delete some first.`, {
      limit: MAX_ACCOUNTS,
    });
  }
  const username = usernameOf(workspace, name);
  await requireFreeName(tx, username);
  const service = { workspace, createdBy: principal.name };
  try {
    await insertUser(tx, { id: uuidv7(), username, passwordHash: null, bindings, service });
  } catch (error) {
    if (isUniqueViolation(error, 'users_username')) {
      throw errors.conflict(`Workspace "${workspace}" has a service account "${name}" already.`);
    }
    throw error;
  }
  audit({ action: 'service_account.create', workspace, resource: `user:${username}`, details: { roles } });
  return {
    body: await getServiceAccount(tx, principal, workspace, name),
    location: `/v1/workspaces/${workspace}/service-accounts/${name}`,
  };
}

/** @throws 400, 403, 404, 409. */
export async function changeServiceAccount(
  auth: Authenticator,
  mutation: Mutation,
  workspace: string,
  name: string,
  { roles, disabled }: { roles?: Role[]; disabled?: boolean },
): Promise<Answer> {
  const { tx, principal, audit, afterCommit } = mutation;
  const account = await lockForChange(mutation, workspace, name);
  if (roles !== undefined) requireLogin(principal, 'give roles');
  if (disabled === false) requireLogin(principal, 'enable service accounts');
  if (roles !== undefined) await replaceBindings(tx, account.id, bindingsIn(principal, workspace, roles));
  await updateUser(tx, account.id, disabled === undefined ? {} : { disabled });
  await notifyUserChanged(tx, account.id);
  audit({
    action: 'service_account.update',
    ...{ workspace, resource: `user:${account.username}` },
    details: { ...(roles && { roles }), ...(disabled === undefined ? {} : { disabled }) },
  });
  afterCommit(() => auth.forgetUser(account.id));
  return { body: await getServiceAccount(tx, principal, workspace, name) };
}

/** With all its tokens, which end at once. What it made stays. @throws 403, 404. */
export async function deleteServiceAccount(
  auth: Authenticator,
  mutation: Mutation,
  workspace: string,
  name: string,
): Promise<Answer> {
  const { tx, principal, audit, afterCommit } = mutation;
  const account = await lockForChange(mutation, workspace, name);
  const record = JSON.parse(await getServiceAccount(tx, principal, workspace, name)) as Record<string, unknown>;
  await deleteUserRow(tx, account.id);
  await notifyUserChanged(tx, account.id);
  audit({ action: 'service_account.delete', workspace, resource: `user:${account.username}` });
  afterCommit(() => auth.forgetUser(account.id));
  return { body: { deleted: true, ...record } };
}

/** The secret is in this answer and nowhere else. @throws 400, 403, 404, 409. */
export async function createAccountToken(
  config: Config,
  mutation: Mutation,
  workspace: string,
  name: string,
  body: Omit<CreateApiToken, 'roles' | 'workspaces'>,
): Promise<Answer> {
  // First, and held: whoever is being removed or lowered makes none that the removal does not see.
  const maker = await lockUser(mutation.tx, mutation.principal.userId);
  if (maker === null || maker.disabled) throw errors.unauthenticated();
  const principal = {
    ...mutation.principal,
    bindings: intersectBindings(mutation.principal.bindings, maker.bindings),
  };
  const account = await lockForChange({ ...mutation, principal }, workspace, name);
  requireLogin(principal, 'make further ones');
  // It must not reach further than whoever takes it into their hands, whoever gave the account its roles.
  const roles = account.bindings.map(({ role }) => role as Role);
  return insertToken(config, mutation, account, bindingsIn(principal, workspace, roles), body);
}

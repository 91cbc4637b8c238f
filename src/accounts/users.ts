import { type RawBuilder, sql } from 'kysely';
import type { Authenticator } from '../access/authenticate.ts';
import { isPermitted, type Principal, requireLogin } from '../access/permissions.ts';
import { deleteSecondFactor } from '../access/second-factor-store.ts';
import {
  anyAdministrator,
  deleteUserRow,
  endSessions,
  holdWorkspaces,
  insertUser,
  lockAdministrators,
  lockUser,
  notifyUserChanged,
  readUserJson,
  referencesTo,
  replaceBindings,
  takeDepartedName,
  type UserState,
  updateUser,
} from '../access/store.ts';
import { isUniqueViolation, type Queryable } from '../database/pool.ts';
import type { RoleBinding } from '../database/tables.ts';
import { uuidv7 } from '../database/uuid.ts';
import { errors, type FieldProblem } from '../errors.ts';
import type { Answer, Mutation } from '../http/mutation.ts';
import { nearMatches } from '../util/near-matches.ts';
import { lockCaller, type Proof } from './proof.ts';
import type { CreateUser, RolesInput, UpdateUser } from './schemas.ts';
import { setPassword } from './service.ts';
import { endMadeTokens } from './tokens-of-others.ts';

/** In the audit log and in `created_by` they stand for what no user did. */
const RESERVED_NAMES = ['anonymous', 'provisioning', 'system'];
/** The name of the first administrator: whoever reads it, in the audit log above all, takes it for that one. */
const FIRST_ADMINISTRATOR = 'admin';
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** An id from a path. @throws 404 where it cannot be one. */
export function idFrom(what: string, text: string): string {
  if (!UUID.test(text)) throw errors.notFound(what, text);
  return text.toLowerCase();
}

/** Which things of users a list may show. @throws 403 for those of others without `user_read`. */
export function visibleTo(principal: Principal, user: string | undefined): RawBuilder<boolean>[] {
  if (isOwn(principal, user)) return [sql<boolean>`user_id = ${principal.userId}::uuid`];
  if (!isPermitted(principal, 'user_read')) throw errors.forbidden('user_read');
  return [];
}

/** Whether a list is to show the things of the caller. @param user that it is asked for; undefined: the caller. */
export function isOwn(principal: Principal, user: string | undefined): boolean {
  return user === undefined || user === principal.name;
}

/** The user as JSON text. @throws 404. */
export async function getUser(db: Queryable, id: string): Promise<string> {
  const json = await readUserJson(db, idFrom('user', id));
  if (json === null) throw errors.notFound('user', id);
  return json;
}

/**
 * Roles as they are kept: each once, in workspaces that exist and go on existing until the transaction ends.
 * @param field in which they stand. @throws 400 naming the unknown workspace.
 */
export async function bindingsFrom(tx: Queryable, roles: RolesInput, field = 'roles'): Promise<RoleBinding[]> {
  const unique = new Map<string, RoleBinding>();
  for (const { role, workspace = null } of roles) unique.set(`${role} ${workspace ?? '*'}`, { role, workspace });
  const named = roles.flatMap(({ workspace }, index) =>
    workspace === undefined || workspace === null ? [] : [{ workspace, index }],
  );
  const known = await holdWorkspaces(
    tx,
    named.map(({ workspace }) => workspace),
  );
  const problems: FieldProblem[] = named
    .filter(({ workspace }) => !known.includes(workspace))
    .map(({ workspace, index }) => ({
      field: `${field}.${index}.workspace`,
      message: `there is no workspace "${workspace}"`,
      near_matches: nearMatches(workspace, known),
    }));
  if (problems.length > 0) throw errors.validation(problems);
  return [...unique.values()];
}

/** Whether these let somebody do everything, also to other users. */
function administers(bindings: readonly RoleBinding[]): boolean {
  return bindings.some(({ role, workspace }) => role === 'admin' && workspace === null);
}

/**
 * @param passwordHash made before the transaction: it is slow. @param proof of the caller, for an administrator.
 * @throws 403 without it, 409 when the name is taken.
 */
export async function createUser(
  { tx, principal, audit }: Mutation,
  body: Pick<CreateUser, 'username' | 'roles'>,
  passwordHash: string,
  proof: Proof | undefined,
): Promise<Answer> {
  requireLogin(principal, 'make users');
  requireUnreserved(body.username);
  await requireFreeName(tx, body.username);
  const id = uuidv7();
  const bindings = await bindingsFrom(tx, body.roles ?? []);
  if (administers(bindings)) await lockCaller(tx, principal, proof);
  try {
    await insertUser(tx, { id, username: body.username, passwordHash, bindings });
  } catch (error) {
    if (isUniqueViolation(error, 'users_username'))
      throw errors.conflict(`The user "${body.username}" exists already.`);
    throw error;
  }
  audit({ action: 'user.create', resource: `user:${body.username}`, details: { roles: bindings } });
  return { body: await getUser(tx, id), location: `/v1/users/${id}` };
}

/** @throws 400 for a name under which the audit log shows what no user did. */
function requireUnreserved(username: string): void {
  if (!RESERVED_NAMES.includes(username)) return;
  const message = `"${username}" is a name that the server itself uses. Choose another one`;
  throw errors.validation([{ field: 'username', message }]);
}

/** @throws 409 while anything refers to a user who had this name and was deleted; for the first administrator's always. */
export async function requireFreeName(tx: Queryable, username: string): Promise<void> {
  if (!(await takeDepartedName(tx, username))) return;
  if (username === FIRST_ADMINISTRATOR) {
    throw errors.conflict(
      `"${username}" was the name of the first administrator, who has been deleted. It is not given out again: choose another name.`,
      { field: 'username' },
    );
  }
  const [what] = await referencesTo(tx, username);
  if (what === undefined) return;
  throw errors.conflict(
    `"${username}" was the name of a user who has been deleted, and a ${what} still refers to it. Choose another name.`,
    { field: 'username' },
  );
}

/**
 * @param change with the caller's proof, for a new password, or where it makes the user an administrator.
 * @throws 403 without it, 404, or 409 where it would leave no enabled administrator.
 */
export async function changeUser(
  auth: Authenticator,
  mutation: Mutation,
  id: string,
  change: Omit<UpdateUser, 'password' | 'proof'> & { passwordHash?: string; proof?: Proof },
): Promise<Answer> {
  const { tx, principal, audit, afterCommit } = mutation;
  if (change.passwordHash !== undefined) requireLogin(principal, 'set passwords');
  if (change.roles !== undefined) requireLogin(principal, 'give roles');
  if (change.disabled === false) requireLogin(principal, 'enable users');
  const user = await lockForChange(tx, id);
  if (change.passwordHash !== undefined && user.id === principal.userId) {
    throw errors.conflict('This sets the passwords of others. Change your own with POST /v1/auth/password.');
  }
  if (user.sso && (change.roles !== undefined || change.passwordHash !== undefined)) {
    throw errors.conflict(
      `An identity provider vouches for "${user.username}": it has their password, and their roles follow from its groups (group_roles of the provider).`,
    );
  }
  const bindings = change.roles === undefined ? undefined : await bindingsFrom(tx, change.roles);
  const administered = !user.disabled && administers(user.bindings);
  const promotes = !(change.disabled ?? user.disabled) && administers(bindings ?? user.bindings) && !administered;
  if (change.passwordHash !== undefined || promotes) await lockCaller(tx, principal, change.proof);
  if (bindings !== undefined) await replaceBindings(tx, user.id, bindings);
  if (change.passwordHash !== undefined) await setPassword(tx, user.id, change.passwordHash);
  if (change.disabled === true && !user.disabled) await endSessions(tx, user.id);
  await updateUser(tx, user.id, change.disabled === undefined ? {} : { disabled: change.disabled });
  await requireAdministrator(tx);
  const trusted = change.passwordHash === undefined && !(change.disabled ?? user.disabled);
  const revoked = await endMadeTokens(auth, mutation, user, trusted ? (bindings ?? user.bindings) : []);
  await notifyUserChanged(tx, user.id);
  audit({
    action: 'user.update',
    resource: `user:${user.username}`,
    details: {
      ...(bindings === undefined ? {} : { roles: bindings }),
      ...(change.disabled === undefined ? {} : { disabled: change.disabled }),
      ...(change.passwordHash === undefined ? {} : { password_changed: true }),
      ...revoked,
    },
  });
  afterCommit(() => auth.forgetUser(user.id));
  return { body: await getUser(tx, user.id) };
}

/** With all tokens; what they created stays. @throws 404, or 409 for the last enabled administrator. */
export async function deleteUser(auth: Authenticator, mutation: Mutation, id: string): Promise<Answer> {
  const { tx, audit, afterCommit } = mutation;
  const user = await lockForChange(tx, id);
  const record = JSON.parse(await getUser(tx, user.id)) as Record<string, unknown>;
  const revoked = await endMadeTokens(auth, mutation, user, []);
  await deleteUserRow(tx, user.id);
  await requireAdministrator(tx);
  await notifyUserChanged(tx, user.id);
  audit({
    action: 'user.delete',
    resource: `user:${user.username}`,
    ...(revoked && { details: revoked }),
  });
  afterCommit(() => auth.forgetUser(user.id));
  return { body: { deleted: true, ...record } };
}

/** @throws 404 for what is no user, service accounts included. */
async function lockForChange(tx: Queryable, id: string): Promise<UserState> {
  const userId = idFrom('user', id);
  await lockAdministrators(tx);
  const user = await lockUser(tx, userId);
  if (user === null || user.service_workspace !== null) throw errors.notFound('user', id);
  return user;
}

/** For a user who has lost app and codes: takes their second factor off and ends their sessions. @throws 404, 409. */
export async function resetSecondFactor(
  auth: Authenticator,
  { tx, principal, audit, afterCommit }: Mutation,
  id: string,
  proof: Proof,
): Promise<Answer> {
  const user = await lockForChange(tx, id);
  if (user.id === principal.userId) {
    throw errors.conflict('This takes second factors off others. Take off your own with POST /v1/auth/totp/remove.');
  }
  await lockCaller(tx, principal, proof);
  if (!(await deleteSecondFactor(tx, user.id))) {
    throw errors.conflict(`The user "${user.username}" has no second factor.`);
  }
  await endSessions(tx, user.id);
  await notifyUserChanged(tx, user.id);
  audit({ action: 'user.totp.reset', resource: `user:${user.username}` });
  afterCommit(() => auth.forgetUser(user.id));
  return { body: await getUser(tx, user.id) };
}

async function requireAdministrator(tx: Queryable): Promise<void> {
  if (await anyAdministrator(tx)) return;
  throw errors.conflict(
    'This is the last enabled user with the role admin in every workspace (those of identity providers do not count). Make another one first.',
  );
}

import { type RawBuilder, sql } from 'kysely';
import type { Authenticator } from '../access/authenticate.ts';
import { isPermitted, type Principal, requireLogin } from '../access/permissions.ts';
import { holdWorkspaces, lockUser, notifyUserChanged, readUserState, type UserState } from '../access/store.ts';
import { holdsBinding, intersectBindings, narrowBindings } from '../access/token-roles.ts';
import { countApiTokens, deleteApiToken, insertApiToken, readApiToken } from '../access/token-store.ts';
import { newApiTokenSecret, tokenHash } from '../access/tokens.ts';
import type { Config } from '../config.ts';
import { isUniqueViolation, type Queryable } from '../database/pool.ts';
import type { RoleBinding } from '../database/tables.ts';
import { uuidv7 } from '../database/uuid.ts';
import { errors, type FieldProblem } from '../errors.ts';
import type { Answer, Mutation } from '../http/mutation.ts';
import { nearMatches } from '../util/near-matches.ts';
import type { CreateApiToken } from './schemas.ts';
import { bindingsFrom, idFrom, isOwn, visibleTo } from './users.ts';

/** Of one user. */
const MAX_TOKENS = 1_000;

/** How long tokens may hold. Seconds; `apiTokenMaxTtl` 0: without end. */
type Lifetimes = Pick<Config, 'apiTokenTtl' | 'apiTokenMaxTtl'>;

/**
 * Makes a token of the caller's own. The secret is in this answer and nowhere else.
 * @throws 400 for roles beyond the caller's own or a lifetime that is too long, 409 for a name in use.
 */
export async function createApiToken(lifetimes: Lifetimes, mutation: Mutation, body: CreateApiToken): Promise<Answer> {
  const { tx, principal } = mutation;
  // Else whoever finds one token could give it children that outlive it.
  requireLogin(principal, 'make further ones');
  const user = await lockUser(tx, principal.userId);
  if (user === null) throw errors.unauthenticated();
  // Those of this request as well: without the second factor that is asked of them they have none.
  const held = intersectBindings(principal.bindings, user.bindings);
  const bindings = body.roles === undefined ? held : await bindingsFrom(tx, body.roles);
  const excess = bindings.filter((binding) => !holdsBinding(held, binding));
  if (excess.length > 0) {
    throw errors.validation(
      excess.map(({ role, workspace }) => ({
        field: 'roles',
        message: `"${role}" in ${workspace === null ? 'every workspace' : `workspace "${workspace}"`} is more than you hold yourself`,
      })),
    );
  }
  return insertToken(lifetimes, mutation, user, bindings, body);
}

/** Makes a token of this user, who must be held, as must the caller, with no more than these bindings. @throws 400, 409. */
export async function insertToken(
  lifetimes: Lifetimes,
  { tx, principal, audit }: Mutation,
  owner: Pick<UserState, 'id' | 'username'>,
  bindings: readonly RoleBinding[],
  body: CreateApiToken,
): Promise<Answer> {
  const expiresIn = lifetimeOf(lifetimes, body.expires_in);
  const roles = await narrow(tx, bindings, body);
  if ((await countApiTokens(tx, owner.id)) >= MAX_TOKENS) {
    throw errors.conflict(`"${owner.username}" has ${MAX_TOKENS} API tokens already. Delete some first.`);
  }
  const id = uuidv7();
  const secret = newApiTokenSecret();
  try {
    await insertApiToken(tx, {
      ...{ id, userId: owner.id, createdById: principal.userId, name: body.name, hash: tokenHash(secret) },
      ...{ roles, expiresIn },
    });
  } catch (error) {
    if (isUniqueViolation(error, 'api_tokens_user_id_name_key')) {
      throw errors.conflict(
        `"${owner.username}" has an API token "${body.name}" already. Delete it first, or choose another name.`,
      );
    }
    throw error;
  }
  const created = await readApiToken(tx, id);
  audit({
    action: 'token.create',
    resource: `token:${id}`,
    details: { name: body.name, user: owner.username, roles, expires_in: expiresIn },
  });
  return {
    body: { ...(JSON.parse(created?.json ?? '{}') as Record<string, unknown>), token: secret },
    location: `/v1/tokens/${id}`,
    secret: true,
  };
}

/** Seconds; null: without end. @param wanted absent: as the server is set. @throws 400 for more than that allows. */
function lifetimeOf(
  { apiTokenTtl, apiTokenMaxTtl: most }: Lifetimes,
  wanted: number | null | undefined,
): number | null {
  const bounded = most > 0;
  if (wanted === undefined) return bounded ? Math.min(apiTokenTtl, most) : apiTokenTtl;
  if (!bounded || (wanted !== null && wanted <= most)) return wanted;
  const message = `must be at most ${most} seconds: the server allows no token that holds longer (PROVISIONING_API_TOKEN_MAX_TTL)`;
  throw errors.validation([{ field: 'expires_in', message }]);
}

/** What is left of the bindings in the workspaces and with the permissions that are asked for. @throws 400 for one of which nothing is. */
async function narrow(
  tx: Queryable,
  bindings: readonly RoleBinding[],
  { workspaces, permissions }: CreateApiToken,
): Promise<RoleBinding[]> {
  const wanted = workspaces === undefined ? undefined : [...new Set(workspaces)];
  const problems: FieldProblem[] = [];
  const known = await holdWorkspaces(tx, wanted ?? []);
  for (const [index, name] of (wanted ?? []).entries()) {
    const field = `workspaces.${index}`;
    if (!known.includes(name)) {
      problems.push({ field, message: `there is no workspace "${name}"`, near_matches: nearMatches(name, known) });
    } else if (narrowBindings(bindings, [name], permissions).length === 0) {
      problems.push({ field, message: `nothing of what the token is to have holds in workspace "${name}"` });
    }
  }
  for (const [index, permission] of (permissions ?? []).entries()) {
    if (narrowBindings(bindings, wanted, [permission]).length > 0) continue;
    problems.push({
      field: `permissions.${index}`,
      message: `"${permission}" is in none of the roles that it is to have`,
    });
  }
  if (problems.length > 0) throw errors.validation(problems);
  return narrowBindings(bindings, wanted, permissions === undefined ? undefined : [...new Set(permissions)]);
}

/**
 * Ends it at once, on every replica. One of a service account may be ended by whoever may write that.
 * @throws 404 also for one of somebody else without `user_write`.
 */
export async function removeApiToken(
  auth: Authenticator,
  { tx, principal, audit, afterCommit }: Mutation,
  id: string,
): Promise<Answer> {
  const token = await readApiToken(tx, idFrom('API token', id));
  if (token === null) throw errors.notFound('API token', id);
  if (!(await mayEnd(tx, principal, { id: idFrom('API token', id), ...token }))) throw errors.hidden('API token', id);
  const record = JSON.parse(token.json) as Record<string, unknown>;
  await deleteApiToken(tx, idFrom('API token', id));
  await notifyUserChanged(tx, token.user_id);
  audit({ action: 'token.delete', resource: `token:${id}`, details: { name: record.name, user: record.user } });
  afterCommit(() => auth.forgetUser(token.user_id));
  return { body: { deleted: true, ...record } };
}

/** Which tokens a list may show: one narrowed token must not name the others. @throws 403 for those of others without `user_read`. */
export function tokensVisibleTo(principal: Principal, user: string | undefined): RawBuilder<boolean>[] {
  const itself = principal.tokenId !== null && isOwn(principal, user) && !isPermitted(principal, 'user_read');
  return [...visibleTo(principal, user), ...(itself ? [sql<boolean>`id = ${principal.tokenId}::uuid`] : [])];
}

/** With a token: itself and, where it has the permission, others. With a login one's own, too. */
async function mayEnd(tx: Queryable, principal: Principal, token: { id: string; user_id: string }): Promise<boolean> {
  const own = principal.tokenId === null ? token.user_id === principal.userId : token.id === principal.tokenId;
  if (own || isPermitted(principal, 'user_write')) return true;
  const workspace = (await readUserState(tx, token.user_id))?.service_workspace ?? null;
  return workspace !== null && isPermitted(principal, 'service_account_write', workspace);
}

import { type RawBuilder, sql } from 'kysely';
import type { Authenticator } from '../access/authenticate.ts';
import { isPermitted, type Principal, requireLogin } from '../access/permissions.ts';
import { lockUser, notifyUserChanged } from '../access/store.ts';
import { holdsBinding } from '../access/token-roles.ts';
import { countApiTokens, deleteApiToken, insertApiToken, readApiToken } from '../access/token-store.ts';
import { newApiTokenSecret, tokenHash } from '../access/tokens.ts';
import { isUniqueViolation } from '../database/pool.ts';
import { uuidv7 } from '../database/uuid.ts';
import { errors } from '../errors.ts';
import type { Answer, Mutation } from '../http/mutation.ts';
import type { CreateApiToken } from './schemas.ts';
import { bindingsFrom, idFrom } from './users.ts';

/** Of one user. */
const MAX_TOKENS = 1_000;

/** Which tokens a list may show. @throws 403 for those of others without `user_read`. */
export function visibleTokens(principal: Principal, user: string | undefined): RawBuilder<boolean>[] {
  if (user === undefined || user === principal.name) return [sql<boolean>`user_id = ${principal.userId}::uuid`];
  if (!isPermitted(principal, 'user_read')) throw errors.forbidden('user_read');
  return [];
}

/**
 * The secret is in this answer and nowhere else.
 * @throws 400 for roles beyond the caller's own, 409 for a name in use.
 */
export async function createApiToken({ tx, principal, audit }: Mutation, body: CreateApiToken): Promise<Answer> {
  // Else whoever finds one token could give it children that outlive it.
  requireLogin(principal, 'make further ones');
  const user = await lockUser(tx, principal.userId);
  if (user === null) throw errors.unauthenticated();
  const bindings = body.roles === undefined ? user.bindings : await bindingsFrom(tx, body.roles);
  const excess = bindings.filter((binding) => !holdsBinding(user.bindings, binding));
  if (excess.length > 0) {
    throw errors.validation(
      excess.map(({ role, workspace }) => ({
        field: 'roles',
        message: `"${role}" in ${workspace === null ? 'every workspace' : `workspace "${workspace}"`} is more than you hold yourself`,
      })),
    );
  }
  if ((await countApiTokens(tx, user.id)) >= MAX_TOKENS) {
    throw errors.conflict(`You have ${MAX_TOKENS} API tokens already. Delete some first.`);
  }
  const id = uuidv7();
  const secret = newApiTokenSecret();
  try {
    await insertApiToken(tx, {
      id,
      userId: user.id,
      name: body.name,
      hash: tokenHash(secret),
      roles: bindings,
      ...(body.expires_in === undefined ? {} : { expiresIn: body.expires_in }),
    });
  } catch (error) {
    if (isUniqueViolation(error, 'api_tokens_user_id_name_key')) {
      throw errors.conflict(`You have an API token "${body.name}" already. Delete it first, or choose another name.`);
    }
    throw error;
  }
  const created = await readApiToken(tx, id);
  audit({ action: 'token.create', resource: `token:${id}`, details: { name: body.name, roles: bindings } });
  return {
    body: { ...(JSON.parse(created?.json ?? '{}') as Record<string, unknown>), token: secret },
    location: `/v1/tokens/${id}`,
    secret: true,
  };
}

/** Ends it at once, on every replica. @throws 404 also for one of somebody else without `user_write`. */
export async function removeApiToken(
  auth: Authenticator,
  { tx, principal, audit, afterCommit }: Mutation,
  id: string,
): Promise<Answer> {
  const token = await readApiToken(tx, idFrom('API token', id));
  if (token === null) throw errors.notFound('API token', id);
  if (token.user_id !== principal.userId && !isPermitted(principal, 'user_write')) throw errors.hidden('API token', id);
  const record = JSON.parse(token.json) as Record<string, unknown>;
  await deleteApiToken(tx, idFrom('API token', id));
  await notifyUserChanged(tx, token.user_id);
  audit({ action: 'token.delete', resource: `token:${id}`, details: { name: record.name, user: record.user } });
  afterCommit(() => auth.forgetUser(token.user_id));
  return { body: { deleted: true, ...record } };
}

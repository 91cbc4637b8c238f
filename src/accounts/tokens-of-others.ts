/** Tokens of service accounts that a user has made: their secrets have been in the user's hands. */
import type { Authenticator } from '../access/authenticate.ts';
import { isPermitted, type Principal } from '../access/permissions.ts';
import { notifyUserChanged, type UserState } from '../access/store.ts';
import { holdsBinding } from '../access/token-roles.ts';
import { type MadeToken, revokeTokens, tokensMadeBy } from '../access/token-store.ts';
import type { Queryable } from '../database/pool.ts';
import type { RoleBinding } from '../database/tables.ts';
import type { Mutation } from '../http/mutation.ts';

type Maker = Pick<UserState, 'id' | 'username'>;

/**
 * Revokes the tokens that the user, who must be held, has made for service accounts and may not make any more.
 * @param left what the user holds from now on; empty: nothing, or their password may have been known to others.
 */
export async function revokeMadeTokens(tx: Queryable, user: Maker, left: readonly RoleBinding[]): Promise<MadeToken[]> {
  const ended = (await tokensMadeBy(tx, user.id)).filter((token) => !mayMake(user, left, token));
  if (ended.length === 0) return [];
  await revokeTokens(
    tx,
    ended.map(({ id }) => id),
  );
  for (const account of accountsOf(ended)) await notifyUserChanged(tx, account);
  return ended;
}

/** The same for a request. @returns what its line of the audit log says of them. */
export async function endMadeTokens(
  auth: Authenticator,
  { tx, afterCommit }: Pick<Mutation, 'tx' | 'afterCommit'>,
  user: Maker,
  left: readonly RoleBinding[],
): Promise<{ revoked_tokens: string[] } | undefined> {
  const ended = await revokeMadeTokens(tx, user, left);
  afterCommit(() => {
    for (const account of accountsOf(ended)) auth.forgetUser(account);
  });
  return ended.length === 0 ? undefined : { revoked_tokens: ended.map(({ id }) => id) };
}

function accountsOf(tokens: readonly MadeToken[]): string[] {
  return [...new Set(tokens.map((token) => token.user_id))];
}

function mayMake({ id, username }: Maker, held: readonly RoleBinding[], token: MadeToken): boolean {
  const maker: Principal = { userId: id, name: username, label: username, tokenId: null, bindings: held };
  return (
    isPermitted(maker, 'service_account_write', token.workspace) &&
    token.roles.every((binding) => holdsBinding(held, binding))
  );
}

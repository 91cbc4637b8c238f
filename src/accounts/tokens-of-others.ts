/** Tokens of service accounts that a user has made: their secrets have been in the user's hands. */
import type { Authenticator } from '../access/authenticate.ts';
import { isPermitted, type Principal } from '../access/permissions.ts';
import { stopRulesOf } from '../access/sso/provider-store.ts';
import { notifyUserChanged, type UserState } from '../access/store.ts';
import { holdsBinding } from '../access/token-roles.ts';
import { type MadeToken, revokeTokens, tokensMadeBy } from '../access/token-store.ts';
import type { Queryable } from '../database/pool.ts';
import type { RoleBinding } from '../database/tables.ts';
import type { Mutation } from '../http/mutation.ts';

type Maker = Pick<UserState, 'id' | 'username'>;

/** What ended with what somebody held. */
export interface MadeEnds {
  /** Whose service accounts' tokens it concerns. */
  accounts: string[];
  /** For the audit log. */
  details: { revoked_tokens?: string[]; stopped_rules?: string[] };
}

/**
 * Revokes the tokens that the user, who must be held, has made for service accounts and may not make any more, and stops the
 * rules by which they let jobs have such.
 * @param left what the user holds from now on; empty: nothing, or their password may have been known to others.
 */
export async function revokeMadeTokens(tx: Queryable, user: Maker, left: readonly RoleBinding[]): Promise<MadeEnds> {
  const tokens = (await tokensMadeBy(tx, user.id)).filter((token) => !mayMake(user, left, token));
  if (tokens.length > 0) {
    await revokeTokens(
      tx,
      tokens.map(({ id }) => id),
    );
  }
  const rules = isPermitted(makerOf(user, left), 'user_write') ? [] : await stopRulesOf(tx, user.id);
  const accounts = [...new Set([...accountsOf(tokens), ...rules.flatMap((rule) => rule.accounts)])];
  for (const account of accounts) await notifyUserChanged(tx, account);
  return {
    accounts,
    details: {
      ...(tokens.length > 0 && { revoked_tokens: tokens.map(({ id }) => id) }),
      ...(rules.length > 0 && { stopped_rules: rules.map(({ name }) => name) }),
    },
  };
}

/** The same for a request. @returns what its line of the audit log says of them. */
export async function endMadeTokens(
  auth: Authenticator,
  { tx, afterCommit }: Pick<Mutation, 'tx' | 'afterCommit'>,
  user: Maker,
  left: readonly RoleBinding[],
): Promise<MadeEnds['details'] | undefined> {
  const { accounts, details } = await revokeMadeTokens(tx, user, left);
  afterCommit(() => accounts.forEach(auth.forgetUser));
  return Object.keys(details).length === 0 ? undefined : details;
}

function accountsOf(tokens: readonly MadeToken[]): string[] {
  return [...new Set(tokens.map((token) => token.user_id))];
}

function makerOf({ id, username }: Maker, bindings: readonly RoleBinding[]): Principal {
  return { userId: id, name: username, label: username, tokenId: null, bindings };
}

function mayMake(user: Maker, held: readonly RoleBinding[], token: MadeToken): boolean {
  return (
    isPermitted(makerOf(user, held), 'service_account_write', token.workspace) &&
    token.roles.every((binding) => holdsBinding(held, binding))
  );
}

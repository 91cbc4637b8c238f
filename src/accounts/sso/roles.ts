/** Roles that follow from groups, and what ends with them. */
import { applyGroupRoles, forgetGroups, usersUnvouched } from '../../access/sso/identity-store.ts';
import { endSessions, lockUser, notifyUserChanged, readUserState, type UserState } from '../../access/store.ts';
import { tryLock } from '../../database/locks.ts';
import type { Database, Queryable } from '../../database/pool.ts';
import { type AuditOrigin, insertAudit, UNASKED } from '../../http/mutation.ts';
import { type Rounds, startRounds } from '../../util/rounds.ts';
import { revokeMadeTokens } from '../tokens-of-others.ts';

/** Does what the server does unasked. */
export const SYSTEM = 'system';

/** Users in one round. */
const BATCH = 500;
const ROUND_MS = 60_000;
/** Any number, the same in every replica: one of them does the work. */
const ROUND_LOCK = 7_201_090;

/**
 * Gives a user of an issuer, who must be held, what their groups give now. Without a role their sessions end, and tokens of
 * service accounts that they may not make any more.
 * @returns the user as they are then.
 */
export async function adjustRoles(
  tx: Queryable,
  origin: AuditOrigin,
  by: string,
  user: UserState,
  reason: string,
): Promise<UserState> {
  const changed = await applyGroupRoles(tx, user.id);
  const now = (await readUserState(tx, user.id)) ?? user;
  if (now.bindings.length === 0) await endSessions(tx, user.id);
  else if (!changed) return now;
  const revoked = await revokeMadeTokens(tx, user, now.bindings);
  await notifyUserChanged(tx, user.id);
  if (changed) {
    await insertAudit(tx, origin, by, 'allowed', {
      action: 'auth.sso.roles',
      resource: `user:${user.username}`,
      details: {
        reason,
        roles: now.bindings,
        ...revoked.details,
      },
    });
  }
  // Another generation of tokens, where their sessions have ended.
  return (await readUserState(tx, user.id)) ?? now;
}

/** Takes the roles of users for whom their issuer has not vouched for too long. One replica at a time. */
export function startRoleExpiry(db: Database, warn: (error: unknown) => void): Rounds {
  return startRounds(ROUND_MS, (isStopping) => expireRoles(db, isStopping).catch(warn));
}

async function expireRoles(db: Database, isStopping: () => boolean): Promise<void> {
  const users = await db.transaction().execute(async (tx) => {
    return (await tryLock(tx, ROUND_LOCK)) ? usersUnvouched(tx, BATCH) : [];
  });
  for (const id of users) {
    if (isStopping()) return;
    await db.transaction().execute(async (tx) => {
      const user = await lockUser(tx, id);
      if (user === null) return;
      await forgetGroups(tx, { userId: user.id });
      await adjustRoles(tx, UNASKED, SYSTEM, user, 'the issuer has not vouched for them for too long');
    });
  }
}

import { randomBytes } from 'node:crypto';
import { hashPassword } from '../access/passwords.ts';
import { deleteSecondFactor } from '../access/second-factor-store.ts';
import { findCredentials, lockUser, notifyUserChanged } from '../access/store.ts';
import type { Database } from '../database/pool.ts';
import { errors } from '../errors.ts';
import { insertAudit } from '../http/mutation.ts';
import { setPassword } from './service.ts';
import { revokeMadeTokens } from './tokens-of-others.ts';

/** 24 characters in base64url. */
const PASSWORD_BYTES = 18;

/**
 * For whoever has the database, where no administrator gets in any more: gives the user a new password, takes their second
 * factor off, and ends their sessions and tokens. Servers may go on working.
 * @returns the password; to be shown, never logged. @throws 404 for what is no user, service accounts included; 409 for one of an
 * identity provider.
 */
export async function resetLogin(db: Database, username: string): Promise<string> {
  const password = randomBytes(PASSWORD_BYTES).toString('base64url');
  const passwordHash = await hashPassword(password);
  await db.transaction().execute(async (tx) => {
    const found = await findCredentials(tx, username);
    const user = found === null ? null : await lockUser(tx, found.id);
    if (user === null || user.service_workspace !== null) throw errors.notFound('user', username);
    if (user.sso) {
      throw errors.conflict(`An identity provider vouches for "${user.username}", and no password logs them in.`);
    }
    await setPassword(tx, user.id, passwordHash);
    const removed = await deleteSecondFactor(tx, user.id);
    const revoked = await revokeMadeTokens(tx, user, []);
    await notifyUserChanged(tx, user.id);
    await insertAudit(tx, { ip: null, id: null }, 'system', 'allowed', {
      action: 'user.login.reset',
      resource: `user:${user.username}`,
      details: {
        ...{ password_changed: true, second_factor_removed: removed },
        ...revoked.details,
      },
    });
  });
  return password;
}

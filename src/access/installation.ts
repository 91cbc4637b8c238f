import { randomBytes } from 'node:crypto';
import { sql } from 'kysely';
import { type Config, ConfigError } from '../config.ts';
import type { Database } from '../database/pool.ts';
import { uuidv7 } from '../database/uuid.ts';
import type { Encryption } from './encryption.ts';
import { weakness } from './password-policy.ts';
import { hashPassword } from './passwords.ts';
import { openSigningKey } from './signing-key.ts';
import { anyUser, insertUser, lockAdministrators } from './store.ts';

const FIRST_USER = 'admin';
/** 24 characters in base64url. */
const PASSWORD_BYTES = 18;

/**
 * What must exist before the first request: the secret behind every token, and the first user, `admin`. Safe with any
 * number of replicas starting at once: they agree on the secret, and one of them makes the user.
 * @returns `generatedAdminPassword` once, to the replica that made the user with it; to be shown, never logged.
 */
export async function prepareInstallation(
  db: Database,
  config: Pick<Config, 'jwtSecret' | 'adminPassword' | 'passwordMinLength'>,
  encryption: Encryption,
): Promise<{ secret: string; generatedAdminPassword: string | null }> {
  const secret = await openSigningKey(db, config.jwtSecret, encryption);
  return { secret, generatedAdminPassword: await createFirstUser(db, config) };
}

/** @throws ConfigError for a configured password that is too easy to guess. */
async function createFirstUser(
  db: Database,
  { adminPassword: configured, passwordMinLength }: Pick<Config, 'adminPassword' | 'passwordMinLength'>,
): Promise<string | null> {
  if (await anyUser(db)) return null;
  const problem = configured === null ? null : await weakness(configured, FIRST_USER, passwordMinLength);
  if (problem !== null) throw new ConfigError(`PROVISIONING_ADMIN_PASSWORD ${problem}.`);
  const password = configured ?? randomBytes(PASSWORD_BYTES).toString('base64url');
  const passwordHash = await hashPassword(password);
  const created = await db.transaction().execute(async (tx) => {
    await lockAdministrators(tx);
    if (await anyUser(tx)) return false;
    const bindings = [{ role: 'admin', workspace: null }];
    await insertUser(tx, { id: uuidv7(), username: FIRST_USER, passwordHash, bindings });
    await sql`
      insert into provisioning.audit_log (id, principal, action, resource, outcome)
      values (${uuidv7()}, 'system', 'user.create', ${`user:${FIRST_USER}`}, 'allowed')`.execute(tx);
    return true;
  });
  return created && configured === null ? password : null;
}

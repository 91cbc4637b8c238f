/** The key that tokens are signed with: in the database, encrypted, the same for all replicas. */
import { randomBytes } from 'node:crypto';
import { sql } from 'kysely';
import { ConfigError } from '../config.ts';
import type { Database, Queryable } from '../database/pool.ts';
import { ApplicationError } from '../errors.ts';
import type { Encryption } from './encryption.ts';
import { rekeyAnswers } from './kept-answers.ts';

const SIGNING_KEY = 'jwt_secret';
const CONTEXT = 'signing key';
const KEY_BYTES = 48;

/**
 * The signing key, made at the first start. What an earlier version left readable in the database is encrypted.
 * @param configured wins over the one in the database.
 * @throws ConfigError where it does not open with the master key of this replica.
 */
export async function openSigningKey(db: Database, configured: string | null, encryption: Encryption): Promise<string> {
  try {
    const kept = await db.transaction().execute((tx) => keptKey(tx, encryption));
    await rekeyAnswers(db, encryption, configured ?? kept);
    return configured ?? kept;
  } catch (error) {
    if (!(error instanceof ApplicationError) || error.code !== 'MASTER_KEY_MISMATCH') throw error;
    // Only what is encrypted fails on this replica, and each time says why.
    if (configured !== null) return configured;
    throw new ConfigError(
      'The master key of this replica is not the one that the signing key in the database is encrypted under. Start it with the same PROVISIONING_MASTER_KEY (or <data dir>/master.key) as the others.',
    );
  }
}

async function keptKey(tx: Queryable, encryption: Encryption): Promise<string> {
  await tx
    .insertInto('provisioning.settings')
    .values({
      key: SIGNING_KEY,
      value: encryption.encrypt(randomBytes(KEY_BYTES).toString('base64url'), CONTEXT),
      sealed: true,
    })
    .onConflict((conflict) => conflict.doNothing())
    .execute();
  const { value, sealed } = await tx
    .selectFrom('provisioning.settings')
    .select(['value', 'sealed'])
    .where('key', '=', SIGNING_KEY)
    .forUpdate()
    .executeTakeFirstOrThrow();
  if (sealed) return encryption.decrypt(value, CONTEXT);
  await tx
    .updateTable('provisioning.settings')
    .set({ value: encryption.encrypt(value, CONTEXT), sealed: true })
    .where('key', '=', SIGNING_KEY)
    .execute();
  return value;
}

/**
 * Ends every session, and has the next start make another signing key: whoever read the one of a backup can do nothing with
 * it. Answers that are encrypted under that key are forgotten; that their requests were carried out is not.
 */
export async function replaceSigningKey(db: Queryable): Promise<void> {
  await sql`delete from provisioning.settings where key = ${SIGNING_KEY}`.execute(db);
  await sql`
    update provisioning.idempotency_keys set response_body = null where response_sealed and not request_keyed`.execute(
    db,
  );
  await sql`update provisioning.users set token_generation = token_generation + 1`.execute(db);
  await sql`delete from provisioning.sessions`.execute(db);
  // Those of the backup may be in use where it was made.
  await sql`delete from provisioning.sso_revocations`.execute(db);
  await sql`update provisioning.refresh_tokens set revoked_at = now() where revoked_at is null`.execute(db);
  // Whoever has lost a group since has it in the backup: issuers are to tell them anew.
  await sql`update provisioning.identities set groups = '{}'`.execute(db);
  await sql`delete from provisioning.role_bindings where user_id in (select user_id from provisioning.identities)`.execute(
    db,
  );
}

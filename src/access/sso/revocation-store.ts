/** Tokens of issuers that are to be revoked, as their sessions have ended. A trigger on `sso_sessions` enters them. */
import { sql } from 'kysely';
import type { Queryable } from '../../database/pool.ts';

/** After so many tries the issuer's own time for the token ends it. */
const MAX_TRIES = 5;

export interface Revocation {
  session_id: string;
  provider_id: string;
  /** Encrypted. */
  tokens: string;
}

/** The right to try some, once over all replicas. @param seconds after which it may be tried again. */
export async function claimRevocations(db: Queryable, limit: number, seconds: number): Promise<Revocation[]> {
  await sql`delete from provisioning.sso_revocations where tries >= ${MAX_TRIES} and due_at <= now()`.execute(db);
  const { rows } = await sql<Revocation>`
    update provisioning.sso_revocations set tries = tries + 1, due_at = now() + make_interval(secs => ${seconds}::float8)
    where session_id in (
      select session_id from provisioning.sso_revocations where due_at <= now()
      order by due_at limit ${limit}::int for update skip locked)
    returning session_id, provider_id, tokens`.execute(db);
  return rows;
}

export async function forgetRevocation(db: Queryable, sessionId: string): Promise<void> {
  await db.deleteFrom('provisioning.sso_revocations').where('session_id', '=', sessionId).execute();
}

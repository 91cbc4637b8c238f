import { sql } from 'kysely';
import type { Queryable } from '../database/pool.ts';

/** Wrong codes in a row that are too many, as long as the first of them is not older than this. */
const MAX_FAILURES = 5;
const FAILURE_WINDOW = '15 minutes';
/** How long a secret waits for its first code. */
const PENDING_WINDOW = '15 minutes';

/** The second factor of a user. Secrets are encrypted. */
export interface SecondFactor {
  /** Null: none is confirmed. */
  secret: string | null;
  /** The one that a right code puts in its place. */
  pending_secret: string | null;
  last_step: number | null;
  /** Seconds until another code of the app is looked at; 0: now. */
  wait: number;
  /** The database's clock, which all replicas share. Milliseconds since 1970. */
  now: number;
}

/** Null: the user has none. The user's row must be held where a code is to be taken. */
export async function readSecondFactor(db: Queryable, userId: string): Promise<SecondFactor | null> {
  const { rows } = await sql<SecondFactor>`
    select secret, last_step::float8 as last_step,
           case when pending_at > now() - ${PENDING_WINDOW}::interval then pending_secret end as pending_secret,
           case when failures >= ${MAX_FAILURES}::int
             then greatest(0, ceil(extract(epoch from failing_since + ${FAILURE_WINDOW}::interval - clock_timestamp())))
             else 0 end::int as wait,
           (extract(epoch from clock_timestamp()) * 1000)::float8 as now
    from provisioning.second_factors where user_id = ${userId}`.execute(db);
  return rows[0] ?? null;
}

export async function setPendingSecret(tx: Queryable, userId: string, sealed: string): Promise<void> {
  await sql`
    insert into provisioning.second_factors (user_id, pending_secret, pending_at) values (${userId}, ${sealed}, now())
    on conflict (user_id) do update
    set pending_secret = excluded.pending_secret, pending_at = excluded.pending_at`.execute(tx);
}

/** Puts the pending secret in the place of the one before. @param step the period of the code that confirmed it. */
export async function confirmPendingSecret(tx: Queryable, userId: string, step: number): Promise<void> {
  await sql`
    update provisioning.second_factors
    set secret = pending_secret, pending_secret = null, pending_at = null, confirmed_at = now(), last_step = ${step}::bigint,
        failures = 0, failing_since = null
    where user_id = ${userId}`.execute(tx);
}

/** A right code was given: none of its period or before is right again. @param step null: a recovery code. */
export async function noteSuccess(tx: Queryable, userId: string, step: number | null): Promise<void> {
  await sql`
    update provisioning.second_factors
    set failures = 0, failing_since = null, last_step = coalesce(${step}::bigint, last_step)
    where user_id = ${userId}`.execute(tx);
}

/** A wrong code was given. */
export async function noteFailure(tx: Queryable, userId: string): Promise<void> {
  await sql`
    update provisioning.second_factors
    set failures = case when failing_since > now() - ${FAILURE_WINDOW}::interval then failures + 1 else 1 end,
        failing_since = case when failing_since > now() - ${FAILURE_WINDOW}::interval then failing_since else now() end
    where user_id = ${userId}`.execute(tx);
}

/** @returns false: there was none. */
export async function deleteSecondFactor(tx: Queryable, userId: string): Promise<boolean> {
  await tx.deleteFrom('provisioning.recovery_codes').where('user_id', '=', userId).execute();
  const { numDeletedRows } = await tx
    .deleteFrom('provisioning.second_factors')
    .where('user_id', '=', userId)
    .executeTakeFirst();
  return numDeletedRows > 0n;
}

/** In the place of all earlier ones. */
export async function replaceRecoveryCodes(tx: Queryable, userId: string, digests: readonly Buffer[]): Promise<void> {
  await tx.deleteFrom('provisioning.recovery_codes').where('user_id', '=', userId).execute();
  await tx
    .insertInto('provisioning.recovery_codes')
    .values(digests.map((digest) => ({ user_id: userId, digest })))
    .execute();
}

/** Whether it is one of the user's that has not been used. */
export async function hasRecoveryCode(db: Queryable, userId: string, digest: Buffer): Promise<boolean> {
  const row = await db
    .selectFrom('provisioning.recovery_codes')
    .select('user_id')
    .where('user_id', '=', userId)
    .where('digest', '=', digest)
    .executeTakeFirst();
  return row !== undefined;
}

/** Uses a recovery code up. @returns false: it is none of the user's. */
export async function takeRecoveryCode(tx: Queryable, userId: string, digest: Buffer): Promise<boolean> {
  const { numDeletedRows } = await tx
    .deleteFrom('provisioning.recovery_codes')
    .where('user_id', '=', userId)
    .where('digest', '=', digest)
    .executeTakeFirst();
  return numDeletedRows > 0n;
}

export async function countRecoveryCodes(db: Queryable, userId: string): Promise<number> {
  const { rows } = await sql<{ left: number }>`
    select count(*)::int as left from provisioning.recovery_codes where user_id = ${userId}`.execute(db);
  return rows[0]?.left ?? 0;
}

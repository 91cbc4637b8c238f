/** How requests and the secret answers to them are kept for their Idempotency-Key. */
import type { Database, Queryable } from '../database/pool.ts';
import { createEncryption, type Encryption } from './encryption.ts';

/** What answers with secrets in them are encrypted as. */
export const KEPT_ANSWER = 'answer to a request';

/**
 * What is stored of a request, given a hash of it. A request may hold a password: nobody without the key can try guesses.
 */
export function requestDigest(encryption: Encryption, hash: Buffer): Buffer {
  return encryption.digest(hash, 'request');
}

/** Rows that are brought over in one transaction. */
const BATCH = 500;

/**
 * Brings over what an earlier version kept: plain hashes, and answers encrypted under the signing key of that time. Of answers
 * that this key does not open it stays known that the request was carried out. What another transaction holds is left to it.
 */
export async function rekeyAnswers(db: Database, encryption: Encryption, signingKey: string): Promise<void> {
  const former = createEncryption(signingKey);
  let found: number;
  do {
    found = await db.transaction().execute((tx) => rekeyBatch(tx, encryption, former));
  } while (found > 0);
}

async function rekeyBatch(tx: Queryable, encryption: Encryption, former: Encryption): Promise<number> {
  const rows = await tx
    .selectFrom('provisioning.idempotency_keys')
    .select(['principal', 'key', 'request_hash', 'response_body', 'response_sealed'])
    .where('request_keyed', '=', false)
    .limit(BATCH)
    .forUpdate()
    .skipLocked()
    .execute();
  for (const row of rows) {
    const body = row.response_body;
    const answer = body === null || !row.response_sealed ? body : openFormer(former, body);
    await tx
      .updateTable('provisioning.idempotency_keys')
      .set({
        request_hash: requestDigest(encryption, row.request_hash),
        request_keyed: true,
        response_body: answer === null || !row.response_sealed ? answer : encryption.encrypt(answer, KEPT_ANSWER),
      })
      .where('principal', '=', row.principal)
      .where('key', '=', row.key)
      .execute();
  }
  return rows.length;
}

/** An answer as an earlier version encrypted it; null where another signing key is needed. */
export function openFormer(former: Encryption, sealed: string): string | null {
  try {
    return former.decrypt(sealed);
  } catch {
    return null;
  }
}

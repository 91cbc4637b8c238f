/** How requests and the secret answers to them are kept for their Idempotency-Key. */
import type { Queryable } from '../database/pool.ts';
import { createEncryption, type Encryption } from './encryption.ts';

/** What answers with secrets in them are encrypted as. */
export const KEPT_ANSWER = 'answer to a request';

/**
 * What is stored of a request, given a hash of it. A request may hold a password: nobody without the key can try guesses.
 */
export function requestDigest(encryption: Encryption, hash: Buffer): Buffer {
  return encryption.digest(hash, 'request');
}

/**
 * Brings over what an earlier version kept: plain hashes, and answers encrypted under the signing key of that time.
 * Answers that this key does not open are forgotten.
 */
export async function rekeyAnswers(tx: Queryable, encryption: Encryption, signingKey: string): Promise<void> {
  const former = createEncryption(signingKey);
  const rows = await tx
    .selectFrom('provisioning.idempotency_keys')
    .select(['principal', 'key', 'request_hash', 'response_body', 'response_sealed'])
    .where('request_keyed', '=', false)
    .orderBy('principal')
    .orderBy('key')
    .forUpdate()
    .execute();
  for (const row of rows) {
    const sealed = row.response_sealed && row.response_body !== null ? row.response_body : null;
    const answer = sealed === null ? row.response_body : opened(former, sealed);
    if (answer === undefined) {
      await tx
        .deleteFrom('provisioning.idempotency_keys')
        .where('principal', '=', row.principal)
        .where('key', '=', row.key)
        .execute();
      continue;
    }
    await tx
      .updateTable('provisioning.idempotency_keys')
      .set({
        request_hash: requestDigest(encryption, row.request_hash),
        request_keyed: true,
        response_body: sealed === null || answer === null ? answer : encryption.encrypt(answer, KEPT_ANSWER),
      })
      .where('principal', '=', row.principal)
      .where('key', '=', row.key)
      .execute();
  }
}

/** Undefined where another key is needed. */
function opened(encryption: Encryption, sealed: string): string | undefined {
  try {
    return encryption.decrypt(sealed);
  } catch {
    return undefined;
  }
}

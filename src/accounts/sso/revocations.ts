/** Has the issuer forget what it gave for a session that has ended: logged out here, nothing goes on there. */
import type { Logger } from 'pino';
import type { Encryption } from '../../access/encryption.ts';
import { IssuerError, type Issuers } from '../../access/sso/issuers.ts';
import { findProvider } from '../../access/sso/provider-store.ts';
import { claimRevocations, forgetRevocation, type Revocation } from '../../access/sso/revocation-store.ts';
import { issuerOfRow, openTokens } from '../../access/sso/sealing.ts';
import { type Database, isDatabaseUnavailable } from '../../database/pool.ts';
import { type Rounds, startRounds } from '../../util/rounds.ts';

const ROUND_MS = 2_000;
/** Tried at once. */
const BATCH = 10;
/** Between two tries: longer than one takes. Seconds. */
const AGAIN_SECONDS = 300;

interface Revoking {
  db: Database;
  encryption: Encryption;
  issuers: Issuers;
  logger: Pick<Logger, 'warn'>;
}

export function startRevocations(tools: Revoking): Rounds {
  return startRounds(ROUND_MS, (isStopping) => revokeDue(tools, isStopping).catch((error) => complain(tools, error)));
}

async function revokeDue(tools: Revoking, isStopping: () => boolean): Promise<void> {
  if (isStopping()) return;
  const due = await claimRevocations(tools.db, BATCH, AGAIN_SECONDS);
  await Promise.all(due.map((one) => revoke(tools, one).catch((error) => complain(tools, error))));
}

async function revoke({ db, encryption, issuers }: Revoking, revocation: Revocation): Promise<void> {
  const { session_id: id, provider_id: providerId, tokens } = revocation;
  const provider = await findProvider(db, { id: providerId });
  if (provider !== null && provider.client_id !== null) {
    const { refresh, access } = openTokens(encryption, id, tokens);
    await issuers.revoke(issuerOfRow(encryption, provider), refresh ?? access);
  }
  await forgetRevocation(db, id);
}

function complain({ logger }: Revoking, error: unknown): void {
  if (isDatabaseUnavailable(error)) return;
  const reason = error instanceof IssuerError ? { reason: error.message } : { err: error };
  logger.warn(reason, "an issuer's tokens of a session that has ended could not be revoked");
}

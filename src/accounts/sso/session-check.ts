/** Sessions by an issuer hold while it vouches for their user: it is asked again and again. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { Encryption } from '../../access/encryption.ts';
import { endSession } from '../../access/session-store.ts';
import {
  claimSession,
  noteRefused,
  noteTokens,
  noteUnanswered,
  noteVerified,
  noteVouched,
  readStanding,
  type SessionClaim,
} from '../../access/sso/identity-store.ts';
import { IssuerError, type Issuers, type Vouched } from '../../access/sso/issuers.ts';
import { findProvider } from '../../access/sso/provider-store.ts';
import { issuerOfRow, openTokens, sealTokens } from '../../access/sso/sealing.ts';
import { lockUser, notifyUserChanged } from '../../access/store.ts';
import type { Database } from '../../database/pool.ts';
import { insertAudit, UNASKED } from '../../http/mutation.ts';
import { adjustRoles, SYSTEM } from './roles.ts';

/** Longer than all requests to an issuer take together; afterwards another replica may ask. Seconds. */
const CLAIM_SECONDS = 60;
/** Between two looks whether the replica that asks has its answer. Milliseconds. */
const WAIT_MS = 100;
/** One that has died meanwhile is not waited for. Milliseconds. */
const MAX_WAIT_MS = 15_000;
/** An issuer that did not answer is left alone for so long. Seconds. */
const RETRY_SECONDS = 10;

/**
 * Asks the issuer of a session, where that is due, whether it still vouches for the user, and with which groups. Resolves when
 * that is known and carried out, whichever replica asked.
 * @returns false where the issuer could not be asked for longer than sessions may hold without.
 */
export type SessionCheck = (sessionId: string) => Promise<boolean>;

interface Checking {
  db: Database;
  encryption: Encryption;
  issuers: Issuers;
  logger: Pick<Logger, 'warn'>;
}

export function createSessionCheck(checking: Checking): SessionCheck {
  const underWay = new Map<string, Promise<boolean>>();
  return (sessionId) => {
    const known = underWay.get(sessionId);
    if (known !== undefined) return known;
    const check = checkSession(checking, sessionId).finally(() => underWay.delete(sessionId));
    underWay.set(sessionId, check);
    return check;
  };
}

async function checkSession(checking: Checking, sessionId: string): Promise<boolean> {
  const { db } = checking;
  const deadline = performance.now() + MAX_WAIT_MS;
  for (let asked = false; ; ) {
    const standing = await readStanding(db, sessionId);
    if (standing === null) return true;
    // It was asked now, however long the answer took.
    if (!standing.due || asked) return !standing.unvouched;
    const claim = await claimSession(db, sessionId, CLAIM_SECONDS);
    asked = claim !== null;
    if (claim !== null) await ask(checking, sessionId, claim);
    else if (performance.now() < deadline) await sleep(WAIT_MS);
    else return false;
  }
}

async function ask(checking: Checking, sessionId: string, claim: SessionClaim): Promise<void> {
  const { db, encryption, issuers, logger } = checking;
  try {
    const provider = await findProvider(db, { id: claim.provider_id });
    if (provider === null || !provider.enabled || provider.client_id === null) {
      return await end(checking, sessionId, claim.user_id, 'its identity provider is off');
    }
    const tokens = openTokens(encryption, sessionId, claim.tokens);
    const vouched = await issuers.vouchAgain(issuerOfRow(encryption, provider), tokens, claim.subject, (next) =>
      noteTokens(db, sessionId, sealTokens(encryption, sessionId, next)),
    );
    await keep(checking, sessionId, claim, provider.name, vouched);
  } catch (error) {
    if (error instanceof IssuerError && error.kind === 'refused') {
      return end(checking, sessionId, claim.user_id, error.message);
    }
    await noteUnanswered(db, sessionId, RETRY_SECONDS);
    if (!(error instanceof IssuerError)) throw error;
    logger.warn({ session_id: sessionId, reason: error.message }, 'could not check a session with its issuer');
  }
}

async function keep(
  { db, encryption }: Checking,
  sessionId: string,
  { user_id: userId, asked_at: askedAt }: SessionClaim,
  provider: string,
  vouched: Vouched,
): Promise<void> {
  await db.transaction().execute(async (tx) => {
    const user = await lockUser(tx, userId);
    if (user === null) return;
    await noteVouched(tx, userId, vouched.groups, askedAt);
    await noteVerified(tx, sessionId, sealTokens(encryption, sessionId, vouched.tokens), askedAt);
    await adjustRoles(tx, UNASKED, SYSTEM, user, `their groups at ${provider}`);
  });
}

async function end({ db }: Checking, sessionId: string, userId: string, reason: string): Promise<void> {
  await db.transaction().execute(async (tx) => {
    const user = await lockUser(tx, userId);
    if (user === null) return;
    await endSession(tx, sessionId);
    await noteRefused(tx, userId);
    await notifyUserChanged(tx, userId);
    const details = { reason: `the issuer no longer vouches for it: ${reason}` };
    await insertAudit(tx, UNASKED, SYSTEM, 'allowed', {
      ...{ action: 'auth.session.end', resource: `session:${sessionId}` },
      details: { user: user.username, ...details },
    });
  });
}

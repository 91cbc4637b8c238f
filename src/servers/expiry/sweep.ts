/**
 * Announces what is about to expire, and deletes what has expired. Any number of replicas look once a second; each row
 * is moved on to its next look in the transaction that announces or deletes, so that one of them does it, once.
 */
import type { Logger } from 'pino';
import type { Principal } from '../../access/permissions.ts';
import { isDatabaseUnavailable, type Queryable } from '../../database/pool.ts';
import { OBSERVER } from '../../engine/engine.ts';
import { ApplicationError } from '../../errors.ts';
import { CheckedOnly, type Mutation, mutateUnasked } from '../../http/mutation.ts';
import type { Services } from '../../http/section.ts';
import type { Accepted } from '../../operations/accept.ts';
import { harmlessText } from '../../util/harmless.ts';
import { startRounds } from '../../util/rounds.ts';
import { timeText } from '../guards/fields.ts';
import { bringForward, type DueExpiry, dueExpiries, lockDueExpiry, noteExpiry } from './store.ts';

/** How often it is looked what is due. Milliseconds. */
const LOOK_MS = 1_000;
/** Refusals that pass by themselves: something else is being done with it, or its owner or workspace is at a limit. */
const BUSY = ['RESOURCE_BUSY', 'LIMIT_REACHED'];
/** After so long it is tried again after one of them. Milliseconds. */
const BUSY_MS = 60_000;
/** After so long it is tried again where its deletion was refused or has failed. Milliseconds. */
const AGAIN_MS = 3_600_000;
/** What one replica looks at at once. */
const MAX_UNDER_WAY = 20;
/** No user's id: what it is deleted for has no owner. */
const NOBODY = '00000000-0000-0000-0000-000000000000';

/** A kind of thing that can expire. */
export interface Expiring<Prepared = unknown> {
  type: 'server' | 'taskserv';
  /** What is read outside the transaction. */
  prepare(services: Services, workspace: string): Promise<Prepared>;
  /** Locks what everybody locks before it. */
  lockBefore(tx: Queryable, id: string): Promise<void>;
  /** Accepts its deletion. @throws ApplicationError. */
  accept(services: Services, mutation: Mutation, due: DueExpiry, prepared: Prepared): Promise<Accepted>;
}

export interface ExpiryTools {
  services: Services;
  kinds: readonly Expiring[];
  logger: Logger;
}

/** @returns what stops it, after what it has begun. */
export function startExpirySweep(tools: ExpiryTools): { stop(): Promise<void> } {
  const { services, kinds, logger } = tools;
  const underWay = new Map<string, Promise<void>>();
  const complain = (error: unknown) => {
    if (!isDatabaseUnavailable(error)) logger.error({ err: error }, 'looking after what expires failed; trying again');
  };
  let broughtForward = false;
  const look = async (isStopping: () => boolean) => {
    if (!broughtForward) {
      for (const { type } of kinds) await bringForward(services.db, `${type}s`, services.config.expiryWarnings);
      broughtForward = true;
    }
    for (const kind of kinds) {
      const free = MAX_UNDER_WAY - underWay.size;
      if (isStopping() || free <= 0) return;
      for (const id of await dueExpiries(services.db, `${kind.type}s`, [...underWay.keys()], free)) {
        const work = lookAt(tools, kind, id)
          .catch(complain)
          .finally(() => underWay.delete(id));
        underWay.set(id, work);
      }
    }
  };
  const rounds = startRounds(LOOK_MS, (isStopping) => look(isStopping).catch(complain));
  return {
    async stop() {
      await rounds.stop();
      await Promise.all(underWay.values());
    },
  };
}

async function lookAt(tools: ExpiryTools, kind: Expiring, id: string): Promise<void> {
  const { services } = tools;
  const due = await inTransaction(tools, kind, id, (tx, row) => announce(tools, kind, tx, row));
  if (due === null) return;
  try {
    await deleteExpired(tools, kind, due);
  } catch (error) {
    if (isDatabaseUnavailable(error)) throw error;
    const known = error instanceof ApplicationError;
    if (!known) tools.logger.error({ err: error, [kind.type]: id }, 'the deletion of what has expired failed');
    const message = known ? error.message : 'an unexpected error; the log of the server has the details';
    const refusal = known ? error.code : 'INTERNAL_ERROR';
    await inTransaction(tools, kind, id, async (tx, row) => {
      // It was about an expiry that it no longer has.
      if (row.expires_at.getTime() !== due.expires_at.getTime()) return [null, []];
      const busy = known && (BUSY.includes(error.code) || error.retryable);
      const wait = busy ? BUSY_MS : AGAIN_MS;
      await noteExpiry(tx, `${kind.type}s`, id, {
        due: new Date(row.now.getTime() + wait),
        ...(busy ? {} : { refusal }),
      });
      if (busy || row.refusal === refusal) return [null, []];
      tools.logger.warn({ [kind.type]: id, name: row.name, code: refusal }, 'what has expired was not deleted');
      return [null, [await tell(services, kind, tx, row, { event: 'expiry_refused', code: refusal, message })]];
    });
  }
}

/** Runs `work` with the row, where it is still due and free. What it answers is called after the commit. */
async function inTransaction<T>(
  { services }: ExpiryTools,
  kind: Expiring,
  id: string,
  work: (tx: Queryable, due: DueExpiry) => Promise<[T, (() => void)[]]>,
): Promise<T | null> {
  const done = await services.db.transaction().execute(async (tx) => {
    const due = await lockDueExpiry(tx, `${kind.type}s`, id);
    return due === null ? null : work(tx, due);
  });
  if (done === null) return null;
  for (const callback of done[1]) callback();
  return done[0];
}

/** Announces it where that is owed. @returns it where it has expired and may be deleted; null: not yet. */
async function announce(
  { services, logger }: ExpiryTools,
  kind: Expiring,
  tx: Queryable,
  due: DueExpiry,
): Promise<[DueExpiry | null, (() => void)[]]> {
  const { expires_at: expiresAt, warned_at: warnedAt, now } = due;
  const warnings = services.config.expiryWarnings;
  const moments = warnings.map((seconds) => new Date(expiresAt.getTime() - seconds * 1_000));
  const owed = moments.some((moment) => moment <= now && (warnedAt === null || warnedAt < moment));
  const expired = expiresAt <= now;
  if (!owed && expired) return [due, []];
  // What could not be announced in time, as no server ran, gets the shortest notice there is.
  const shortest = (warnings.at(-1) ?? 0) * 1_000;
  const next = expired
    ? new Date(now.getTime() + shortest)
    : new Date(Math.min(expiresAt.getTime(), ...moments.filter((moment) => moment > now).map(Number)));
  await noteExpiry(tx, `${kind.type}s`, due.id, { due: next, ...(owed ? { warned: true, refusal: null } : {}) });
  if (!owed) return [null, []];
  logger.info({ [kind.type]: due.id, name: due.name, expires_at: expiresAt }, 'something is about to expire');
  return [null, [await tell(services, kind, tx, due, { event: 'expiring' })]];
}

/**
 * Has it deleted by an ordinary operation, on behalf of its owner. Where that was refused until now, however long ago it
 * was announced, it is announced again first. @throws ApplicationError.
 */
async function deleteExpired(tools: ExpiryTools, kind: Expiring, { id, workspace, owner_id }: DueExpiry) {
  const { services } = tools;
  const announces = services.config.expiryWarnings.length > 0;
  const prepared = await kind.prepare(services, workspace);
  const principal: Principal = {
    userId: owner_id ?? NOBODY,
    name: OBSERVER,
    label: `${OBSERVER} (expiry of ${kind.type} ${id})`,
    tokenId: null,
    bindings: [{ role: 'admin', workspace }],
  };
  try {
    await mutateUnasked(services.db, principal, null, async (mutation) => {
      const { tx } = mutation;
      await kind.lockBefore(tx, id);
      const due = await lockDueExpiry(tx, `${kind.type}s`, id);
      if (due === null || due.expires_at > due.now) return;
      const checkMode = announces && due.refusal !== null;
      await kind.accept(services, { ...mutation, checkMode }, due, prepared);
      const next = new Date(due.now.getTime() + AGAIN_MS);
      await noteExpiry(tx, `${kind.type}s`, id, { due: next, refusal: null });
    });
  } catch (error) {
    if (!(error instanceof CheckedOnly)) throw error;
    await inTransaction(tools, kind, id, (tx, due) => announce(tools, kind, tx, { ...due, warned_at: null }));
  }
}

/** Enters what has happened, where events and webhooks tell it. @returns what to call after the commit. */
async function tell(
  { engine }: Services,
  { type }: Expiring,
  tx: Queryable,
  { id, name, workspace, expires_at: expiresAt, protected: guarded }: DueExpiry,
  what: { event: 'expiring' } | { event: 'expiry_refused'; code: string; message: string },
): Promise<() => void> {
  const at = timeText(expiresAt);
  const expiring = what.event === 'expiring';
  const line = expiring
    ? `The ${type} ${name} (${id}) expires at ${at} and is deleted then. ${guarded ? 'It is protected: until the protection is removed, that is refused.' : `To keep it: provisioning ${type} extend ${id} --ttl 8h, or PATCH /v1/${type}s/${id} with a later "expires_at" or null.`}`
    : what.message;
  const { afterCommit } = await engine.record(tx, {
    kind: `${type}.${what.event}`,
    title: expiring ? `${name} expires at ${at}` : `${name} expired at ${at} and was not deleted`,
    workspace,
    resource: `${type}:${id}`,
    result: {
      ...{ [`${type}_id`]: id, name, expires_at: at, protect: guarded },
      ...(expiring ? {} : { error_code: what.code, error: harmlessText(what.message) }),
    },
    lines: [line],
    parentId: null,
  });
  return afterCommit;
}

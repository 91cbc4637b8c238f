/** Setting how a server or a taskserv is guarded. It is done when the request is answered. */
import { isPermitted, requirePermission } from '../../access/permissions.ts';
import { readClock } from '../../database/clock.ts';
import { uuidv7 } from '../../database/uuid.ts';
import type { JsonObject } from '../../documents/json.ts';
import { errors } from '../../errors.ts';
import type { Mutation } from '../../http/mutation.ts';
import type { Services } from '../../http/section.ts';
import { type Accepted, accept } from '../../operations/accept.ts';
import type { NodeOutcome, NodeUndo } from '../../operations/node.ts';
import { fieldsOf, timeText } from './fields.ts';
import { type Guards, lockExpiryDeletion, removalUnderWay, stillAsSet, writeGuards } from './store.ts';

/** What is to be guarded, locked. */
export interface GuardedThing {
  type: 'server' | 'taskserv';
  id: string;
  name: string;
  workspace: string;
  ownerId: string | null;
  protect: boolean;
  expiresAt: Date | null;
  /** The servers that it goes with: itself, or those that it is on. Locked as well. */
  serverIds: readonly string[];
}

/** What changes by it, for plans and the audit log. */
interface GuardChange {
  protect?: { from: boolean; to: boolean };
  expires_at?: { from: string | null; to: string | null };
}

/** What an operation that guards has set, as stored. */
interface GuardInput {
  id: string;
  /** Absent: as it was. */
  set: { protect?: boolean; expires_at?: string | null };
  before: { protect: boolean; expires_at: string | null };
}

/**
 * Sets it. @param operationId as `writeGuards` has it. @throws 403, 409. @returns what that changes.
 */
export async function applyGuards(
  mutation: Mutation,
  thing: GuardedThing,
  guards: Guards,
  operationId: string | null = null,
): Promise<GuardChange> {
  const { tx } = mutation;
  await requireGuardable(mutation, thing, guards);
  await writeGuards(tx, `${thing.type}s`, thing.id, guards, operationId);
  return {
    ...(guards.protect === undefined ? {} : { protect: { from: thing.protect, to: guards.protect } }),
    ...(guards.expiresAt === undefined
      ? {}
      : { expires_at: { from: timeText(thing.expiresAt), to: timeText(guards.expiresAt) } }),
  };
}

/** Sets it, with an operation that says so and is over with that. A deletion for its former expiry is cancelled. */
export async function acceptGuards(
  services: Services,
  mutation: Mutation,
  thing: GuardedThing,
  guards: Guards,
): Promise<Accepted> {
  const operationId = uuidv7();
  const change = await applyGuards(mutation, thing, guards, operationId);
  if (guards.expiresAt !== undefined) await cancelExpiry(services, mutation, thing);
  const { type, id, name, workspace } = thing;
  const set = fieldsOf(guards);
  const input: GuardInput = {
    ...{ id, set },
    before: { protect: thing.protect, expires_at: timeText(thing.expiresAt) },
  };
  return accept(services, mutation, {
    id: operationId,
    kind: `${type}.guard`,
    title: titleOf(name, guards),
    workspace,
    resource: null,
    input,
    done: { [`${type}_id`]: id, ...set },
    audit: { resource: `${type}:${id}`, details: { name, ...change } },
    plan: { change: [{ type, id, name, ...change }] },
  });
}

/** Cancels what was to delete it for its former expiry. That has not begun (`requireGuardable`). */
async function cancelExpiry(
  { engine }: Services,
  { tx, principal, audit, afterCommit }: Mutation,
  { type, id, workspace }: GuardedThing,
): Promise<void> {
  const operationId = await lockExpiryDeletion(tx, type, id);
  if (operationId === null) return;
  afterCommit((await engine.requestCancel(tx, operationId, principal.name)).afterCommit);
  audit({ action: 'operation.cancel', workspace, resource: `${type}:${id}`, operationId });
}

/** How what a node has changed is put back, unless somebody has changed it since. */
export function undoGuards(type: GuardedThing['type']) {
  return ({ operationId, status, input }: NodeOutcome): NodeUndo => {
    if (status !== 'completed') return { how: 'nothing' };
    const { id = '', set = {}, before = { protect: false, expires_at: null } } = input as Partial<GuardInput>;
    const fields: JsonObject = { [type]: id };
    if (set.protect !== undefined) fields.protect = before.protect;
    if (set.expires_at !== undefined) fields.expires_at = before.expires_at;
    return {
      how: 'node',
      kind: `${type}.guard`,
      fields,
      async keep(tx) {
        if ((await stillAsSet(tx, `${type}s`, id, operationId, guardsOf(set))) === false) {
          return 'Its protection or its expiry has been set again since.';
        }
        const expiry = set.expires_at === undefined ? null : before.expires_at;
        if (expiry === null || new Date(expiry) > (await readClock(tx))) return null;
        return `It was to expire at ${expiry} before, which has passed.`;
      },
    };
  };
}

function guardsOf({ protect, expires_at: time }: GuardInput['set']): Guards {
  return {
    ...(protect === undefined ? {} : { protect }),
    ...(time === undefined ? {} : { expiresAt: time === null ? null : new Date(time) }),
  };
}

/**
 * Whether it may be guarded so: whoever lets something expire deletes it, and not all may remove a protection.
 * @throws 403; 409 while an operation has begun to delete it, where it would be deleted at once.
 */
export async function requireGuardable(
  { tx, principal }: Mutation,
  thing: GuardedThing,
  guards: Guards,
): Promise<void> {
  const { type, id, name, workspace, ownerId } = thing;
  const { protect = thing.protect, expiresAt = thing.expiresAt } = guards;
  if (sooner(guards.expiresAt, thing.expiresAt)) {
    requirePermission(principal, `${type}_delete`, { what: type, id, workspace, ownerId, read: `${type}_read` });
  }
  if ((protect && !thing.protect) || later(guards.expiresAt, thing.expiresAt)) {
    const removal =
      (await removalUnderWay(tx, `${type}s`, [id])) ?? (await removalUnderWay(tx, 'servers', thing.serverIds));
    if (removal !== null) throw errors.resourceBusy(`The ${type} ${name} (${id})`, removal.id, removal.kind);
  }
  if (protect || !thing.protect) return;
  if (!isPermitted(principal, 'protection_remove', workspace)) throw errors.forbidden('protection_remove', workspace);
  if (expiresAt !== null && expiresAt <= (await readClock(tx))) {
    throw errors.conflict(
      `The ${type} ${name} (${id}) expired at ${timeText(expiresAt)} and would be deleted at once. Send "expires_at" together with "protect": a later time, or null for no expiry.`,
      { field: 'expires_at', expires_at: timeText(expiresAt) },
    );
  }
}

function sooner(to: Date | null | undefined, from: Date | null): boolean {
  return to !== undefined && to !== null && (from === null || to < from);
}

/** Whether it would live longer. */
function later(to: Date | null | undefined, from: Date | null): boolean {
  return to !== undefined && from !== null && (to === null || to > from);
}

function titleOf(name: string, { protect, expiresAt }: Guards): string {
  const first = protect === undefined ? [] : [protect ? `Protect ${name}` : `Remove the protection of ${name}`];
  if (expiresAt === undefined) return first[0] ?? `Guard ${name}`;
  const expiry = expiresAt === null ? 'keep it without an expiry' : `let it expire at ${timeText(expiresAt)}`;
  if (first.length > 0) return `${first[0]} and ${expiry}`;
  return expiresAt === null ? `Remove the expiry of ${name}` : `Let ${name} expire at ${timeText(expiresAt)}`;
}

/** Setting how a server or a taskserv is guarded. It holds as soon as the request is answered. */
import { isPermitted, requirePermission } from '../../access/permissions.ts';
import type { JsonObject } from '../../documents/json.ts';
import { errors } from '../../errors.ts';
import type { Mutation } from '../../http/mutation.ts';
import type { Services } from '../../http/section.ts';
import { type Accepted, accept } from '../../operations/accept.ts';
import type { NodeOutcome, NodeUndo } from '../../operations/node.ts';
import { fieldsOf, timeText } from './fields.ts';
import type { GuardInput } from './procedure.ts';
import { type Guards, removalUnderWay, writeGuards } from './store.ts';

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

/** Sets it. @throws 403, 409. @returns what that changes. */
export async function applyGuards(mutation: Mutation, thing: GuardedThing, guards: Guards): Promise<GuardChange> {
  const { tx } = mutation;
  await requireGuardable(mutation, thing, guards);
  await writeGuards(tx, `${thing.type}s`, thing.id, guards);
  return {
    ...(guards.protect === undefined ? {} : { protect: { from: thing.protect, to: guards.protect } }),
    ...(guards.expiresAt === undefined
      ? {}
      : { expires_at: { from: timeText(thing.expiresAt), to: timeText(guards.expiresAt) } }),
  };
}

/** Sets it, with an operation that says so. */
export async function acceptGuards(
  services: Services,
  mutation: Mutation,
  thing: GuardedThing,
  guards: Guards,
): Promise<Accepted> {
  const change = await applyGuards(mutation, thing, guards);
  const { type, id, name, workspace } = thing;
  const input: GuardInput = {
    id,
    set: fieldsOf(guards),
    before: { protect: thing.protect, expires_at: timeText(thing.expiresAt) },
  };
  return accept(services, mutation, {
    kind: `${type}.guard`,
    title: titleOf(name, guards),
    workspace,
    resource: null,
    input,
    audit: { resource: `${type}:${id}`, details: { name, ...change } },
    plan: { change: [{ type, id, name, ...change }] },
  });
}

/** How what a node has changed is put back. */
export function undoGuards(type: GuardedThing['type']) {
  return ({ status, input }: NodeOutcome): NodeUndo => {
    if (status !== 'completed') return { how: 'nothing' };
    const { id, set, before } = input as Partial<GuardInput>;
    const fields: JsonObject = { [type]: id ?? '' };
    if (set?.protect !== undefined) fields.protect = before?.protect ?? false;
    if (set?.expires_at !== undefined) {
      const expiry = before?.expires_at ?? null;
      if (expiry !== null && Date.parse(expiry) <= Date.now()) {
        return { how: 'keep', why: `It was to expire at ${expiry} before, which has passed.` };
      }
      fields.expires_at = expiry;
    }
    return { how: 'node', kind: `${type}.guard`, fields };
  };
}

/**
 * Whether it may be guarded so: whoever lets something expire deletes it, and not all may remove a protection.
 * @throws 403; 409 while an operation has begun to delete it, and where it would be deleted at once.
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
  if (protect && !thing.protect) {
    const removal =
      (await removalUnderWay(tx, `${type}s`, [id])) ?? (await removalUnderWay(tx, 'servers', thing.serverIds));
    if (removal !== null) throw errors.resourceBusy(`The ${type} ${name} (${id})`, removal.id, removal.kind);
  }
  if (protect || !thing.protect) return;
  if (!isPermitted(principal, 'protection_remove', workspace)) throw errors.forbidden('protection_remove', workspace);
  if (expiresAt !== null && expiresAt.getTime() <= Date.now()) {
    throw errors.conflict(
      `The ${type} ${name} (${id}) expired at ${timeText(expiresAt)} and would be deleted at once. Give "expires_at" along with "protect": a later time, or null to keep it.`,
      { field: 'expires_at', expires_at: timeText(expiresAt) },
    );
  }
}

function sooner(to: Date | null | undefined, from: Date | null): boolean {
  return to !== undefined && to !== null && (from === null || to < from);
}

function titleOf(name: string, { protect, expiresAt }: Guards): string {
  const first = protect === undefined ? [] : [protect ? `Protect ${name}` : `Remove the protection of ${name}`];
  if (expiresAt === undefined) return first[0] ?? `Guard ${name}`;
  const expiry = expiresAt === null ? 'keep it without an expiry' : `let it expire at ${timeText(expiresAt)}`;
  if (first.length > 0) return `${first[0]} and ${expiry}`;
  return expiresAt === null ? `Remove the expiry of ${name}` : `Let ${name} expire at ${timeText(expiresAt)}`;
}

/** What whatever would delete a protected thing is answered. */
import { errors } from '../errors.ts';

/** Code of such a refusal. Trying again does not help. */
export const PROTECTED = 'PROTECTED';

export interface ProtectedThing {
  type: 'server' | 'taskserv' | 'orphan';
  id: string;
  name: string;
}

/** The words and details of a refusal, for a request (`errors.protected`) as for a run (`OperationError`). */
export function protectionRefusal(things: readonly ProtectedThing[]): { message: string; details: unknown } {
  const names = things.map(({ type, id, name }) => `${type} ${name} (${id})`).join(', ');
  const commands = things.map(({ type, id }) => `provisioning ${type} unprotect ${id}`).join('; ');
  const patches = things.map(({ type, id }) => `PATCH /v1/${type}s/${id}`).join(', ');
  return {
    message: `Nothing was deleted: ${names} ${things.length === 1 ? 'is' : 'are'} protected. Remove the protection first (${commands}; or ${patches} with "protect": false), which needs the permission "protection_remove".`,
    details: { protected: things, permission: 'protection_remove' },
  };
}

/** @throws 409 PROTECTED where there are any. */
export function refuseProtected(things: readonly ProtectedThing[]): void {
  if (things.length === 0) return;
  const { message, details } = protectionRefusal(things);
  throw errors.protected(message, details);
}

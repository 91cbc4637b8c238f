import { refuseProtected } from '../../operations/protection.ts';
import type { GuardedThing } from '../../servers/guards/apply.ts';
import type { TaskservRecord } from '../store.ts';

/** A taskserv as it is guarded, locked with the servers that it is on. */
export function guardedTaskserv(taskserv: TaskservRecord, hosts: readonly { server_id: string }[]): GuardedThing {
  const { id, name, workspace, owner_id: ownerId, protected: protect, expires_at: expiresAt } = taskserv;
  const serverIds = hosts.map(({ server_id }) => server_id);
  return { type: 'taskserv', id, name, workspace, ownerId, protect, expiresAt, serverIds };
}

/** @throws 409 PROTECTED where it is protected from being removed. */
export function requireRemovable({ id, name, protected: protect }: TaskservRecord): void {
  if (protect) refuseProtected([{ type: 'taskserv', id, name }]);
}

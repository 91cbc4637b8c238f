import { Type } from 'typebox';
import { errors } from '../../errors.ts';
import { defineInternalOperation } from '../../operations/define.ts';
import { serverField, serverOf } from '../node.ts';
import { lockPermitted } from '../service.ts';
import type { ServerRecord } from '../store.ts';
import { acceptGuards, type GuardedThing, undoGuards } from './apply.ts';
import { type GuardFields, guardFields, hasGuards, readGuards } from './fields.ts';

/** Asked for by PATCH /v1/servers/{id}, which also changes plan and tags (`resize/operation.ts`). */
export const guardServer = defineInternalOperation({
  kind: 'server.guard',
  startedBy: '`PATCH /v1/servers/{id}` with `protect`, `expires_at` or `ttl` alone',
  node: {
    with: Type.Object({ server: serverField, ...guardFields }, { additionalProperties: false }),
    permission: 'server_update',
    target: { what: 'server', permission: 'server_update', field: 'server' },
    async accept(services, mutation, node) {
      // The fields were held against the schema above.
      const guards = node.fields as GuardFields;
      requireSome(guards);
      const server = await lockPermitted(mutation, await serverOf(mutation, node), 'server_update');
      return acceptGuards(services, mutation, guardedServer(server), await readGuards(mutation.tx, guards));
    },
    undo: undoGuards('server'),
  },
});

/** A server as it is guarded, locked. */
export function guardedServer(server: ServerRecord): GuardedThing {
  const { id, hostname: name, workspace, owner_id: ownerId, protected: protect, expires_at: expiresAt } = server;
  return { type: 'server', id, name, workspace, ownerId, protect, expiresAt, serverIds: [id] };
}

/** @throws 400 where a node says nothing. */
export function requireSome(fields: GuardFields): void {
  if (hasGuards(fields)) return;
  throw errors.validation([{ field: 'protect', message: 'give "protect", "expires_at" or "ttl"' }]);
}

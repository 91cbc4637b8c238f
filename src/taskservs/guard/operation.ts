import { Type } from 'typebox';
import type { Mutation } from '../../http/mutation.ts';
import type { Services } from '../../http/section.ts';
import type { Accepted } from '../../operations/accept.ts';
import { defineInternalOperation } from '../../operations/define.ts';
import { acceptGuards, undoGuards } from '../../servers/guards/apply.ts';
import { type GuardFields, guardFields, readGuards } from '../../servers/guards/fields.ts';
import { requireSome } from '../../servers/guards/operation.ts';
import { lockToGuard, taskservIdOf } from '../service.ts';
import { guardedTaskserv } from './guarded.ts';

/** Asked for by PATCH /v1/taskservs/{id}, which also changes servers, config and version (`update/operation.ts`). */
export const guardTaskserv = defineInternalOperation({
  kind: 'taskserv.guard',
  startedBy: '`PATCH /v1/taskservs/{id}` with `protect`, `expires_at` or `ttl` alone',
  node: {
    with: Type.Object(
      {
        taskserv: Type.String({
          minLength: 1,
          maxLength: 63,
          description: 'Id of a taskserv, or its name where the workspace has one of that name.',
        }),
        ...guardFields,
      },
      { additionalProperties: false },
    ),
    permission: 'taskserv_update',
    target: { what: 'taskserv', permission: 'taskserv_update', field: 'taskserv' },
    async accept(services, mutation, { workspace, fields }) {
      // The fields were held against the schema above.
      const guards = fields as GuardFields;
      requireSome(guards);
      const id = await taskservIdOf(mutation.tx, workspace, String(fields.taskserv));
      return acceptTaskservGuards(services, mutation, id, guards);
    },
    undo: undoGuards('taskserv'),
  },
});

/** Accepts how a taskserv is to be guarded, whatever else is done with it. @throws 404, 403, 409. */
export async function acceptTaskservGuards(
  services: Services,
  mutation: Mutation,
  id: string,
  fields: GuardFields,
): Promise<Accepted> {
  const { taskserv, hosts } = await lockToGuard(mutation, id);
  return acceptGuards(services, mutation, guardedTaskserv(taskserv, hosts), await readGuards(mutation.tx, fields));
}

import { errors } from '../../errors.ts';
import { type CheckedCreate, checkCreate, createTaskserv } from '../../taskservs/installing.ts';
import { deleteTaskserv } from '../../taskservs/removing.ts';
import type { CreateTaskserv } from '../../taskservs/schemas.ts';
import { taskservIdsOf } from '../../taskservs/store.ts';
import type { KindWork } from './kind.ts';

export const taskservCreate: KindWork = {
  // The fields were held against the schema of this very request.
  prepare: (services, principal, { workspace, fields }) =>
    checkCreate(services, principal, { ...fields, workspace } as unknown as CreateTaskserv),
  submit: (services, mutation, _node, prepared) => createTaskserv(services, mutation, prepared as CheckedCreate),
  undo({ input, result, status }) {
    const id = result.taskserv_id ?? input.taskserv_id;
    if (typeof id !== 'string') return { how: 'nothing' };
    if (input.previous !== null && input.previous !== undefined) {
      return status === 'completed'
        ? { how: 'keep', why: 'It stood there before and was changed; the change is kept.' }
        : { how: 'nothing' };
    }
    return { how: 'node', kind: 'taskserv.delete', fields: { taskserv: id, force: true } };
  },
};

export const taskservDelete: KindWork = {
  async submit(services, mutation, { workspace, fields }) {
    const name = String(fields.taskserv);
    const [id, ...others] = await taskservIdsOf(mutation.tx, workspace, name);
    if (id === undefined) throw errors.notFound(`taskserv in workspace "${workspace}"`, name);
    if (others.length > 0) {
      throw errors.conflict(
        `There are ${others.length + 1} taskservs "${name}" (${[id, ...others].join(', ')}). Give the id.`,
      );
    }
    return deleteTaskserv(services, mutation, id, { force: fields.force === true });
  },
  undo: ({ status }) =>
    status === 'completed'
      ? { how: 'keep', why: 'A taskserv that was removed is not installed again.' }
      : { how: 'nothing' },
};

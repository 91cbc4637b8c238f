import { errors } from '../../errors.ts';
import { type CheckedCreate, checkCreate, createTaskserv } from '../../taskservs/installing.ts';
import { deleteTaskserv } from '../../taskservs/removing.ts';
import type { CreateTaskserv } from '../../taskservs/schemas.ts';
import { taskservIdsOf } from '../../taskservs/store.ts';
import { isObject } from '../json.ts';
import { openFields, requireSecrets } from '../secrets/open.ts';
import { referencesIn } from '../secrets/reference.ts';
import type { KindWork } from './kind.ts';

/** A secret goes only where it is kept as one. @throws 400. */
export function requireSecretFields(given: Iterable<string>, secretNames: readonly string[]): void {
  const open = [...given].filter((name) => !secretNames.includes(name));
  if (open.length === 0) return;
  throw errors.validation(
    open.map((name) => ({ field: `config.${name}`, message: 'is not a secret of this taskserv: it would be shown' })),
  );
}

export const taskservCreate: KindWork = {
  async prepare(services, principal, { workspace, workflowId, fields }) {
    const config = isObject(fields.config) ? fields.config : {};
    const references = referencesIn(config);
    await requireSecrets(services, principal, workspace, references.values());
    const opened = await openFields(services, workflowId, config);
    // The fields were held against the schema of this very request.
    const body = { ...fields, config: opened.fields, workspace } as unknown as CreateTaskserv;
    const checked = await checkCreate(services, principal, body);
    requireSecretFields(references.keys(), checked.secretNames);
    return checked;
  },
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

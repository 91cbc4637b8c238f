import { isObject } from '../../documents/json.ts';
import { errors } from '../../errors.ts';
import { acceptCreate, type CheckedCreate, checkCreate } from '../../taskservs/create/operation.ts';
import type { CreateTaskserv } from '../../taskservs/schemas.ts';
import { openFields, requireSecrets } from '../secrets/open.ts';
import { referencesIn } from '../secrets/reference.ts';
import type { NodeHandler } from './kind.ts';

/** A secret goes only where it is kept as one. @throws 400. */
export function requireSecretFields(given: Iterable<string>, secretNames: readonly string[]): void {
  const open = [...given].filter((name) => !secretNames.includes(name));
  if (open.length === 0) return;
  throw errors.validation(
    open.map((name) => ({ field: `config.${name}`, message: 'is not a secret of this taskserv: it would be shown' })),
  );
}

export const taskservCreate: NodeHandler = {
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
  accept: (services, mutation, _node, prepared) => acceptCreate(services, mutation, prepared as CheckedCreate),
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

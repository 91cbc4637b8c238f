import { errors } from '../errors.ts';
import type { Mutation } from '../http/mutation.ts';
import type { Services } from '../http/section.ts';
import type { Accepted } from '../operations/accept.ts';
import { closureOf } from './host-plan.ts';
import { carriedOn } from './host-store.ts';
import { definitionsOf } from './procedures/input.ts';
import type { DeleteTaskserv } from './schemas.ts';
import { acceptOnHosts, lockWithHosts, requireFree } from './service.ts';
import { updateTaskserv } from './store.ts';

/** Accepts the removal of a taskserv from all its hosts. @throws 409 while another one on a host requires it. */
export async function deleteTaskserv(
  services: Services,
  mutation: Mutation,
  id: string,
  options: DeleteTaskserv,
): Promise<Accepted> {
  const { tx } = mutation;
  if (options.taskserv_id !== undefined && options.taskserv_id !== id) {
    throw errors.validation([{ field: 'taskserv_id', message: `contradicts the path, which says "${id}"` }]);
  }
  const { taskserv, hosts } = await lockWithHosts(mutation, id, 'taskserv_delete');
  const { name, workspace } = taskserv;
  if (options.workspace !== undefined && options.workspace !== workspace) {
    throw errors.validation([
      { field: 'workspace', message: `taskserv "${id}" does not belong to workspace "${options.workspace}"` },
    ]);
  }
  const serverIds = hosts.map(({ server_id }) => server_id);
  if (options.force !== true) await requireUnneeded(mutation, { name, workspace, serverIds });
  await requireFree(tx, hosts, options.wait);
  const servers = hosts.map(({ hostname }) => hostname);
  const accepted = await acceptOnHosts(services, mutation, {
    kind: 'taskserv.delete',
    doing: `Remove ${name} from`,
    workspace,
    resource: `taskserv:${id}`,
    hosts,
    turns: true,
    input: { taskserv_id: id, name, force: options.force === true, previous_status: taskserv.status },
    details: { name, servers, force: options.force === true },
    plan: { delete: [{ type: 'taskserv', id, name, servers }] },
  });
  await updateTaskserv(tx, id, { status: 'removing' });
  return accepted;
}

async function requireUnneeded(
  { tx }: Mutation,
  taskserv: { name: string; workspace: string; serverIds: string[] },
): Promise<void> {
  const definitions = await definitionsOf(tx, taskserv.workspace);
  const needing = (await carriedOn(tx, taskserv.serverIds)).filter(
    (record) =>
      record.taskserv_id !== null &&
      record.name !== taskserv.name &&
      closureOf(definitions, record.name).has(taskserv.name),
  );
  if (needing.length === 0) return;
  throw errors.conflict(
    `${taskserv.name} is required by ${needing.map(({ name, hostname }) => `${name} on ${hostname}`).join(', ')}. Delete that first, or send "force": true.`,
    {
      required_by: needing.map((record) => ({
        taskserv_id: record.taskserv_id,
        name: record.name,
        server: record.hostname,
      })),
    },
  );
}

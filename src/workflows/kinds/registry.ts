/**
 * How a node of each kind becomes an operation, and how what it did is undone. The one list: a kind is added here and
 * in rules.ts.
 */
import type { Mutation } from '../../http/mutation.ts';
import type { Services } from '../../http/section.ts';
import { command } from './command.ts';
import type { KindWork, NodeRequest } from './kind.ts';
import type { Kind } from './rules.ts';
import { serverCreate, serverDelete, serverPower } from './servers.ts';
import { taskservCreate, taskservDelete } from './taskservs.ts';
import { approval, nestedWorkflow, wait } from './workflows.ts';

export const KIND_WORK: Record<Kind, KindWork> = {
  'server.create': serverCreate,
  'server.delete': serverDelete,
  'server.start': serverPower('start'),
  'server.stop': serverPower('stop'),
  'server.restart': serverPower('restart'),
  'taskserv.create': taskservCreate,
  'taskserv.delete': taskservDelete,
  command,
  workflow: nestedWorkflow,
  approval,
  wait,
};

/** Submits a node's operation in the caller's transaction. @returns the operation's id. */
export async function submitNode(
  services: Services,
  mutation: Mutation,
  node: NodeRequest,
  prepared: unknown,
): Promise<string> {
  return (await KIND_WORK[node.kind].submit(services, mutation, node, prepared)).id;
}

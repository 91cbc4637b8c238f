/** How a node of each kind becomes an operation, and how what it did is undone. */
import type { Mutation } from '../../http/mutation.ts';
import type { Services } from '../../http/section.ts';
import { SERVER_OPERATIONS } from '../../servers/operations.ts';
import { TASKSERV_OPERATIONS } from '../../taskservs/operations.ts';
import { command } from './command.ts';
import type { NodeHandler, NodeRequest } from './kind.ts';
import { type Kind, nodesOf } from './rules.ts';
import { taskservCreate } from './taskservs.ts';
import { approval, nestedWorkflow, wait } from './workflows.ts';

const HANDLERS: ReadonlyMap<string, NodeHandler> = new Map<string, NodeHandler>([
  ...nodesOf(SERVER_OPERATIONS),
  ...nodesOf(TASKSERV_OPERATIONS),
  ['taskserv.create', taskservCreate],
  ['command', command],
  ['workflow', nestedWorkflow],
  ['approval', approval],
  ['wait', wait],
]);

/** @throws where there is no such kind: definitions were checked for that. */
export function handlerOf(kind: Kind): NodeHandler {
  const handler = HANDLERS.get(kind);
  if (handler === undefined) throw new Error(`There is no kind of node "${kind}".`);
  return handler;
}

/** Accepts a node's operation in the caller's transaction. @returns the operation's id. */
export async function acceptNode(
  services: Services,
  mutation: Mutation,
  node: NodeRequest,
  prepared: unknown,
): Promise<string> {
  return (await handlerOf(node.kind).accept(services, mutation, node, prepared)).id;
}

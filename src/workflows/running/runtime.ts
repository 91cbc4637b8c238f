import type { Principal } from '../../access/permissions.ts';
import { OperationError } from '../../engine/procedure.ts';
import type { Services } from '../../http/section.ts';
import type { Follower } from '../../operations/follow.ts';
import type { NodeKind } from '../../operations/node.ts';
import type { NodeHandlers, NodeRequest } from '../kinds/kind.ts';
import type { Kind } from '../kinds/plain-rules.ts';
import { openNode } from '../secrets/open.ts';

/** What procedures of workflows work with. */
export interface Runtime {
  services: Services;
  follower: Follower;
  /** How nodes become operations. */
  nodes: NodeHandlers;
}

/** @throws where there is no such kind: definitions were checked for that. */
export function handlerOf({ nodes }: Runtime, kind: Kind): NodeKind<NodeRequest> {
  const handler = nodes.get(kind);
  if (handler === undefined) throw new Error(`There is no kind of node "${kind}".`);
  return handler;
}

/** What a node has to ask or read before it is accepted. @throws ApplicationError where it cannot be. */
export async function prepareNode(runtime: Runtime, principal: Principal, request: NodeRequest): Promise<unknown> {
  const { services } = runtime;
  const handler = handlerOf(runtime, request.kind);
  return handler.prepare?.(services, principal, await openNode(services, principal, handler, request));
}

/** A node has gone on without this execution: it begins again from the rows, where it still may. */
export function takenElsewhere(key: string): OperationError {
  return new OperationError('REPLICA_STALLED', `${key} was taken by another process.`, { retryable: true });
}

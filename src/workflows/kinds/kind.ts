import type { OperationKind } from '../../operations/define.ts';
import type { NodeKind, NodeRequest as OperationNodeRequest } from '../../operations/node.ts';
import type { Snapshot } from '../running/store.ts';
import type { Kind } from './rules.ts';

/** A node that is to become an operation, with what the run keeps for it. */
export interface NodeRequest extends OperationNodeRequest {
  kind: Kind;
  run: Pick<Snapshot, 'nested' | 'workspaceSettings' | 'authority'>;
}

/** How nodes of each kind are carried out and undone, by the name that definitions use. */
export type NodeHandlers = ReadonlyMap<Kind, NodeKind<NodeRequest>>;

/** The nodes that these kinds of operations bring along, by the name that definitions use. */
export function nodesOf<Tools>(operations: readonly OperationKind<Tools>[]): [string, NodeKind][] {
  return operations.flatMap(({ kind, node }) => (node === undefined ? [] : [[node.name ?? kind, node]]));
}

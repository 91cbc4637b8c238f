import type { OperationKind } from '../../operations/define.ts';
import type { NodeKind } from '../../operations/node.ts';

/** The nodes that these kinds of operations bring along, by the name that definitions use. */
export function nodesOf<Tools>(operations: readonly OperationKind<Tools>[]): [string, NodeKind][] {
  return operations.flatMap(({ kind, node }) => (node === undefined ? [] : [[node.name ?? kind, node]]));
}

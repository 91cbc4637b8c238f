import type { NodeKind, NodeRequest as OperationNodeRequest } from '../../operations/node.ts';
import type { Snapshot } from '../running/store.ts';
import type { Kind } from './rules.ts';

/** A node that is to become an operation, with what the run keeps for it. */
export interface NodeRequest extends OperationNodeRequest {
  kind: Kind;
  run: Pick<Snapshot, 'nested' | 'workspaceSettings' | 'authority'>;
}

/** How a node of a kind is carried out and undone; its rules are in rules.ts. */
export type NodeHandler = Pick<NodeKind<NodeRequest>, 'prepare' | 'accept' | 'gathers' | 'undo'>;

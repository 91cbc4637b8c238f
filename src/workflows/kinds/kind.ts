import type { NodeKind, NodeRequest as OperationNodeRequest } from '../../operations/node.ts';
import type { Snapshot } from '../running/store.ts';

/** A node that is to become an operation, with what the run keeps for it. */
export interface NodeRequest extends OperationNodeRequest {
  kind: string;
  run: Pick<Snapshot, 'nested' | 'workspaceSettings' | 'authority'>;
}

/** How nodes of each kind are carried out and undone, by the name that definitions use. */
export type NodeHandlers = ReadonlyMap<string, NodeKind<NodeRequest>>;

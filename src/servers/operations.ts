import type { OperationKind } from '../operations/define.ts';
import { adoptServers } from './adopt/operation.ts';
import { createServer } from './create/operation.ts';
import { cleanUpServer, deleteServer } from './delete/operation.ts';
import { guardServer } from './guards/operation.ts';
import { importServer } from './import/operation.ts';
import { deleteOrphan } from './orphans/delete/operation.ts';
import { restartServer, startServer, stopServer } from './power/operation.ts';
import { reconcileServer } from './reconcile/operation.ts';
import { refreshServers } from './refresh/operation.ts';
import { repairServer } from './repair/operation.ts';
import { resizeServer } from './resize/operation.ts';
import type { ServerTools } from './tools.ts';

/** Every kind of operation on servers: its endpoint, its procedure and its node follow from this list. */
export const SERVER_OPERATIONS: readonly OperationKind<ServerTools>[] = [
  createServer,
  importServer,
  adoptServers,
  refreshServers,
  deleteServer,
  cleanUpServer,
  repairServer,
  resizeServer,
  guardServer,
  startServer,
  stopServer,
  restartServer,
  reconcileServer,
  deleteOrphan,
];

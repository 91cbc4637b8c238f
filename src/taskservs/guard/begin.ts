import type { Database } from '../../database/pool.ts';
import { beginTaskservRemoval } from '../../servers/guards/store.ts';

/** As the first act of a procedure that removes a taskserv from servers. @throws OperationError PROTECTED. */
export function beginRemoval(db: Database, id: string, operationId: string): Promise<void> {
  return db.transaction().execute((tx) => beginTaskservRemoval(tx, id, operationId));
}

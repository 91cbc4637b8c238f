import type { Database } from '../../database/pool.ts';
import { beginTaskservRemoval } from '../../servers/guards/store.ts';

/**
 * As the first act of a procedure that removes a taskserv from servers. @param expiredAt as `beginTaskservRemoval` has it.
 * @throws OperationError PROTECTED, EXTENDED.
 */
export function beginRemoval(db: Database, id: string, operationId: string, expiredAt?: string): Promise<void> {
  return db.transaction().execute((tx) => beginTaskservRemoval(tx, id, operationId, expiredAt));
}

import type { Queryable } from '../../database/pool.ts';
import { refuseProtected } from '../../operations/protection.ts';
import { protectedOn } from './store.ts';

/** @throws 409 PROTECTED where the server, or a taskserv on it, is protected. */
export async function requireUnprotected(tx: Queryable, serverId: string): Promise<void> {
  refuseProtected(await protectedOn(tx, serverId));
}

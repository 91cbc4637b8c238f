import { isPermitted, type Principal } from '../../access/permissions.ts';
import { errors } from '../../errors.ts';
import type { Services } from '../../http/section.ts';
import { readOrphan } from './store.ts';

/** The orphan as JSON text. @throws 404 also where the caller may not see its workspace. */
export async function getOrphan({ db }: Services, principal: Principal, id: string): Promise<string> {
  const orphan = await readOrphan(db, id);
  if (orphan === null) throw errors.notFound('orphan', id);
  if (!isPermitted(principal, 'server_read', orphan.workspace)) throw errors.hidden('orphan', id);
  return orphan.json;
}

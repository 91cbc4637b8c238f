import { type Authority, presentAuthority } from '../../access/authority.ts';
import { isPermitted, type Permission, type Principal } from '../../access/permissions.ts';
import type { Config } from '../../config.ts';
import type { Queryable } from '../../database/pool.ts';
import { errors } from '../../errors.ts';

/** Somebody on whose behalf a run acts, with the rights that they still have. */
export interface Acting {
  principal: Principal;
  /** Why they have none any more; null: they have. */
  ended: string | null;
}

/** @param doing for the audit log, which tells the run from the person: `workflow …`. */
export async function actingFor(
  { db, config }: { db: Queryable; config: Pick<Config, 'adminTotp'> },
  authority: Authority,
  doing: string,
): Promise<Acting> {
  const { bindings, ended } = await presentAuthority(db, authority, config);
  const { exchange, ...holder } = authority;
  const label = `${authority.name} (${doing})`;
  return { principal: { ...holder, ...(exchange && { exchanged: exchange }), bindings, label }, ended };
}

/** @throws 403 AUTHORITY_ENDED where they may no longer do this in the workspace. */
export function requireStillPermitted(
  { principal, ended }: Acting,
  permissions: readonly (Permission | null)[],
  workspace: string,
): void {
  if (ended !== null) throw errors.authorityEnded(ended);
  const lost = permissions.find((permission) => permission !== null && !isPermitted(principal, permission, workspace));
  if (lost === undefined) return;
  throw errors.authorityEnded(`"${principal.name}" no longer has the permission "${lost}" in workspace "${workspace}"`);
}

import type { Principal } from '../../access/permissions.ts';
import type { RoleBinding } from '../../database/tables.ts';

/** On whose behalf a run submits its operations, as it is stored: who, and what they were permitted when they asked. */
export interface Authority {
  userId: string;
  name: string;
  tokenId: string | null;
  bindings: readonly RoleBinding[];
}

export function authorityOf({ userId, name, tokenId, bindings }: Principal): Authority {
  return { userId, name, tokenId, bindings };
}

/** The principal that a run acts as. The audit log tells the workflow from the person. */
export function principalFor(authority: Authority, workflowId: string): Principal {
  return { ...authority, label: `${authority.name} (workflow ${workflowId})` };
}
/**
 * The principal that undoes what a run did. It may delete whatever the run itself made, also where the submitter's
 * roles have changed since: leaving half a cluster behind protects nobody.
 */
export function undoPrincipalFor(authority: Authority, workspace: string, workflowId: string): Principal {
  return {
    ...authority,
    bindings: [{ role: 'operator', workspace }],
    label: `${authority.name} (rollback of workflow ${workflowId})`,
  };
}

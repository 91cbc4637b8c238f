/**
 * Who may reach a host, that is have anything run on it or change the way into it: whoever has `server_update` over that
 * server. Whatever reaches hosts asks here, for each of them by its id.
 */
import { isPermittedOverOthers, type Principal, permittedWorkspaces, requirePermission } from './permissions.ts';

/** A server, as far as reaching it goes. */
export interface ReachedServer {
  id: string;
  workspace: string;
  owner_id: string | null;
}

/** @throws 404 for a server that the caller may not see, 403 for one that they may not reach. */
export function requireReach(principal: Principal, servers: readonly ReachedServer[]): void {
  for (const { id, workspace, owner_id: ownerId } of servers) {
    requirePermission(principal, 'server_update', { what: 'server', id, workspace, ownerId, read: 'server_read' });
  }
}

/** The workspaces all of whose servers they may reach; null: of every workspace. */
export function reachedWorkspaces(principal: Principal): string[] | null {
  return permittedWorkspaces(principal, 'server_update', true);
}

/** Whether they may reach every server of the workspace, whoever made it. */
export function mayReachAll(principal: Principal, workspace: string): boolean {
  return isPermittedOverOthers(principal, 'server_update', workspace);
}

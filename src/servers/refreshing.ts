/** Looking how servers stand at their providers, on demand. */
import { errors } from '../errors.ts';
import type { Mutation } from '../http/mutation.ts';
import type { Services } from '../http/section.ts';
import { type Accepted, accept } from '../operations/accept.ts';
import { requireWorkspace } from '../workspaces/service.ts';
import { activeWorkspace } from '../workspaces/store.ts';
import { EXISTING } from './existing.ts';
import type { RefreshInput } from './procedures/refresh.ts';
import type { RefreshServers } from './schemas.ts';
import { serversToRefresh } from './store.ts';

/** Accepts a look at servers of a workspace: all of them, or those that are named. */
export async function refreshServers(
  services: Services,
  mutation: Mutation,
  body: NonNullable<RefreshServers>,
): Promise<Accepted> {
  const { tx, principal } = mutation;
  const workspace = body.workspace ?? (await activeWorkspace(tx)) ?? '';
  await requireWorkspace(tx, principal, 'server_update', workspace);
  const checkMode = body.check_mode === true;
  const chosen = await serversToRefresh(tx, workspace, body.servers ?? null);
  for (const name of body.servers ?? []) {
    if (!chosen.some(({ id, hostname }) => id === name || hostname === name)) {
      throw errors.notFound(`server in workspace "${workspace}"`, name);
    }
  }
  const asked = chosen.filter(({ provider }) => provider !== EXISTING);
  const byProvider = Map.groupBy(asked, ({ provider }) => provider);
  const input: RefreshInput = {
    servers: Object.fromEntries([...byProvider].map(([name, servers]) => [name, servers.map(({ id }) => id)])),
    check_mode: checkMode,
  };
  return accept(services, mutation, {
    kind: 'server.refresh',
    title: `Compare ${asked.length === 1 ? asked[0]?.hostname : `${asked.length} servers`} with ${asked.length === 1 ? 'its provider' : 'their providers'}`,
    workspace,
    resource: null,
    input,
    checkMode,
    audit: { details: { servers: asked.length, check_mode: checkMode } },
    plan: {},
  });
}

/** Looking how servers stand at their providers, on demand. */
import { Type } from 'typebox';
import { errors } from '../../errors.ts';
import type { Mutation } from '../../http/mutation.ts';
import type { Services } from '../../http/section.ts';
import { type Accepted, accept } from '../../operations/accept.ts';
import { defineOperation } from '../../operations/define.ts';
import { requireWorkspace } from '../../workspaces/service.ts';
import { activeWorkspace } from '../../workspaces/store.ts';
import { EXISTING } from '../existing.ts';
import { RefreshServers } from '../schemas.ts';
import { serverIdsOf, serversToRefresh } from '../store.ts';
import type { ServerTools } from '../tools.ts';
import { type RefreshInput, refreshProcedure } from './procedure.ts';

export const refreshServers = defineOperation({
  kind: 'server.refresh',
  permission: 'server_update',
  route: {
    method: 'POST',
    path: '/v1/servers/refresh',
    tag: 'Servers',
    summary: 'Compare servers with their providers',
    description:
      'Status, address, plan, zone and tags. What has changed is entered and shown in `drift`; nothing is changed at a provider. An address is taken over and is no drift. Happens by itself every `SWEEP_INTERVAL` seconds.',
    body: Type.Optional(RefreshServers),
    refusals: [400, 404],
    checkMode: 'operation',
    accept: (services, mutation, { body }) => acceptRefresh(services, mutation, body ?? {}),
  },
  procedure: ({ db, providers, engine }: ServerTools) => refreshProcedure(db, providers, engine),
});

/** Accepts a look at servers of a workspace: all of them, or those that are named. */
async function acceptRefresh(
  services: Services,
  mutation: Mutation,
  body: NonNullable<RefreshServers>,
): Promise<Accepted> {
  const { tx, principal } = mutation;
  const workspace = body.workspace ?? (await activeWorkspace(tx)) ?? '';
  await requireWorkspace(tx, principal, 'server_update', workspace);
  const checkMode = body.check_mode === true;
  const named = body.servers === undefined ? null : await serverIdsOf(tx, workspace, body.servers);
  const unknown = body.servers?.find((name) => named?.has(name) === false);
  if (unknown !== undefined) throw errors.notFound(`server in workspace "${workspace}"`, unknown);
  const chosen = await serversToRefresh(tx, workspace, named === null ? null : [...named.values()]);
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

/** Servers that exist at a provider. */
import { isPermitted, permittedWorkspaces } from '../../access/permissions.ts';
import { errors } from '../../errors.ts';
import type { Mutation } from '../../http/mutation.ts';
import type { Services } from '../../http/section.ts';
import { requireWorkspaceRoom } from '../../limits/workspace-room.ts';
import { type Accepted, accept } from '../../operations/accept.ts';
import { defineInternalOperation } from '../../operations/define.ts';
import { nearMatches } from '../../util/near-matches.ts';
import { requireWorkspace } from '../../workspaces/service.ts';
import type { ImportServer } from '../schemas.ts';
import type { ServerTools } from '../tools.ts';
import type { AdoptInput } from './plan.ts';
import { adoptProcedure } from './procedure.ts';

/** Asked for by POST /v1/servers/import with a provider (`import/operation.ts`). */
export const adoptServers = defineInternalOperation({
  kind: 'server.adopt',
  startedBy: '`POST /v1/servers/import` with `provider`',
  procedure: ({ db, providers }: ServerTools) => adoptProcedure(db, providers),
});

/** What a request must not say at once, because it asks for the one or the other. */
const OF_MACHINES = ['ip_address', 'ssh', 'tags'] as const;

/** Absent lists are filled in as empty ones. */
const isGiven = (value: unknown) => value !== undefined && !(Array.isArray(value) && value.length === 0);

/**
 * Accepts the adoption of servers at a provider: one by its id, or all with a label. Whoever takes over what others have
 * made there must be one who may also set the accounts' credentials.
 */
export async function acceptAdoption(services: Services, mutation: Mutation, body: ImportServer): Promise<Accepted> {
  const { tx, principal } = mutation;
  const { workspace, provider = '', server = null, label = null, hostname = null } = body;
  refuseContradictions(services, body);
  await requireWorkspace(tx, principal, 'server_create', workspace);
  if (!isPermitted(principal, 'credential_write', workspace)) throw errors.forbidden('credential_write', workspace);
  // How large it is, and how many there are, shows when they are taken over: each is held against the limits then.
  await requireWorkspaceRoom(tx, workspace, { place: null });
  const checkMode = body.check_mode === true;
  const input: AdoptInput = {
    ...{ provider, server, label, hostname, check_mode: checkMode },
    from_workspaces: permittedWorkspaces(principal, 'credential_write'),
  };
  return accept(services, mutation, {
    kind: 'server.adopt',
    title: server === null ? `Adopt the servers labelled ${label} at ${provider}` : `Adopt ${server} at ${provider}`,
    workspace,
    resource: null,
    input,
    checkMode,
    audit: { details: { provider, server, label, check_mode: checkMode } },
    plan: {},
  });
}

function refuseContradictions({ providers }: Services, body: ImportServer): void {
  const { provider = '', server, label, hostname } = body;
  const names = [...new Set([...providers.names(), ...providers.clouds().map(({ name }) => name)])];
  const problems = OF_MACHINES.filter((field) => isGiven(body[field])).map((field) => ({
    field,
    message: 'is only for importing a machine over SSH; leave it out when you give "provider"',
  }));
  if (!names.includes(provider)) {
    const message = `"${provider}" is not an enabled provider; enabled: ${names.join(', ')}`;
    throw errors.validation([{ field: 'provider', message, near_matches: nearMatches(provider, names) }]);
  }
  if ((server === undefined) === (label === undefined)) {
    throw errors.validation([{ field: 'server', message: 'give either "server" (the id at the provider) or "label"' }]);
  }
  if (hostname !== undefined && server === undefined) {
    throw errors.validation([
      { field: 'hostname', message: 'can be given only with "server": servers selected by label keep their hostnames' },
    ]);
  }
  if (problems.length > 0) throw errors.validation(problems);
}

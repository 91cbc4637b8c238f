/** Machines that no provider made. */
import { isPermitted } from '../../access/permissions.ts';
import { reachedWorkspaces, requireReach } from '../../access/reach.ts';
import { isUniqueViolation } from '../../database/pool.ts';
import { shortId, uuidv7 } from '../../database/uuid.ts';
import { errors } from '../../errors.ts';
import type { Mutation } from '../../http/mutation.ts';
import type { Services } from '../../http/section.ts';
import { requireWorkspaceRoom } from '../../limits/workspace-room.ts';
import { type Accepted, accept } from '../../operations/accept.ts';
import { defineOperation } from '../../operations/define.ts';
import { readHostKey } from '../../transports/keys.ts';
import { canonicalAddress } from '../../util/addresses.ts';
import { requireWorkspace } from '../../workspaces/service.ts';
import { acceptAdoption } from '../adopt/operation.ts';
import { EXISTING } from '../existing.ts';
import { requireNoId } from '../names.ts';
import { ImportServer } from '../schemas.ts';
import { hostnameConflict } from '../service.ts';
import { insertServerSsh, lockMachine, type ServerSsh, serverAt, setAddress } from '../ssh-store.ts';
import { hostnameTaken, insertServer } from '../store.ts';
import type { ServerTools } from '../tools.ts';
import { importProcedure } from './procedure.ts';

const DEFAULT_PORT = 22;
const DEFAULT_USER = 'root';

export const importServer = defineOperation({
  kind: 'server.import',
  permission: 'server_create',
  route: {
    method: 'POST',
    path: '/v1/servers/import',
    tag: 'Servers',
    summary: 'Import an existing machine, or adopt servers of a provider',
    description:
      "With `provider`, a server there by its id or all with a label are taken over and labelled; they are then servers as any other, and deleting one deletes it there. This needs `credential_write`. Without: a machine that no provider made becomes a server of the provider `existing`, once a connection with the workspace's key has worked. Nothing is written on it; deleting the server forgets it and leaves the machine alone.",
    body: ImportServer,
    refusals: [400, 409],
    checkMode: 'operation',
    accept: (services, mutation, { body }) =>
      body.provider === undefined ? acceptImport(services, mutation, body) : acceptAdoption(services, mutation, body),
  },
  procedure: ({ ssh }: ServerTools) => importProcedure(ssh),
});

/** Accepts the adoption of a machine: its row, its operation and the start of its procedure commit together. */
async function acceptImport(services: Services, mutation: Mutation, given: ImportServer): Promise<Accepted> {
  const { tx, principal } = mutation;
  const body = machineOf(given);
  const { workspace, hostname, ip_address: address } = body;
  const checkMode = body.check_mode === true;
  await requireWorkspace(tx, principal, 'server_create', workspace);
  requireNoId(hostname);
  await requireWorkspaceRoom(tx, workspace, { place: null });
  const ssh = sshOf(body);
  await lockMachine(tx, address, ssh.port);
  await refuseKnown(mutation, workspace, address, ssh.port);
  await requireWay(mutation, workspace, ssh);
  requireEgress(services, workspace, address, ssh);
  const operationId = uuidv7();
  const serverId = checkMode ? null : shortId('srv');
  const resource = serverId === null ? null : `server:${serverId}`;
  if (serverId === null) {
    if (await hostnameTaken(tx, workspace, hostname)) throw hostnameConflict({ workspace, hostname });
  } else {
    await insertRow(mutation, body, serverId, operationId);
    await insertServerSsh(tx, serverId, ssh);
  }
  return accept(services, mutation, {
    id: operationId,
    kind: 'server.import',
    title: `Import ${hostname} (${address})`,
    workspace,
    resource,
    input: {
      ...{ server_id: serverId, check_mode: checkMode, workspace, hostname, ip_address: address, ssh },
      reached_workspaces: reachedWorkspaces(principal),
    },
    checkMode,
    audit: { details: { hostname, ip_address: address, user: ssh.user, port: ssh.port, check_mode: checkMode } },
    plan: { create: [{ type: 'server', workspace, hostname, ip_address: address }] },
  });
}

type Machine = ImportServer & { hostname: string; ip_address: string };

/** @throws 400 where the request says too little, or something that goes with a provider. */
function machineOf(body: ImportServer): Machine {
  const { hostname, ip_address: address } = body;
  const missing = (['hostname', 'ip_address'] as const)
    .filter((field) => body[field] === undefined)
    .map((field) => ({ field, message: 'is missing; to adopt servers of a provider, give "provider" instead' }));
  const stray = (['server', 'label'] as const)
    .filter((field) => body[field] !== undefined)
    .map((field) => ({ field, message: 'goes with "provider"' }));
  if (hostname === undefined || address === undefined || stray.length > 0) {
    throw errors.validation([...missing, ...stray]);
  }
  return { ...body, hostname, ip_address: canonicalAddress(address) };
}

async function insertRow(
  { tx, principal }: Mutation,
  { workspace, hostname, ip_address, tags }: Machine,
  id: string,
  operationId: string,
): Promise<void> {
  const spec = { workspace, hostname, plan: 'unknown', zone: EXISTING, tags: tags ?? [] };
  try {
    const owner = { createdBy: principal.name, ownerId: principal.userId };
    await insertServer(tx, { ...spec, ...owner, id, provider: EXISTING, operationId });
  } catch (error) {
    if (isUniqueViolation(error, 'servers_workspace_hostname_key')) throw hostnameConflict({ workspace, hostname });
    throw error;
  }
  await setAddress(tx, id, ip_address);
}

function sshOf({ ssh = {} }: ImportServer): ServerSsh {
  const { jump } = ssh;
  return {
    user: ssh.user ?? DEFAULT_USER,
    port: ssh.port ?? DEFAULT_PORT,
    host_key: hostKey('ssh.host_key', ssh.host_key),
    jump:
      jump === undefined
        ? null
        : { address: canonicalAddress(jump.address), port: jump.port ?? DEFAULT_PORT, user: jump.user ?? DEFAULT_USER },
    jump_host_key: hostKey('ssh.jump.host_key', jump?.host_key),
  };
}

function hostKey(field: string, text: string | undefined): string | null {
  if (text === undefined) return null;
  try {
    return readHostKey(text);
  } catch (error) {
    throw errors.validation([{ field, message: error instanceof Error ? error.message : 'cannot be read' }]);
  }
}

/** @throws 400 where the policy refuses an address; names are judged when they are dialled. */
function requireEgress({ egress }: Services, workspace: string, address: string, { jump }: ServerSsh): void {
  const { refusal } = egress('host', workspace);
  const problems = [
    { field: 'ip_address', message: refusal(address) },
    { field: 'ssh.jump.address', message: jump === null ? null : refusal(jump.address) },
  ].flatMap(({ field, message }) => (message === null ? [] : [{ field, message }]));
  if (problems.length > 0) throw errors.validation(problems);
}

/** A machine stands for one server: otherwise two changes could run on it at once. */
async function refuseKnown(
  { tx, principal }: Mutation,
  workspace: string,
  address: string,
  port: number,
): Promise<void> {
  const known = await serverAt(tx, workspace, address, port);
  if (known === null) return;
  const where = isPermitted(principal, 'server_read', known.workspace)
    ? `server ${known.id} of workspace "${known.workspace}"`
    : 'a server of another workspace';
  throw errors.conflict(`The machine at ${address} port ${port} is already recorded as ${where}.`, {
    field: 'ip_address',
  });
}

/** A jump host that is a server here is entered as any other. @throws 403. */
async function requireWay({ tx, principal }: Mutation, workspace: string, { jump }: ServerSsh): Promise<void> {
  const known = jump === null ? null : await serverAt(tx, workspace, jump.address, jump.port);
  if (known?.workspace === workspace) requireReach(principal, [known]);
}

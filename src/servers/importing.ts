/** Machines that no provider made. */
import { isPermitted } from '../auth/permissions.ts';
import { isUniqueViolation } from '../database/pool.ts';
import { shortId, uuidv7 } from '../database/uuid.ts';
import { errors } from '../errors.ts';
import type { Answer, Mutation } from '../http/mutation.ts';
import type { Services } from '../http/section.ts';
import { type Accepted, accept } from '../operations/accept.ts';
import { readHostKey } from '../transports/keys.ts';
import { requireWorkspace } from '../workspaces/service.ts';
import { EXISTING } from './existing.ts';
import type { ImportServer } from './schemas.ts';
import { lockPermitted } from './service.ts';
import {
  forgetHostKeys,
  importedServerAt,
  insertServerSsh,
  lockMachine,
  type ServerSsh,
  setAddress,
} from './ssh-store.ts';
import { hostnameTaken, insertServer } from './store.ts';

const DEFAULT_PORT = 22;
const DEFAULT_USER = 'root';

/** Accepts the adoption of a machine: its row, its operation and the start of its procedure commit together. */
export async function importServer(services: Services, mutation: Mutation, given: ImportServer): Promise<Accepted> {
  const { tx, principal } = mutation;
  const body = machineOf(given);
  const { workspace, hostname, ip_address: address } = body;
  const checkMode = body.check_mode === true;
  await requireWorkspace(tx, principal, 'server_create', workspace);
  const ssh = sshOf(body);
  await lockMachine(tx, address, ssh.port);
  await refuseKnown(mutation, address, ssh.port);
  const operationId = uuidv7();
  const serverId = checkMode ? null : shortId('srv');
  const resource = serverId === null ? null : `server:${serverId}`;
  if (serverId === null) {
    if (await hostnameTaken(tx, workspace, hostname)) throw hostnameConflict(workspace, hostname);
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
    input: { server_id: serverId, check_mode: checkMode, workspace, hostname, ip_address: address, ssh },
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
    .map((field) => ({ field, message: 'is missing; or name a "provider" whose servers are to be taken over' }));
  const stray = (['server', 'label'] as const)
    .filter((field) => body[field] !== undefined)
    .map((field) => ({ field, message: 'goes with "provider"' }));
  if (hostname === undefined || address === undefined || stray.length > 0) {
    throw errors.validation([...missing, ...stray]);
  }
  return { ...body, hostname, ip_address: address };
}

async function insertRow(
  { tx, principal }: Mutation,
  { workspace, hostname, ip_address, tags }: Machine,
  id: string,
  operationId: string,
): Promise<void> {
  const spec = { workspace, hostname, plan: 'unknown', zone: EXISTING, tags: tags ?? [] };
  try {
    await insertServer(tx, { ...spec, id, provider: EXISTING, operationId, createdBy: principal.name });
  } catch (error) {
    if (isUniqueViolation(error, 'servers_workspace_hostname_key')) throw hostnameConflict(workspace, hostname);
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
        : { address: jump.address, port: jump.port ?? DEFAULT_PORT, user: jump.user ?? DEFAULT_USER },
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

/** A machine stands for one server: otherwise two changes could run on it at once. */
async function refuseKnown({ tx, principal }: Mutation, address: string, port: number): Promise<void> {
  const known = await importedServerAt(tx, address, port);
  if (known === null) return;
  const where = isPermitted(principal, 'server_read', known.workspace)
    ? `server ${known.id} of workspace "${known.workspace}"`
    : 'a server of another workspace';
  throw errors.conflict(`The machine at ${address} port ${port} is ${where} already.`, { field: 'ip_address' });
}

function hostnameConflict(workspace: string, hostname: string) {
  return errors.conflict(`The hostname "${hostname}" is already taken in workspace "${workspace}".`, {
    field: 'hostname',
  });
}

/** Has the server's host keys forgotten: those that it shows next are kept. */
export async function forgetHostKey(mutation: Mutation, id: string): Promise<Answer> {
  const server = await lockPermitted(mutation, id, 'server_update');
  await forgetHostKeys(mutation.tx, id);
  mutation.audit({ action: 'server.forget_host_key', workspace: server.workspace, resource: `server:${id}` });
  return { body: { server_id: id, forgotten: true } };
}

import { isPermitted, type Principal, requirePermission } from '../auth/permissions.ts';
import { isUniqueViolation } from '../database/pool.ts';
import { shortId, uuidv7 } from '../database/uuid.ts';
import { errors } from '../errors.ts';
import type { Answer, Mutation } from '../http/mutation.ts';
import type { Services } from '../http/section.ts';
import type { ServerSpec } from '../providers/contract.ts';
import { requireWorkspace, touchWorkspace } from '../workspaces/service.ts';
import { workspacePublicKey } from '../workspaces/ssh-keys.ts';
import { EXISTING } from './existing.ts';
import type { PowerAction } from './procedures/power.ts';
import { providerProblems } from './provider-check.ts';
import type { CreateServer, DeleteServer } from './schemas.ts';
import {
  holderOf,
  hostnameTaken,
  insertServer,
  lockServer,
  readServer,
  type ServerRecord,
  taskservsOn,
  updateServer,
} from './store.ts';
import { closeSpec } from './stored-spec.ts';

const POWER_STATUS: Record<PowerAction, string> = { start: 'starting', stop: 'stopping', restart: 'restarting' };

/** The server as JSON text. @throws 404 also where the caller may not see its workspace. */
export async function getServer(services: Services, principal: Principal, id: string): Promise<string> {
  const server = await readServer(services.db, id);
  if (server === null || !isPermitted(principal, 'server_read', server.workspace)) throw errors.notFound('server', id);
  return server.json;
}

/**
 * Everything that can be said against the request before anything is written. Asks the provider, so it runs before
 * the transaction; a provider that is away, or does not let us in, does not stop the request from being accepted: its
 * operation waits, or fails with the reason.
 */
export async function checkCreate(services: Services, principal: Principal, body: CreateServer): Promise<void> {
  await requireWorkspace(services.db, principal, 'server_create', body.workspace);
  const problems = await providerProblems(services.providers, body.provider, specOf(body));
  if (problems !== null && problems.length > 0) throw errors.validation(problems);
}

function specOf(body: CreateServer): ServerSpec {
  return {
    workspace: body.workspace,
    hostname: body.hostname,
    plan: body.plan,
    zone: body.zone,
    tags: body.tags ?? [],
    ...(body.image === undefined ? {} : { image: body.image }),
    ...(body.user_data === undefined ? {} : { user_data: body.user_data }),
    ...(body.networks === undefined ? {} : { networks: body.networks }),
  };
}

/** Accepts a server: its row, its operation and the start of its procedure commit together. */
export async function createServer(services: Services, mutation: Mutation, body: CreateServer): Promise<Answer> {
  const { tx, principal } = mutation;
  const spec = await withSshKey(services, mutation, body.provider, specOf(body));
  const operationId = uuidv7();
  const serverId = body.check_mode === true ? null : shortId('srv');
  if (serverId === null) {
    if (await hostnameTaken(tx, spec.workspace, spec.hostname)) throw hostnameConflict(spec);
  } else {
    try {
      await insertServer(tx, {
        ...spec,
        id: serverId,
        provider: body.provider,
        operationId,
        createdBy: principal.name,
      });
    } catch (error) {
      if (isUniqueViolation(error, 'servers_workspace_hostname_key')) throw hostnameConflict(spec);
      throw error;
    }
  }
  const { json, afterCommit } = await services.engine.submit(tx, {
    id: operationId,
    kind: 'server.create',
    workspace: spec.workspace,
    resource: serverId === null ? null : `server:${serverId}`,
    parentId: mutation.parentId,
    input: {
      server_id: serverId,
      provider: body.provider,
      check_mode: body.check_mode === true,
      spec: closeSpec(services.seal, spec),
    },
    createdBy: principal.name,
  });
  await touchWorkspace(tx, spec.workspace);
  mutation.audit({
    action: 'server.create',
    workspace: spec.workspace,
    resource: serverId === null ? null : `server:${serverId}`,
    operationId,
    details: {
      hostname: spec.hostname,
      provider: body.provider,
      plan: spec.plan,
      zone: spec.zone,
      check_mode: body.check_mode === true,
    },
  });
  mutation.afterCommit(afterCommit);
  return { body: json, location: `/v1/operations/${operationId}` };
}

/** With the workspace's public key, for providers whose servers are logged in to. */
export async function withSshKey<Spec extends Pick<ServerSpec, 'workspace' | 'ssh_public_key'>>(
  { providers, seal }: Services,
  { tx, principal }: Mutation,
  provider: string,
  spec: Spec,
): Promise<Spec> {
  if (!providers.takesSshKey(provider)) return spec;
  return { ...spec, ssh_public_key: await workspacePublicKey(tx, seal, spec.workspace, principal.name) };
}

function hostnameConflict(spec: ServerSpec) {
  return errors.conflict(`The hostname "${spec.hostname}" is already taken in workspace "${spec.workspace}".`, {
    field: 'hostname',
  });
}

/** Accepts the deletion of a server. */
export async function deleteServer(
  services: Services,
  mutation: Mutation,
  id: string,
  options: DeleteServer,
): Promise<Answer> {
  if (options.server_id !== undefined && options.server_id !== id) {
    throw errors.validation([{ field: 'server_id', message: `contradicts the path, which says "${id}"` }]);
  }
  const server = await lockPermitted(mutation, id, 'server_delete');
  if (options.workspace !== undefined && options.workspace !== server.workspace) {
    throw errors.validation([
      { field: 'workspace', message: `server "${id}" does not belong to workspace "${options.workspace}"` },
    ]);
  }
  const carried = options.force === true ? [] : await taskservsOn(mutation.tx, id);
  if (carried.length > 0) {
    throw errors.conflict(
      `Server ${id} still carries ${carried.map(({ name }) => name).join(', ')}. Delete the taskservs first, or send "force": true.`,
      { taskservs: carried },
    );
  }
  return submitChange(services, mutation, server, 'server.delete', 'deleting', { force: options.force === true });
}

/** Accepts a start, stop or restart. */
export async function changePower(
  services: Services,
  mutation: Mutation,
  id: string,
  action: PowerAction,
): Promise<Answer> {
  const server = await lockPermitted(mutation, id, 'server_update');
  if (server.provider === EXISTING) {
    throw errors.conflict(
      `Server ${id} is an existing machine that no provider made: nobody here can ${action} it. Do that where it stands.`,
      { provider: EXISTING },
    );
  }
  return submitChange(services, mutation, server, `server.${action}`, POWER_STATUS[action], {});
}

/** The server, locked until the transaction ends. @throws 404 or 403 where the caller may not. */
export async function lockPermitted(
  mutation: Mutation,
  id: string,
  permission: 'server_delete' | 'server_update',
): Promise<ServerRecord> {
  const server = await lockServer(mutation.tx, id);
  if (server === null) throw errors.notFound('server', id);
  requirePermission(mutation.principal, permission, {
    what: 'server',
    id,
    workspace: server.workspace,
    createdBy: server.created_by,
    read: 'server_read',
  });
  return server;
}

/** Accepts a change of a server whose row the transaction holds. @param status what it shows meanwhile. */
async function submitChange(
  services: Services,
  mutation: Mutation,
  server: ServerRecord,
  kind: string,
  status: string,
  extra: Record<string, unknown>,
): Promise<Answer> {
  const { tx, principal } = mutation;
  const resource = `server:${server.id}`;
  const holder = await holderOf(tx, server.id);
  if (holder !== null) throw errors.resourceBusy(`Server ${server.id}`, holder.id, holder.kind);
  const operationId = uuidv7();
  const input = {
    server_id: server.id,
    provider: server.provider,
    provider_ref: server.provider_ref,
    create_operation_id: server.operation_id,
    previous_status: server.status,
    ...extra,
  };
  const { json, afterCommit } = await services.engine.submit(tx, {
    id: operationId,
    kind,
    workspace: server.workspace,
    resource,
    parentId: mutation.parentId,
    input,
    createdBy: principal.name,
  });
  await updateServer(tx, server.id, { status });
  mutation.audit({
    action: kind,
    workspace: server.workspace,
    resource,
    operationId,
    details: { hostname: server.hostname, ...extra },
  });
  mutation.afterCommit(afterCommit);
  return { body: json, location: `/v1/operations/${operationId}` };
}

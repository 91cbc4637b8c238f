import { isPermitted, type Principal, requirePermission } from '../access/permissions.ts';
import { requireReach } from '../access/reach.ts';
import { errors } from '../errors.ts';
import type { Answer, Mutation } from '../http/mutation.ts';
import type { Services } from '../http/section.ts';
import { type Accepted, accept, type ChangePlan } from '../operations/accept.ts';
import type { ServerSpec } from '../providers/contract.ts';
import { generateSshKey } from '../transports/keys.ts';
import { workspacePublicKey } from '../workspaces/ssh-keys.ts';
import { forgetHostKeys } from './ssh-store.ts';
import { holderOf, lockServer, readServer, type ServerRecord, updateServer } from './store.ts';

/** The server as JSON text. @throws 404 also where the caller may not see its workspace. */
export async function getServer(services: Services, principal: Principal, id: string): Promise<string> {
  return requireVisible(principal, await readServer(services.db, id), id).json;
}

/** The caller may see the server. @throws 404. */
export function requireVisible<Visible extends { workspace: string }>(
  principal: Principal,
  server: Visible | null,
  id: string,
): Visible {
  if (server === null) throw errors.notFound('server', id);
  if (!isPermitted(principal, 'server_read', server.workspace)) throw errors.hidden('server', id);
  return server;
}

/** With the workspace's public key, for providers whose servers are logged in to. */
export async function withSshKey<Spec extends Pick<ServerSpec, 'workspace' | 'ssh_public_key'>>(
  { providers, encryption }: Services,
  { tx, principal }: Mutation,
  provider: string,
  spec: Spec,
): Promise<Spec> {
  if (!providers.takesSshKey(provider)) return spec;
  return { ...spec, ssh_public_key: await workspacePublicKey(tx, encryption, spec.workspace, principal.name) };
}

/** Gives a new server its host key, so that nobody else can pass for it at the first login, where its cloud takes one. */
export function withHostKey(
  { providers }: Pick<Services, 'providers'>,
  provider: string,
  spec: ServerSpec,
): ServerSpec {
  if (providers.cloud(provider)?.takesHostKey(spec.user_data ?? null) !== true) return spec;
  const { publicKey, privateKey } = generateSshKey(spec.hostname);
  return { ...spec, ssh_host_key: { public_key: publicKey, private_key: privateKey } };
}

/** @returns 409. */
export function hostnameConflict(spec: { workspace: string; hostname: string }) {
  return errors.conflict(`The hostname "${spec.hostname}" is already taken in workspace "${spec.workspace}".`, {
    field: 'hostname',
  });
}

/** The server, locked until the transaction ends. @throws 404 or 403 where the caller may not. */
export async function lockPermitted(
  mutation: Mutation,
  id: string,
  permission: 'server_delete' | 'server_update',
): Promise<ServerRecord> {
  const server = await lockServer(mutation.tx, id);
  if (server === null) throw errors.notFound('server', id);
  if (permission === 'server_update') {
    requireReach(mutation.principal, [server]);
    return server;
  }
  requirePermission(mutation.principal, permission, {
    what: 'server',
    id,
    workspace: server.workspace,
    ownerId: server.owner_id,
    read: 'server_read',
  });
  return server;
}

interface ServerOperation {
  kind: string;
  title: string;
  /** What the server shows meanwhile. */
  status: string;
  /** What the procedure is given besides. */
  extra?: Record<string, unknown>;
  plan: ChangePlan;
}

/** Accepts a change of a server whose row the transaction holds. */
export async function acceptChange(
  services: Services,
  mutation: Mutation,
  server: ServerRecord,
  { kind, title, status, extra = {}, plan }: ServerOperation,
): Promise<Accepted> {
  const { tx } = mutation;
  const holder = await holderOf(tx, server.id);
  if (holder !== null) throw errors.resourceBusy(`Server ${server.id}`, holder.id, holder.kind);
  const accepted = await accept(services, mutation, {
    kind,
    title,
    workspace: server.workspace,
    resource: `server:${server.id}`,
    input: {
      server_id: server.id,
      provider: server.provider,
      provider_ref: server.provider_ref,
      create_operation_id: server.operation_id,
      previous_status: server.status,
      ...extra,
    },
    audit: { details: { hostname: server.hostname, ...extra } },
    plan,
  });
  await updateServer(tx, server.id, { status });
  return accepted;
}

/** Has the server's host keys forgotten: those that it shows next are kept. */
export async function forgetHostKey(mutation: Mutation, id: string): Promise<Answer> {
  const server = await lockPermitted(mutation, id, 'server_update');
  await forgetHostKeys(mutation.tx, id);
  mutation.audit({ action: 'server.forget_host_key', workspace: server.workspace, resource: `server:${id}` });
  return { body: { server_id: id, forgotten: true } };
}

import { Type } from 'typebox';
import type { Principal } from '../../access/permissions.ts';
import { isUniqueViolation } from '../../database/pool.ts';
import { shortId, uuidv7 } from '../../database/uuid.ts';
import { errors } from '../../errors.ts';
import type { Mutation } from '../../http/mutation.ts';
import type { Services } from '../../http/section.ts';
import { learnSizes, type Placed, requireWorkspaceRoom } from '../../limits/workspace-room.ts';
import { type Accepted, accept } from '../../operations/accept.ts';
import { defineOperation } from '../../operations/define.ts';
import type { ServerSpec } from '../../providers/contract.ts';
import { requireWorkspace } from '../../workspaces/service.ts';
import { fieldsOf, hasGuards, readGuards } from '../guards/fields.ts';
import { writeGuards } from '../guards/store.ts';
import { requireNoId } from '../names.ts';
import { providerProblems } from '../provider-check.ts';
import { CreateServer } from '../schemas.ts';
import { hostnameConflict, withHostKey, withSshKey } from '../service.ts';
import { hostnameTaken, insertServer } from '../store.ts';
import { encryptSpec } from '../stored-spec.ts';
import type { ServerTools } from '../tools.ts';
import { createProcedure } from './procedure.ts';

const { hostname, provider, plan, zone, tags, protect, expires_at, ttl } = CreateServer.properties;

export const createServer = defineOperation({
  kind: 'server.create',
  permission: 'server_create',
  route: {
    method: 'POST',
    path: '/v1/servers/create',
    tag: 'Servers',
    summary: 'Create a new server',
    body: CreateServer,
    refusals: [400, 409],
    checkMode: 'operation',
    prepare: (services, principal, { body }) => checkCreate(services, principal, body),
    accept: (services, mutation, { body }) => acceptCreate(services, mutation, body),
  },
  procedure: ({ db, providers, encryption }: ServerTools) => createProcedure(db, providers, encryption),
  node: {
    with: Type.Object(
      { hostname, provider, plan, zone, tags, protect, expires_at, ttl },
      { additionalProperties: false },
    ),
    permission: 'server_create',
    defaults: ['provider', 'plan', 'zone'],
    unique: 'hostname',
    question: {
      from: ['provider', 'plan', 'zone', 'tags'],
      ask: ({ providers }, workspace, { provider, hostname, plan, zone, tags }) =>
        providerProblems(providers, String(provider), {
          workspace,
          hostname: String(hostname ?? 'host'),
          plan: String(plan),
          zone: String(zone),
          tags: Array.isArray(tags) ? tags.map(String) : [],
        }),
      askedOf: ({ provider }) => String(provider),
    },
    price: ({ provider, plan, zone }) => ({ provider: String(provider), plan: String(plan), zone: String(zone) }),
    prepare: ({ db, providers }, _principal, { workspace, fields }) =>
      learnSizes(db, providers, workspace, [placeOf(fields as unknown as CreateServer)]),
    // Its resource is the new server.
    gathers: true,
    // The fields were held against the schema of this very request.
    accept: (services, mutation, { workspace, fields }) =>
      acceptCreate(services, mutation, { ...fields, workspace } as unknown as CreateServer),
    undo({ status, input, result, leftover }) {
      if (status !== 'completed' && !leftover) return { how: 'nothing' };
      const server = String(leftover ? input.server_id : result.server_id);
      return { how: 'node', kind: 'server.delete', fields: { server, force: true } };
    },
  },
});

/**
 * Everything that can be said against the request before anything is written. Asks the provider, so it runs before
 * the transaction; a provider that is away, or does not let us in, does not stop the request from being accepted: its
 * operation waits, or fails with the reason.
 */
async function checkCreate(services: Services, principal: Principal, body: CreateServer): Promise<void> {
  await requireWorkspace(services.db, principal, 'server_create', body.workspace);
  const problems = await providerProblems(services.providers, body.provider, specOf(body));
  if (problems !== null && problems.length > 0) throw errors.validation(problems);
  await learnSizes(services.db, services.providers, body.workspace, [placeOf(body)]);
}

function placeOf({ provider, plan, zone }: CreateServer): Placed {
  return { provider, plan, zone };
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
async function acceptCreate(services: Services, mutation: Mutation, body: CreateServer): Promise<Accepted> {
  const { tx, principal } = mutation;
  requireNoId(body.hostname);
  const guards = await readGuards(tx, body);
  const checkMode = body.check_mode === true;
  await requireWorkspaceRoom(tx, body.workspace, { place: placeOf(body) });
  // The workspace's key is made with its first server.
  const wanted = withHostKey(services, body.provider, specOf(body));
  const spec = checkMode ? specOf(body) : await withSshKey(services, mutation, body.provider, wanted);
  const operationId = uuidv7();
  const serverId = checkMode ? null : shortId('srv');
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
        ownerId: principal.userId,
      });
    } catch (error) {
      if (isUniqueViolation(error, 'servers_workspace_hostname_key')) throw hostnameConflict(spec);
      throw error;
    }
    if (hasGuards(body)) await writeGuards(tx, 'servers', serverId, guards);
  }
  const { hostname, workspace, plan, zone } = spec;
  return accept(services, mutation, {
    id: operationId,
    kind: 'server.create',
    title: `Create ${hostname}`,
    workspace,
    resource: serverId === null ? null : `server:${serverId}`,
    input: {
      server_id: serverId,
      provider: body.provider,
      check_mode: checkMode,
      spec: encryptSpec(services.encryption, spec),
      guards: fieldsOf(guards),
    },
    checkMode,
    audit: { details: { hostname, provider: body.provider, plan, zone, check_mode: checkMode, ...fieldsOf(guards) } },
    plan: {
      create: [{ type: 'server', workspace, hostname, provider: body.provider, plan, zone, ...fieldsOf(guards) }],
    },
  });
}

import { type Static, Type } from 'typebox';
import type { Principal } from '../../access/permissions.ts';
import { errors } from '../../errors.ts';
import type { Mutation } from '../../http/mutation.ts';
import type { Services } from '../../http/section.ts';
import { learnSizes, lockWorkspaceRoom, requireWorkspaceRoom } from '../../limits/workspace-room.ts';
import type { Accepted } from '../../operations/accept.ts';
import { defineOperation } from '../../operations/define.ts';
import { ProviderError } from '../../providers/contract.ts';
import { EXISTING } from '../existing.ts';
import { acceptGuards, applyGuards } from '../guards/apply.ts';
import { guardFields, hasGuards, readGuards } from '../guards/fields.ts';
import { guardedServer } from '../guards/operation.ts';
import { serverField, serverOf } from '../node.ts';
import { readKnown } from '../observing/store.ts';
import { CreateServer, ServerId } from '../schemas.ts';
import { acceptChange, lockPermitted, requireVisible } from '../service.ts';
import { readServer, serverIdOf } from '../store.ts';
import type { ServerTools } from '../tools.ts';
import { type ResizeInput, resizeProcedure } from './procedure.ts';

/** A request waits no longer than this for its turn at a provider. Seconds. */
const PATIENCE = 5;

const { plan, tags } = CreateServer.properties;
const wanted = {
  plan: Type.Optional({ ...plan, description: 'New plan.' }),
  // Without a default: tags that are not given stay as they are.
  tags: Type.Optional(
    Type.Array(tags.items, {
      maxItems: 50,
      uniqueItems: true,
      description: 'New tags. They replace all present tags.',
    }),
  ),
};

const PatchServer = Type.Object({ ...wanted, ...guardFields }, { additionalProperties: false });
type PatchServer = Static<typeof PatchServer>;
type Wanted = Pick<PatchServer, 'plan' | 'tags'>;

export const resizeServer = defineOperation({
  kind: 'server.resize',
  permission: 'server_update',
  route: {
    method: 'PATCH',
    path: '/v1/servers/:id',
    tag: 'Servers',
    summary: 'Change the plan, the tags, the protection or the expiry of a server',
    description:
      'For another plan the server is stopped and, where it ran, started again; its disk stays as large as it is. Tags replace those that it has, and interrupt nothing. `protect`, `expires_at` and `ttl` hold as soon as this is answered, also while something else is done with the server; by themselves they are an operation `server.guard`.',
    params: ServerId,
    body: PatchServer,
    refusals: [400, 404, 409],
    prepare: async (services, principal, { params, body }) =>
      onlyGuards(body) ? undefined : requireOffered(services, principal, params.id, body),
    accept: (services, mutation, { params, body }) =>
      onlyGuards(body)
        ? acceptGuard(services, mutation, params.id, body)
        : acceptResize(services, mutation, params.id, body),
  },
  procedure: ({ providers }: ServerTools) => resizeProcedure(providers),
  node: {
    with: Type.Object({ server: serverField, ...wanted }, { additionalProperties: false }),
    permission: 'server_update',
    target: { what: 'server', permission: 'server_update', field: 'server' },
    async prepare(services, principal, { workspace, fields }) {
      const id = await serverIdOf(services.db, workspace, String(fields.server));
      // Whether there is such a server is said where it is accepted.
      if (id !== null) await requireOffered(services, principal, id, fields as Wanted);
    },
    accept: async (services, mutation, node) =>
      acceptResize(services, mutation, await serverOf(mutation, node), node.fields as Wanted),
    undo({ status, input }) {
      if (status !== 'completed') return { how: 'nothing' };
      const { server_id, plan: newPlan, tags: newTags, previous_plan, previous_tags } = input;
      return {
        how: 'node',
        kind: 'server.resize',
        fields: {
          server: String(server_id),
          ...(newPlan === null ? {} : { plan: previous_plan ?? null }),
          ...(newTags === null ? {} : { tags: previous_tags ?? [] }),
        },
      };
    },
  },
});

function onlyGuards(body: PatchServer): boolean {
  return hasGuards(body) && body.plan === undefined && body.tags === undefined;
}

async function acceptGuard(services: Services, mutation: Mutation, id: string, body: PatchServer): Promise<Accepted> {
  const server = await lockPermitted(mutation, id, 'server_update');
  return acceptGuards(services, mutation, guardedServer(server), await readGuards(mutation.tx, body));
}

/** Asks the provider whether it has the plan and can change it. @throws 400, 404, 409. */
async function requireOffered(
  { db, providers }: Services,
  principal: Principal,
  id: string,
  { plan: newPlan, tags: newTags }: Wanted,
): Promise<void> {
  if (newPlan === undefined && newTags === undefined) {
    throw errors.validation([{ field: 'plan', message: 'give "plan", "tags", or both' }]);
  }
  requireVisible(principal, await readServer(db, id), id);
  const server = await readKnown(db, id);
  if (server === null || server.provider === EXISTING) return;
  const { workspace, hostname, zone } = server;
  if (newPlan !== undefined) {
    await learnSizes(db, providers, workspace, [{ provider: server.provider, plan: newPlan, zone }]);
  }
  try {
    const provider = await providers.for(server.provider, workspace);
    if (newPlan !== undefined && provider.resizeServer === undefined) throw cannot(server.provider, id, 'plan');
    if (newTags !== undefined && provider.labelServer === undefined) throw cannot(server.provider, id, 'tags');
    const spec = { workspace, hostname, zone, plan: newPlan ?? server.plan, tags: newTags ?? server.tags };
    const problems = (await providers.validate(server.provider, spec, { patience: PATIENCE })).filter(
      ({ field }) => (field === 'plan' && newPlan !== undefined) || (field.startsWith('tags') && newTags !== undefined),
    );
    if (problems.length > 0) throw errors.validation(problems);
  } catch (error) {
    // A provider that is away does not keep the request from being accepted: its operation waits, or fails with the reason.
    if (!(error instanceof ProviderError)) throw error;
  }
}

function cannot(provider: string, id: string, field: 'plan' | 'tags') {
  return errors.conflict(
    `${provider} cannot change the ${field} of server ${id}. Create a new server with the desired ${field}.`,
    { provider, field },
  );
}

async function acceptResize(
  services: Services,
  mutation: Mutation,
  id: string,
  { plan: newPlan, tags: newTags, ...guards }: PatchServer,
): Promise<Accepted> {
  const known = newPlan === undefined ? null : await readKnown(mutation.tx, id);
  if (known !== null) await lockWorkspaceRoom(mutation.tx, known.workspace);
  const server = await lockPermitted(mutation, id, 'server_update');
  const guarded = hasGuards(guards)
    ? await applyGuards(mutation, guardedServer(server), await readGuards(mutation.tx, guards))
    : {};
  if (server.provider === EXISTING && newPlan !== undefined) {
    throw errors.conflict(`Server ${id} is an imported machine. Its plan cannot be changed from here.`, {
      provider: EXISTING,
    });
  }
  const { zone, plan: previousPlan, tags: previousTags } = server;
  if (newPlan !== undefined && newPlan !== previousPlan) {
    await requireWorkspaceRoom(mutation.tx, server.workspace, {
      place: { provider: server.provider, plan: newPlan, zone },
      instead: { id, plan: previousPlan },
    });
  }
  const extra: Omit<
    ResizeInput,
    'server_id' | 'provider' | 'provider_ref' | 'create_operation_id' | 'previous_status'
  > = {
    ...{ plan: newPlan ?? null, tags: newTags ?? null, zone },
    ...{ previous_plan: previousPlan, previous_tags: previousTags },
  };
  const restarts = newPlan !== undefined && newPlan !== previousPlan && server.status === 'running';
  return acceptChange(services, mutation, server, {
    kind: 'server.resize',
    title: newPlan === undefined ? `Change the tags of ${server.hostname}` : `Resize ${server.hostname} to ${newPlan}`,
    status: restarts ? 'restarting' : server.status,
    extra,
    plan: {
      change: [
        {
          ...{ type: 'server', id, hostname: server.hostname, provider: server.provider },
          ...(newPlan === undefined ? {} : { plan: { from: previousPlan, to: newPlan } }),
          ...(newTags === undefined ? {} : { tags: { from: previousTags, to: newTags } }),
          ...guarded,
        },
      ],
      order: [
        ...(newTags === undefined ? [] : ['set its labels']),
        ...(restarts ? ['stop it'] : []),
        ...(newPlan === undefined ? [] : [`give it the plan ${newPlan}`]),
        ...(restarts ? ['start it'] : []),
      ],
    },
  });
}

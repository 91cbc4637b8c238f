/** Making a server again as it was left. */
import { Type } from 'typebox';
import type { Queryable } from '../../database/pool.ts';
import { uuidv7 } from '../../database/uuid.ts';
import { errors } from '../../errors.ts';
import type { Mutation } from '../../http/mutation.ts';
import type { Services } from '../../http/section.ts';
import { learnSizes, lockWorkspaceRoom, requireWorkspaceRoom } from '../../limits/workspace-room.ts';
import { type Accepted, accept } from '../../operations/accept.ts';
import { defineOperation } from '../../operations/define.ts';
import { EXISTING } from '../existing.ts';
import { requireUnprotected } from '../guards/require.ts';
import { readKnown } from '../observing/store.ts';
import { RepairServer, ServerId } from '../schemas.ts';
import { lockPermitted, withHostKey, withSshKey } from '../service.ts';
import { holderOf, readCreateSpec, type ServerRecord, setOperation } from '../store.ts';
import { type StoredSpec, sealedHostKey } from '../stored-spec.ts';
import type { ServerTools } from '../tools.ts';
import { type RepairInput, repairProcedure } from './procedure.ts';

export const repairServer = defineOperation({
  kind: 'server.repair',
  permission: 'server_update',
  route: {
    method: 'POST',
    path: '/v1/servers/:id/repair',
    tag: 'Servers',
    summary: 'Restore a server to its recorded state',
    description:
      'Looks what is different, then repairs it: the power state, labels, the plan where the provider can. Where something must be done by hand, nothing is touched and the operation fails naming it; `fields` chooses the rest.',
    params: ServerId,
    body: Type.Optional(RepairServer),
    refusals: [400, 404, 409],
    checkMode: 'operation',
    prepare: async ({ db, providers }, _principal, { params, body }) => {
      const server = body?.recreate === true ? await readKnown(db, params.id) : null;
      if (server !== null) await learnSizes(db, providers, server.workspace, []);
    },
    accept: (services, mutation, { params, body }) => acceptRepair(services, mutation, params.id, body ?? {}),
  },
  procedure: ({ db, providers, encryption }: ServerTools) => repairProcedure(db, providers, encryption),
});

/** Accepts the repair of a server. What there is to repair is looked for by the operation. */
async function acceptRepair(
  services: Services,
  mutation: Mutation,
  id: string,
  body: NonNullable<RepairServer>,
): Promise<Accepted> {
  const { tx } = mutation;
  const known = body.recreate === true ? await readKnown(tx, id) : null;
  if (known !== null) await lockWorkspaceRoom(tx, known.workspace);
  const server = await lockPermitted(mutation, id, 'server_update');
  if (server.provider === EXISTING) {
    throw errors.conflict(
      `Server ${id} is an imported machine without a provider. It cannot be repaired from here; repair it on the machine itself.`,
      {
        provider: EXISTING,
      },
    );
  }
  const holder = await holderOf(tx, id);
  if (holder !== null) throw errors.resourceBusy(`Server ${id}`, holder.id, holder.kind);
  const checkMode = body.check_mode === true;
  const recreate = body.recreate === true;
  if (recreate) {
    await requireUnprotected(tx, id);
    const { workspace, provider, plan, zone } = server;
    await requireWorkspaceRoom(tx, workspace, { place: { provider, plan, zone }, instead: { id, plan: null } });
  }
  const operationId = uuidv7();
  const input: RepairInput = {
    ...{ server_id: id, provider: server.provider, provider_ref: server.provider_ref },
    ...{ create_operation_id: server.operation_id, previous_status: server.status },
    ...{ check_mode: checkMode, fields: body.fields ?? null },
    recreate: recreate ? await specOf(services, mutation, server, checkMode) : null,
  };
  const accepted = await accept(services, mutation, {
    id: operationId,
    kind: 'server.repair',
    title: `${recreate ? 'Recreate' : 'Repair'} ${server.hostname}`,
    workspace: server.workspace,
    resource: checkMode ? null : `server:${id}`,
    input,
    checkMode,
    audit: {
      resource: `server:${id}`,
      details: { hostname: server.hostname, check_mode: checkMode, recreate },
    },
    plan: { change: [{ type: 'server', id, hostname: server.hostname }] },
  });
  // What it may make carries its label, and is known as this server's from here on.
  if (recreate && !checkMode) await setOperation(tx, id, operationId);
  return accepted;
}

/** What the server is made from anew: as it is wanted now; the image and the rest as it was made, where that is still known. */
async function specOf(
  services: Services,
  mutation: Mutation,
  server: ServerRecord,
  checkMode: boolean,
): Promise<StoredSpec> {
  const { tx } = mutation;
  const known = await readKnown(tx, server.id);
  if (known === null) throw errors.notFound('server', server.id);
  const made = await createdFrom(tx, server);
  const { workspace, hostname, plan, zone, tags } = known;
  const spec = { ...made, workspace, hostname, plan, zone, tags };
  if (checkMode) return spec;
  const own = made.host_key !== undefined || made.sealed_user_data !== undefined;
  const key = own ? null : withHostKey(services, server.provider, spec).ssh_host_key;
  const whole = key ? { ...spec, ...sealedHostKey(services.encryption, spec, key) } : spec;
  return withSshKey(services, mutation, server.provider, whole);
}

async function createdFrom(tx: Queryable, { operation_id: id }: ServerRecord): Promise<Partial<StoredSpec>> {
  const { image, sealed_user_data, host_key, sealed_host_key, networks } = (await readCreateSpec(tx, id)) ?? {};
  return {
    ...(image === undefined ? {} : { image }),
    ...(sealed_user_data === undefined ? {} : { sealed_user_data }),
    // It is the same server to whoever logs in.
    ...(host_key === undefined || sealed_host_key === undefined ? {} : { host_key, sealed_host_key }),
    ...(networks === undefined ? {} : { networks }),
  };
}

/** PATCH /v1/taskservs/{id}: other servers, another config, another version. */
import { isDeepStrictEqual } from 'node:util';
import { type Static, Type } from 'typebox';
import { type Principal, requirePermission } from '../../access/permissions.ts';
import {
  generateSecrets,
  requireUpgrade,
  resolveConfig,
  resolveVersion,
  type TaskservDefinition,
} from '../../catalog/catalog.ts';
import type { Queryable } from '../../database/pool.ts';
import { isObject } from '../../documents/json.ts';
import { errors } from '../../errors.ts';
import { type Budget, requestBudget } from '../../evaluation/pool.ts';
import type { Mutation } from '../../http/mutation.ts';
import type { Services } from '../../http/section.ts';
import type { Accepted } from '../../operations/accept.ts';
import { defineOperation } from '../../operations/define.ts';
import { applyGuards } from '../../servers/guards/apply.ts';
import { type GuardFields, guardFields, hasGuards, readGuards } from '../../servers/guards/fields.ts';
import { databaseSecrets } from '../../workspaces/secret-source.ts';
import { openConfig } from '../../workspaces/secrets.ts';
import { fixedLeader, presentPlaces, type Round, wantedPlaces } from '../cluster/members.ts';
import { findServers, requireNoConflict, requirePrivilege, requireSecretFields } from '../create/operation.ts';
import { guardedTaskserv, requireRemovable } from '../guard/guarded.ts';
import { acceptTaskservGuards } from '../guard/operation.ts';
import { assignPlaces, carriedOn, hostsOf, placeOnHosts, type TaskservHost } from '../host-store.ts';
import { definitionMissing, definitionsOf, type HostTools } from '../procedures/input.ts';
import { CreateTaskserv, TaskservId } from '../schemas.ts';
import { decryptSecrets, sealConfig } from '../secrets.ts';
import { acceptOnHosts, justChanged, lockForChange, lockNamed, requireFree, taskservIdOf } from '../service.ts';
import {
  insertRevision,
  type Revision,
  readRevision,
  readTaskservPlace,
  type TaskservRecord,
  updateTaskserv,
} from '../store.ts';
import { updateProcedure } from './procedure.ts';
import { roundsBetween } from './rounds.ts';

const { servers, wait } = CreateTaskserv.properties;
const wanted = {
  servers: Type.Optional({
    ...servers,
    description:
      'Hostnames or ids of all servers that it should run on. New servers join; servers that are left out are removed.',
  }),
  config: Type.Optional(
    Type.Record(Type.String({ maxLength: 128 }), Type.Unknown(), {
      description: 'Settings to change. Others stay unchanged; null resets a setting to its default.',
    }),
  ),
  version: Type.Optional(Type.String({ minLength: 1, maxLength: 64, description: 'New version.' })),
};
const force = Type.Optional(
  Type.Boolean({
    default: false,
    description: 'Remove servers even if they cannot be reached or drained.',
  }),
);
const UpdateTaskserv = Type.Object({ ...wanted, force, wait }, { additionalProperties: false });
type UpdateTaskserv = Static<typeof UpdateTaskserv>;
const PatchTaskserv = Type.Object({ ...UpdateTaskserv.properties, ...guardFields }, { additionalProperties: false });
type PatchTaskserv = Static<typeof PatchTaskserv>;

export const updateTaskservOperation = defineOperation({
  kind: 'taskserv.update',
  permission: 'taskserv_update',
  route: {
    method: 'PATCH',
    path: '/v1/taskservs/:id',
    tag: 'Taskservs',
    summary: 'Change the servers, the config, the version, the protection or the expiry of a taskserv',
    description:
      'What is left out stays as it is. A service across servers is changed member by member, in the order that its definition gives: servers that do not run leave first, where the service is on one that stays, then the others are changed and new ones join, then those that are no longer named are drained and leave. `protect`, `expires_at` and `ttl` hold as soon as this is answered, also while something else is done with it; by themselves they are an operation `taskserv.guard`.',
    params: TaskservId,
    body: PatchTaskserv,
    refusals: [400, 404, 409],
    prepare: async (services, principal, { params, body }) =>
      onlyGuards(body) ? null : prepareUpdate(services, principal, params.id, body, requestBudget(principal.userId)),
    accept: (services, mutation, { params, body }, prepared) =>
      prepared === null
        ? acceptTaskservGuards(services, mutation, params.id, body)
        : acceptUpdate(services, mutation, prepared, body),
  },
  procedure: (tools: HostTools) => updateProcedure(tools),
  node: {
    with: Type.Object(
      {
        taskserv: Type.String({
          minLength: 1,
          maxLength: 63,
          description: 'Id of a taskserv, or its name where the workspace has one of that name.',
        }),
        ...wanted,
        force,
      },
      { additionalProperties: false },
    ),
    permission: 'taskserv_update',
    target: { what: 'taskserv', permission: 'taskserv_update', field: 'taskserv' },
    secrets: 'config',
    async prepare(services, principal, { workspace, fields, secretNames, budget }) {
      // The fields were held against the schema above.
      const { taskserv, ...body } = fields as { taskserv: string } & UpdateTaskserv;
      const id = await taskservIdOf(services.db, workspace, taskserv);
      const prepared = await prepareUpdate(services, principal, id, body, budget);
      requireSecretFields(secretNames, prepared.change.secrets);
      return prepared;
    },
    accept: (services, mutation, _node, prepared) => acceptUpdate(services, mutation, prepared as PreparedUpdate),
    undo({ input, status }) {
      if (status !== 'completed') {
        return { how: 'keep', why: 'The change ended early; the taskserv is as its servers tell.' };
      }
      const { taskserv_id: id, undo_fields: fields, undo_lost: lost, undo_if: left } = input;
      if (Array.isArray(lost) && lost.length > 0) {
        return { how: 'keep', why: `It changed secrets (${lost.join(', ')}), which are not kept.` };
      }
      if (!isObject(fields)) return { how: 'nothing' };
      return {
        how: 'node',
        kind: 'taskserv.update',
        fields: { taskserv: String(id), ...fields, force: true },
        keep: async (tx) =>
          isDeepStrictEqual(await wishOf(tx, String(id), isObject(left) ? left : {}), left)
            ? null
            : 'It was changed since: undoing this change would undo that one.',
      };
    },
  },
});

function onlyGuards({ servers, config, version, ...rest }: PatchTaskserv): boolean {
  return hasGuards(rest) && servers === undefined && config === undefined && version === undefined;
}

/** A change that holds against the catalog, with its secrets opened: never stored as it is. */
interface PreparedUpdate {
  id: string;
  body: UpdateTaskserv;
  definitions: Map<string, TaskservDefinition>;
  definition: TaskservDefinition;
  /** What the change starts from. */
  current: Revision;
  change: Change;
}

/** What is read of files and evaluated: no transaction waits for that. @throws 404, 403, 400, 409. */
async function prepareUpdate(
  services: Services,
  principal: Principal,
  id: string,
  request: UpdateTaskserv,
  budget: Budget,
): Promise<PreparedUpdate> {
  const { db, encryption } = services;
  const [place, current] = [await readTaskservPlace(db, id), await readRevision(db, id)];
  if (place === null || current === null) throw errors.notFound('taskserv', id);
  const { name, workspace, ownerId } = place;
  requirePermission(principal, 'taskserv_update', {
    ...{ what: 'taskserv', id, workspace, ownerId },
    read: 'taskserv_read',
  });
  const definitions = await definitionsOf(db, workspace);
  const definition = definitions.get(name);
  if (definition === undefined) throw errors.conflict(definitionMissing(name).message, { taskserv: name });
  const source = databaseSecrets(db, encryption);
  const opened = await openConfig(source, principal, workspace, request.config ?? {});
  const body = request.config === undefined ? request : { ...request, config: opened.config };
  const change = await changeOf(services, definition, current, body, budget);
  requireSecretFields(opened.secretNames, change.secrets);
  return { id, body, definitions, definition, current, change };
}

/** Accepts a change: its revision, its hosts and its place in line commit together. */
async function acceptUpdate(
  services: Services,
  mutation: Mutation,
  { id, body, definitions, definition, current, change }: PreparedUpdate,
  guardFields: GuardFields = {},
): Promise<Accepted> {
  const { tx } = mutation;
  const { taskserv, present, named } = await lockAll(mutation, id, body);
  const { name, workspace } = taskserv;
  if (!isDeepStrictEqual(await readRevision(tx, id), current)) throw justChanged(id);
  requirePrivilege(mutation.principal, change.privileged, workspace);

  const coming = named.filter(({ server_id }) => !present.some((host) => host.server_id === server_id));
  const leaving = present.filter(({ server_id }) => !named.some((host) => host.server_id === server_id));
  const guards = await readGuards(tx, guardFields);
  const guarded = hasGuards(guardFields) ? await applyGuards(mutation, guardedTaskserv(taskserv, present), guards) : {};
  if (leaving.length > 0) requireRemovable({ ...taskserv, protected: guards.protect ?? taskserv.protected });
  requireUpgrade(definition, present, change.version);
  const carried = await carriedOn(
    tx,
    named.map(({ server_id }) => server_id),
  );
  requireNoConflict({ body: { name }, definitions }, carried);
  const others = carried.filter(
    (record) => record.name === name && record.taskserv_id !== null && record.taskserv_id !== id,
  );
  if (others.length > 0) {
    throw errors.conflict(
      `${others.map(({ hostname, taskserv_id: other }) => `${hostname} already has ${name} as ${other}`).join(', ')}. Delete that first.`,
      { taskservs: others.map(({ taskserv_id: other }) => other) },
    );
  }
  const before = presentPlaces(definition, present);
  const places = wantedPlaces(definition, change.values, present, named);
  const leader = places === null ? null : fixedLeader(definition, current.config, before);
  const stuck = leaving.find(({ server_id }) => server_id === leader?.place.server_id);
  if (stuck !== undefined) {
    throw errors.conflict(`${stuck.hostname} ${leader?.why}`, {
      server: stuck.hostname,
      server_id: stuck.server_id,
    });
  }
  const rounds = roundsBetween(definition, { places, named, present, leaving });
  const hosts = [...leaving, ...named].map(({ server_id, hostname }) => ({ server_id, hostname }));
  await requireFree(tx, hosts, body.wait);

  const revision = taskserv.revision + 1;
  const names = (list: readonly { hostname: string }[]) => list.map(({ hostname }) => hostname);
  const accepted = await acceptOnHosts(services, mutation, {
    kind: 'taskserv.update',
    doing: titleOf(name, change, names(coming), names(leaving)),
    workspace,
    resource: `taskserv:${id}`,
    hosts,
    turns: true,
    input: {
      taskserv_id: id,
      name,
      previous: { revision: taskserv.revision, version: taskserv.version, status: taskserv.status },
      made: coming.map(({ server_id }) => server_id),
      adopted: carried
        .filter((record) => record.name === name && record.taskserv_id === null)
        .map(({ server_id }) => server_id),
      leaving: leaving.map(({ server_id }) => server_id),
      force: body.force === true,
      rounds,
      ...undoOf(current, change, body, { present, named }),
    },
    details: { name, version: change.version, servers: names(named), settings: change.settings, ...guarded },
    plan: {
      change: [
        {
          ...{ type: 'taskserv', id, name },
          ...(change.version === current.version ? {} : { version: { from: current.version, to: change.version } }),
          ...(coming.length === 0 ? {} : { new_servers: names(coming) }),
          ...(leaving.length === 0 ? {} : { leaving_servers: names(leaving) }),
          ...(change.settings.length === 0 ? {} : { settings: change.settings }),
          ...guarded,
        },
      ],
      order: orderOf(name, rounds, hosts, present),
    },
  });
  await insertRevision(tx, id, accepted.id, {
    revision,
    version: change.version,
    ...sealConfig(services.encryption, change.values, change.secrets),
  });
  await updateTaskserv(tx, id, { status: 'installing', version: change.version, revision });
  await placeOnHosts(
    tx,
    { id, name, operationId: accepted.id },
    named.map(({ server_id }) => server_id),
  );
  // Those that leave let the others in and are drained by them: they keep their places until they are gone.
  const until = before.filter(({ server_id }) => leaving.some((host) => host.server_id === server_id));
  if (places !== null) await assignPlaces(tx, id, [...until, ...places]);
  return accepted;
}

/** Locks the servers of the taskserv and those that it is to be on, all in reach of the caller, then itself. */
async function lockAll(mutation: Mutation, id: string, body: UpdateTaskserv) {
  const { tx } = mutation;
  const seen = (await hostsOf(tx, id)).map(({ server_id }) => server_id);
  const place = await readTaskservPlace(tx, id);
  if (place === null) throw errors.notFound('taskserv', id);
  const { workspace } = place;
  await lockNamed(mutation, workspace, body.servers ?? [], seen);
  const taskserv: TaskservRecord = await lockForChange(mutation, id, 'taskserv_update');
  const present = inOrder(await hostsOf(tx, id));
  if (!present.every(({ server_id }) => seen.includes(server_id))) throw justChanged(id);
  if (body.servers === undefined) return { taskserv, present, named: present };
  const found = await findServers(mutation, { workspace, servers: body.servers });
  return { taskserv, present, named: found.map(({ id: server_id, hostname }) => ({ server_id, hostname })) };
}

const inOrder = (hosts: TaskservHost[]) => hosts.toSorted((a, b) => (a.position ?? 0) - (b.position ?? 0));

/** What is wanted afterwards, and which settings differ by it. */
interface Change {
  version: string;
  values: Record<string, unknown>;
  secrets: string[];
  settings: string[];
  /** Those of them that choose code of the host. */
  privileged: string[];
}

/** @throws 400 for a config or a version that cannot be. */
async function changeOf(
  { encryption }: Services,
  definition: TaskservDefinition,
  current: Revision,
  body: UpdateTaskserv,
  budget: Budget,
): Promise<Change> {
  if (body.servers === undefined && body.config === undefined && body.version === undefined) {
    throw errors.validation([{ field: 'servers', message: 'give "servers", "config", "version", or several of them' }]);
  }
  if (body.config !== undefined && 'version' in body.config) {
    throw errors.validation([{ field: 'config.version', message: 'give the version beside "config", as "version"' }]);
  }
  const version = body.version === undefined ? current.version : resolveVersion(definition, body.version);
  const before: Record<string, unknown> = { ...current.config, ...decryptSecrets(encryption, current) };
  // What an older version of the definition had is no setting any more.
  const merged = Object.entries({ ...before, ...body.config }).filter(
    ([name, value]) => value !== null && (name in definition.config || name in (body.config ?? {})),
  );
  const resolved = await resolveConfig(definition, Object.fromEntries(merged), budget);
  const { values, secrets } = generateSecrets(definition, resolved, before);
  const names = [...new Set([...Object.keys(before), ...Object.keys(values)])].sort();
  const settings = names.filter((name) => JSON.stringify(before[name]) !== JSON.stringify(values[name]));
  const privileged = resolved.privileged.filter((name) => settings.includes(name));
  return { version, values, secrets, settings, privileged };
}

/** The fields of the request that makes it as it was before, and the settings that it cannot bring back. */
function undoOf(
  current: Revision,
  { settings, secrets, values, version }: Change,
  body: UpdateTaskserv,
  { present, named }: Record<'present' | 'named', readonly { server_id: string }[]>,
): Record<string, unknown> {
  const secret = settings.filter((name) => secrets.includes(name) || current.secret_names.includes(name));
  const open = settings.filter((name) => !secret.includes(name));
  return {
    undo_lost: secret,
    undo_fields: {
      ...(body.servers === undefined ? {} : { servers: present.map(({ server_id }) => server_id) }),
      ...(body.version === undefined ? {} : { version: current.version }),
      ...(open.length === 0
        ? {}
        : { config: Object.fromEntries(open.map((name) => [name, current.config[name] ?? null])) }),
    },
    undo_if: {
      ...(body.servers === undefined ? {} : { servers: named.map(({ server_id }) => server_id).sort() }),
      ...(body.version === undefined ? {} : { version }),
      ...(open.length === 0 ? {} : { config: Object.fromEntries(open.map((name) => [name, values[name] ?? null])) }),
    },
  };
}

/** How that stands now which an earlier change has left, in its form. */
async function wishOf(tx: Queryable, id: string, left: Record<string, unknown>): Promise<Record<string, unknown>> {
  const revision = await readRevision(tx, id);
  const names = isObject(left.config) ? Object.keys(left.config) : [];
  return {
    ...('servers' in left ? { servers: (await hostsOf(tx, id)).map(({ server_id }) => server_id).sort() } : {}),
    ...('version' in left ? { version: revision?.version } : {}),
    ...('config' in left
      ? { config: Object.fromEntries(names.map((name) => [name, revision?.config[name] ?? null])) }
      : {}),
  };
}

function titleOf(name: string, { settings }: Change, coming: string[], leaving: string[]): string {
  if (leaving.length > 0 && coming.length === 0 && settings.length === 0) {
    return `Take ${leaving.join(', ')} out of ${name} on`;
  }
  if (coming.length > 0 && leaving.length === 0 && settings.length === 0) {
    return `Add ${coming.join(', ')} to ${name} on`;
  }
  return `Change ${name} on`;
}

function orderOf(
  name: string,
  rounds: readonly Round[],
  hosts: readonly { server_id: string; hostname: string }[],
  present: readonly { server_id: string }[],
): string[] {
  return rounds.flatMap(({ action, servers: ids }) =>
    ids.map((id) => {
      const hostname = hosts.find(({ server_id }) => server_id === id)?.hostname ?? id;
      if (action === 'remove') return `${hostname}: remove ${name}`;
      return `${hostname}: ${present.some(({ server_id }) => server_id === id) ? 'change' : 'install'} ${name}`;
    }),
  );
}

/** POST /v1/taskservs/create: what can be said against it, and what is written when it is accepted. */
import { Type } from 'typebox';
import { isPermitted, type Principal } from '../../access/permissions.ts';
import {
  type Catalog,
  generateSecrets,
  loadCatalog,
  requireUpgrade,
  resolveConfig,
  resolveOrder,
  resolveVersion,
  type TaskservDefinition,
} from '../../catalog/catalog.ts';
import { shortId, uuidv7 } from '../../database/uuid.ts';
import { isObject } from '../../documents/json.ts';
import { ApplicationError, errors, type FieldProblem } from '../../errors.ts';
import { type Budget, requestBudget } from '../../evaluation/pool.ts';
import type { Mutation } from '../../http/mutation.ts';
import type { Services } from '../../http/section.ts';
import type { Accepted } from '../../operations/accept.ts';
import { defineOperation } from '../../operations/define.ts';
import { requireGuardable } from '../../servers/guards/apply.ts';
import { fieldsOf, hasGuards, readGuards } from '../../servers/guards/fields.ts';
import { writeGuards } from '../../servers/guards/store.ts';
import { nearMatches } from '../../util/near-matches.ts';
import { databaseSecrets } from '../../workspaces/secret-source.ts';
import { openConfig } from '../../workspaces/secrets.ts';
import { requireWorkspace } from '../../workspaces/service.ts';
import { workspaceDirectory } from '../../workspaces/store.ts';
import { installRounds, type Member, type Place, wantedPlaces } from '../cluster/members.ts';
import { guardedTaskserv } from '../guard/guarded.ts';
import { closureOf } from '../host-plan.ts';
import {
  assignPlaces,
  type CarriedRecord,
  carriedOn,
  type HostRecord,
  hostnamesOf,
  hostsOf,
  placeOnHosts,
} from '../host-store.ts';
import type { Host, HostTools } from '../procedures/input.ts';
import { CreateTaskserv } from '../schemas.ts';
import { decryptSecrets, sealConfig } from '../secrets.ts';
import { acceptOnHosts, lockForChange, lockNamed, requireFree } from '../service.ts';
import {
  insertRevision,
  insertTaskserv,
  type Revision,
  readRevision,
  type TaskservRecord,
  updateTaskserv,
} from '../store.ts';
import { createProcedure } from './procedure.ts';

/** Servers that will not come up by waiting cannot be installed on. */
const UNFIT = ['stopped', 'stopping', 'deleting', 'error', 'missing', 'unknown'];

const { name, servers, config, protect, expires_at, ttl } = CreateTaskserv.properties;

export const createTaskserv = defineOperation({
  kind: 'taskserv.create',
  permission: 'taskserv_create',
  route: {
    method: 'POST',
    path: '/v1/taskservs/create',
    tag: 'Taskservs',
    summary: 'Create a new taskserv',
    description:
      'Installs it with all that it requires on the servers. Where they carry it already, it is changed in place to this version and config.',
    body: CreateTaskserv,
    refusals: [400, 409],
    checkMode: 'operation',
    prepare: (services, principal, { body }) => openAndCheckCreate(services, principal, body),
    accept: (services, mutation, _request, checked) => acceptCreate(services, mutation, checked),
  },
  procedure: (tools: HostTools) => createProcedure(tools),
  node: {
    with: Type.Object({ name, servers, config, protect, expires_at, ttl }, { additionalProperties: false }),
    permission: 'taskserv_create',
    target: { what: 'server', permission: 'server_update', field: 'servers' },
    secrets: 'config',
    question: {
      from: ['name', 'config'],
      async ask(services, workspace, { name, config }, asking) {
        const { fields, secretNames, unknown, opensLater } = await asking.withSamples(isObject(config) ? config : {});
        if (unknown.length > 0) return unknown.map((one) => ({ field: `config.${one.name}`, message: one.message }));
        const body = { workspace, name: String(name), servers: ['any'], config: fields };
        try {
          const directory = await workspaceDirectory(services.db, workspace);
          const catalog = await asking.once('catalog', () => loadCatalog(directory));
          const checked = await checkCreate(services, asking.principal, body, asking.budget, catalog);
          requireSecretFields(secretNames, checked.secretNames);
          return [];
        } catch (error) {
          if (!(error instanceof ApplicationError) || error.status !== 400 || !Array.isArray(error.details))
            throw error;
          return (error.details as FieldProblem[]).filter(({ field }) => !opensLater(field.replace(/^config\./, '')));
        }
      },
    },
    async prepare(services, principal, { workspace, fields, secretNames, budget }) {
      // The fields were held against the schema of this very request.
      const body = { ...fields, workspace } as unknown as CreateTaskserv;
      const checked = await checkCreate(services, principal, body, budget);
      requireSecretFields(secretNames, checked.secretNames);
      return checked;
    },
    accept: (services, mutation, _node, prepared) => acceptCreate(services, mutation, prepared as CheckedCreate),
    undo({ input, result, status }) {
      const id = result.taskserv_id ?? input.taskserv_id;
      if (typeof id !== 'string') return { how: 'nothing' };
      if (input.previous !== null && input.previous !== undefined) {
        return status === 'completed'
          ? { how: 'keep', why: 'It stood there before and was changed; the change is kept.' }
          : { how: 'nothing' };
      }
      return { how: 'node', kind: 'taskserv.delete', fields: { taskserv: id, force: true } };
    },
  },
});

/** A secret goes only where it is kept as one. @throws 400. */
export function requireSecretFields(given: Iterable<string>, secretNames: readonly string[]): void {
  const open = [...given].filter((name) => !secretNames.includes(name));
  if (open.length === 0) return;
  throw errors.validation(
    open.map((name) => ({
      field: `config.${name}`,
      message: 'is not a secret setting of this taskserv, so the value would be visible',
    })),
  );
}

/** The same for a request that may refer to secrets of the workspace. */
async function openAndCheckCreate(
  services: Services,
  principal: Principal,
  body: CreateTaskserv,
): Promise<CheckedCreate> {
  const { db, encryption } = services;
  await requireWorkspace(db, principal, 'taskserv_create', body.workspace);
  const source = databaseSecrets(db, encryption);
  const { config, secretNames } = await openConfig(source, principal, body.workspace, body.config ?? {});
  const checked = await checkCreate(services, principal, { ...body, config });
  requireSecretFields(secretNames, checked.secretNames);
  return checked;
}

/** A request that holds against the catalog. */
export interface CheckedCreate {
  body: CreateTaskserv;
  definitions: Map<string, TaskservDefinition>;
  definition: TaskservDefinition;
  version: string;
  values: Record<string, unknown>;
  secretNames: string[];
}

/**
 * Everything that can be said against the request by the catalog alone. Reads files, so it runs before the transaction.
 * @param catalog of the workspace, where it has been read already.
 */
async function checkCreate(
  { db }: Services,
  principal: Principal,
  body: CreateTaskserv,
  budget: Budget = requestBudget(principal.userId),
  catalog?: Catalog,
): Promise<CheckedCreate> {
  await requireWorkspace(db, principal, 'taskserv_create', body.workspace);
  const { definitions, problems } = catalog ?? (await loadCatalog(await workspaceDirectory(db, body.workspace)));
  const definition = definitions.get(body.name);
  if (definition === undefined) {
    const broken = problems.filter(({ taskserv }) => taskserv === body.name);
    const why = broken.map(({ file, line, message }) => `${file}:${line}: ${message}`).join('; ');
    throw errors.validation([
      {
        field: 'name',
        message: `there is no taskserv "${body.name}"${why === '' ? '' : `: its definition is wrong (${why})`}`,
        near_matches: nearMatches(body.name, [...definitions.keys()]),
      },
    ]);
  }
  resolveOrder(definitions, [body.name]);
  const { version: wanted, ...config } = body.config ?? {};
  const version = resolveVersion(definition, wanted);
  const { values, secrets, privileged } = await resolveConfig(definition, config, budget);
  requirePrivilege(principal, privileged, body.workspace);
  return { body, definitions, definition, version, values, secretNames: secrets };
}

/**
 * Accepts a taskserv on servers: a new one, or, where servers carry it already, the change of that one to this version
 * and config. Its rows, its operation and its place in line on the hosts commit together.
 */
async function acceptCreate(services: Services, mutation: Mutation, request: CheckedCreate): Promise<Accepted> {
  const { tx, principal } = mutation;
  const { body, version, definition } = request;
  const guards = await readGuards(tx, body);
  const servers = await findServers(mutation, body);
  const hosts: Host[] = servers.map(({ id, hostname }) => ({ server_id: id, hostname }));
  const carried = await carriedOn(
    tx,
    servers.map(({ id }) => id),
  );
  requireNoConflict(request, carried);
  const present = await findPresent(mutation, request, hosts, carried);
  const current = present === null ? null : await readRevision(tx, present.id);
  const kept = current === null ? {} : decryptSecrets(services.encryption, current);
  const { values, secrets: secretNames } = generateSecrets(
    definition,
    { values: request.values, secrets: request.secretNames },
    kept,
  );
  const checked = { ...request, values, secretNames };
  const standingHosts = present === null ? [] : await hostsOf(tx, present.id);
  requireUpgrade(definition, standingHosts, version);
  const places = wantedPlaces(definition, values, standingHosts, hosts);
  await requireFree(tx, hosts, body.wait);
  const standing = (record: CarriedRecord) => record.name === body.name;
  const adopted = carried.filter((record) => standing(record) && record.taskserv_id === null);
  const made = hosts.filter(
    (host) => !carried.some((record) => standing(record) && record.server_id === host.server_id),
  );
  const sealed = sealConfig(services.encryption, values, secretNames);
  const details = {
    name: body.name,
    version,
    servers: hosts.map(({ hostname }) => hostname),
    check_mode: body.check_mode === true,
    ...fieldsOf(guards),
  };
  const doing = present === null ? `Install ${body.name} on` : `Change ${body.name} on`;
  const planned = { type: 'taskserv', name: body.name, version, servers: details.servers, ...fieldsOf(guards) };
  const plan = present === null ? { create: [planned] } : { change: [{ ...planned, id: present.id }] };
  if (present !== null) await requireGuardable(mutation, guardedTaskserv(present, standingHosts), guards);
  const common = { kind: 'taskserv.create', doing, workspace: body.workspace, hosts, details, plan };

  if (body.check_mode === true) {
    return acceptOnHosts(services, mutation, {
      ...common,
      resource: null,
      turns: false,
      checkMode: true,
      input: {
        check_mode: true,
        taskserv_id: present?.id ?? null,
        name: body.name,
        version,
        ...sealed,
        made: made.map(({ server_id }) => server_id),
        differences: current === null ? {} : differences(services, current, checked),
        ...(places === null ? {} : { members: membersIn(places, servers) }),
      },
    });
  }

  const id = present?.id ?? shortId('tsk');
  const operationId = uuidv7();
  const revision = (present?.revision ?? 0) + 1;
  if (present === null) {
    const owner = { createdBy: principal.name, ownerId: principal.userId };
    await insertTaskserv(tx, { id, workspace: body.workspace, name: body.name, version, ...owner });
  }
  if (hasGuards(body)) await writeGuards(tx, 'taskservs', id, guards);
  const accepted = await acceptOnHosts(services, mutation, {
    ...common,
    id: operationId,
    resource: `taskserv:${id}`,
    turns: true,
    input: {
      taskserv_id: id,
      name: body.name,
      previous:
        present === null ? null : { revision: present.revision, version: present.version, status: present.status },
      made: made.map(({ server_id }) => server_id),
      adopted: adopted.map(({ server_id }) => server_id),
      ...(places === null || definition.cluster === null ? {} : { rounds: installRounds(definition.cluster, places) }),
    },
  });
  await insertRevision(tx, id, operationId, { revision, version, ...sealed });
  await updateTaskserv(tx, id, { status: 'installing', version, revision });
  await placeOnHosts(
    tx,
    { id, name: body.name, operationId },
    hosts.map(({ server_id }) => server_id),
  );
  if (places !== null) await assignPlaces(tx, id, places);
  return accepted;
}

/** The members as they are to be, for a look at what would be done. */
function membersIn(places: readonly Place[], servers: readonly HostRecord[]): Member[] {
  return places.flatMap((place) => {
    const server = servers.find(({ id }) => id === place.server_id);
    if (server === undefined) return [];
    return [{ ...place, hostname: server.hostname, address: server.ip_address, status: 'pending', version: null }];
  });
}

/** @throws 403 for settings that choose code of a host, where the caller lacks `taskserv_privileged`. */
export function requirePrivilege(principal: Principal, settings: string[], workspace: string): void {
  if (settings.length === 0 || isPermitted(principal, 'taskserv_privileged', workspace)) return;
  throw errors.privilegedConfig(settings, workspace);
}

/**
 * The servers that a request names, locked, in the order in which it names them.
 * @param besides ids of servers that are locked along with them.
 * @throws 400 for one that there is not, 403 for one that the caller may not reach, 409 for one that does not run.
 */
export async function findServers(
  mutation: Mutation,
  body: Pick<CreateTaskserv, 'workspace' | 'servers'>,
  besides: readonly string[] = [],
): Promise<HostRecord[]> {
  const { servers, unknown } = await lockNamed(mutation, body.workspace, body.servers, besides);
  if (unknown.length > 0) {
    const known = await hostnamesOf(mutation.tx, body.workspace);
    throw errors.validation(
      unknown.map((name) => ({
        field: `servers[${body.servers.indexOf(name)}]`,
        message: `there is no server "${name}" in workspace "${body.workspace}"`,
        near_matches: nearMatches(name, known),
      })),
    );
  }
  const unfit = servers.filter(({ status }) => UNFIT.includes(status));
  if (unfit.length > 0) {
    throw errors.conflict(
      `All servers must be running: ${unfit.map(({ hostname, status }) => `${hostname} is ${status}`).join(', ')}.`,
      unfit.map(({ id, hostname, status }) => ({ server: hostname, server_id: id, status })),
    );
  }
  return servers;
}

/** @throws 409 naming what stands on a host and cannot stand beside what would come. */
export function requireNoConflict(
  { body, definitions }: { body: { name: string }; definitions: Map<string, TaskservDefinition> },
  carried: readonly CarriedRecord[],
): void {
  const coming = closureOf(definitions, body.name);
  for (const record of carried) {
    if (coming.has(record.name)) continue;
    const against = [...coming].find(
      (name) =>
        definitions.get(name)?.conflicts.includes(record.name) ||
        definitions.get(record.name)?.conflicts.includes(name),
    );
    if (against === undefined) continue;
    throw errors.conflict(
      `${against} cannot be on the same server as ${record.name}, which is installed on ${record.hostname}. Delete ${record.name} first.`,
      { server: record.hostname, taskserv: record.name, taskserv_id: record.taskserv_id },
    );
  }
}

/** The taskserv that the servers carry by that name already, locked; null: none of them does. */
async function findPresent(
  mutation: Mutation,
  { body }: CheckedCreate,
  hosts: readonly Host[],
  carried: readonly CarriedRecord[],
): Promise<TaskservRecord | null> {
  const ids = carried.filter(({ name }) => name === body.name).flatMap(({ taskserv_id: id }) => id ?? []);
  const [id, ...others] = [...new Set(ids)].sort();
  if (id === undefined) return null;
  if (others.length > 0) {
    throw errors.conflict(
      `On these servers ${body.name} belongs to different taskservs (${[id, ...others].join(', ')}). Change each of them separately.`,
      { taskservs: [id, ...others] },
    );
  }
  const taskserv = await lockForChange(mutation, id, 'taskserv_update');
  const left = (await hostsOf(mutation.tx, id)).filter(
    ({ server_id }) => !hosts.some((host) => host.server_id === server_id),
  );
  if (left.length > 0) {
    throw errors.conflict(
      `On these servers ${body.name} belongs to taskserv ${id}, which is also on ${left.map(({ hostname }) => hostname).join(', ')}. List all of its servers to change it.`,
      { taskserv_id: id, missing_servers: left.map(({ hostname }) => hostname) },
    );
  }
  return taskserv;
}

/** What the request would change of the wanted version and config. Secrets are told by name alone. */
function differences(
  { encryption }: Services,
  current: Revision,
  { version, values, secretNames }: CheckedCreate,
): Record<string, unknown> {
  const secrets = decryptSecrets(encryption, current);
  const before: Record<string, unknown> = { version: current.version, ...current.config, ...secrets };
  const after: Record<string, unknown> = { version, ...values };
  const names = [...new Set([...Object.keys(before), ...Object.keys(after)])].sort();
  const changed = names.filter((name) => JSON.stringify(before[name]) !== JSON.stringify(after[name]));
  return Object.fromEntries(
    changed.map((name) => [
      name,
      secretNames.includes(name) || name in secrets
        ? { secret: true, changed: true }
        : { from: before[name] ?? null, to: after[name] ?? null },
    ]),
  );
}

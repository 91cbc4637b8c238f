import type { Client } from '../../sdk/client.ts';
import { type CommandDefinition, given, type OptionValues, text, texts } from '../command.ts';
import { NotFoundError, UsageError } from '../errors.ts';
import { field } from '../output.ts';
import { GUARD_OPTIONS, GUARDS, guardCommands, guardsIn } from './guard.ts';
import { listCommand } from './list.ts';
import { namedValues } from './parameters.ts';

const VIEW = {
  columns: [
    field('id'),
    field('name'),
    field('version'),
    field('workspace'),
    field('servers'),
    field('status'),
    GUARDS,
  ],
  name: 'id',
};
const CATALOG_VIEW = {
  columns: [
    field('name'),
    { heading: 'VERSION', value: ({ versions }: { versions: { default: string } }) => versions.default },
    field('source'),
    field('summary'),
  ],
  name: 'name',
};
const TASKSERV = { name: 'taskserv', description: 'id (tsk-…) or name', names: 'taskserv' } as const;
/** Where a taskserv's name is looked for. */
export const TASKSERV_WORKSPACE = {
  flags: '-w, --workspace <name>',
  names: 'workspace',
  description: 'workspace of the taskserv (default: search all)',
} as const;
const NO_QUEUE = {
  flags: '--no-queue',
  description: 'fail (exit status 5) instead of waiting for another change of the servers',
};

/** A taskserv by its id or its name. @throws where there is none, or more than one. */
export async function findTaskserv(client: Client, name: string, options: OptionValues) {
  if (/^tsk-[a-z0-9]{12}$/.test(name)) return client.get('/v1/taskservs/{id}', { path: { id: name } });
  const found = await client.get('/v1/taskservs', { query: given({ name, workspace: text(options, 'workspace') }) });
  const [taskserv, ...others] = found;
  if (taskserv === undefined)
    throw new NotFoundError(`There is no taskserv "${name}". List taskservs: provisioning taskserv list`);
  if (others.length > 0) {
    const places = found.map(({ id, workspace, servers }) => `${id} in ${workspace} on ${servers.join(' and ')}`);
    throw new UsageError(`"${name}" is ambiguous: ${places.join('; ')}. Give the id or --workspace.`);
  }
  return taskserv;
}

/** Services on servers, and what can be installed. */
export const taskservCommands: readonly CommandDefinition[] = [
  {
    name: 'taskserv create',
    summary: 'install a service on servers, or change it',
    description:
      'Run it again to change the version or the configuration in place. Read secrets from a file: --config password=@file.',
    examples: [
      'provisioning taskserv create redis --server web-01 --server web-02 --config port=6380',
      'provisioning taskserv create nginx --server web-01 --check',
    ],
    arguments: [
      { name: 'name', description: 'service name in the catalog (see: provisioning catalog)', names: 'catalog' },
    ],
    options: [
      {
        flags: '-w, --workspace <name>',
        names: 'workspace',
        description: 'workspace of the servers',
        default: 'default',
      },
      {
        flags: '--server <server>',
        names: 'server',
        description: 'hostname or id; can be repeated',
        repeatable: true,
        required: true,
      },
      {
        flags: '--config <name=value>',
        description: 'setting of the service; can be repeated',
        repeatable: true,
      },
      ...GUARD_OPTIONS,
      NO_QUEUE,
    ],
    covers: ['POST /v1/taskservs/create'],
    operation: true,
    async run(session, [name = ''], options) {
      const body = {
        workspace: text(options, 'workspace') ?? 'default',
        name,
        servers: texts(options, 'server') ?? [],
        config: await namedValues('--config', texts(options, 'config')),
        wait: options.queue !== false,
        ...guardsIn(options),
      };
      const client = await session.client();
      await session.operation(await client.post('/v1/taskservs/create', { body, ...session.idempotency() }));
    },
  },
  listCommand({
    name: 'taskserv list',
    summary: 'list installed services',
    examples: ['provisioning taskserv list', 'provisioning taskserv list --hostname web-01 --status degraded'],
    path: '/v1/taskservs',
    filters: {
      status: 'only with this status',
      workspace: 'only in this workspace',
      name: 'only with this name',
      hostname: 'only on this server',
    },
    view: VIEW,
  }),
  {
    name: 'taskserv show',
    summary: 'show one taskserv and its state on each server',
    examples: ['provisioning taskserv show redis -o yaml'],
    arguments: [TASKSERV],
    options: [TASKSERV_WORKSPACE],
    covers: ['GET /v1/taskservs/{id}'],
    async run(session, [name = ''], options) {
      session.record(await findTaskserv(await session.client(), name, options), VIEW);
    },
  },
  {
    name: 'taskserv check',
    summary: 'run the health check of a taskserv now',
    examples: ['provisioning taskserv check redis'],
    arguments: [TASKSERV],
    options: [TASKSERV_WORKSPACE],
    covers: ['POST /v1/taskservs/{id}/check'],
    operation: true,
    async run(session, [name = ''], options) {
      const client = await session.client();
      const path = { id: (await findTaskserv(client, name, options)).id };
      await session.operation(await client.post('/v1/taskservs/{id}/check', { path, ...session.idempotency() }));
    },
  },
  {
    name: 'taskserv retry',
    summary: 'retry on the servers where it failed',
    examples: ['provisioning taskserv retry redis'],
    arguments: [TASKSERV],
    options: [TASKSERV_WORKSPACE, NO_QUEUE],
    covers: ['POST /v1/taskservs/{id}/retry'],
    operation: true,
    async run(session, [name = ''], options) {
      const client = await session.client();
      const path = { id: (await findTaskserv(client, name, options)).id };
      const body = { wait: options.queue !== false };
      await session.operation(await client.post('/v1/taskservs/{id}/retry', { path, body, ...session.idempotency() }));
    },
  },
  {
    name: 'taskserv update',
    summary: 'change the servers, configuration or version of a taskserv',
    description:
      'Options that you leave out stay unchanged. A clustered service is changed server by server: new servers join, removed servers are drained first.',
    examples: [
      'provisioning taskserv update kubernetes --server web-01 --server web-02 --server web-03',
      'provisioning taskserv update kubernetes --to-version 1.34.11 --check',
      'provisioning taskserv update redis --config maxmemory=256mb --unset port',
    ],
    arguments: [TASKSERV],
    options: [
      TASKSERV_WORKSPACE,
      {
        flags: '--server <server>',
        names: 'server',
        description: 'replaces the list of servers; can be repeated',
        repeatable: true,
      },
      {
        flags: '--config <name=value>',
        description: 'setting to change; can be repeated',
        repeatable: true,
      },
      { flags: '--unset <name>', description: 'setting to reset to its default; can be repeated', repeatable: true },
      { flags: '--to-version <version>', description: 'new version' },
      { flags: '--force', description: 'remove servers even if they cannot be reached or drained' },
      NO_QUEUE,
    ],
    covers: ['PATCH /v1/taskservs/{id}'],
    operation: true,
    async run(session, [name = ''], options) {
      const client = await session.client();
      const { id } = await findTaskserv(client, name, options);
      const unset = Object.fromEntries((texts(options, 'unset') ?? []).map((setting) => [setting, null]));
      const config = { ...(await namedValues('--config', texts(options, 'config'))), ...unset };
      const body = {
        ...given({ servers: texts(options, 'server'), version: text(options, 'toVersion') }),
        ...(Object.keys(config).length === 0 ? {} : { config }),
        force: options.force === true,
        wait: options.queue !== false,
      };
      await session.operation(
        await client.patch('/v1/taskservs/{id}', { path: { id }, body, ...session.idempotency() }),
      );
    },
  },
  ...guardCommands({
    type: 'taskserv',
    example: 'redis',
    argument: TASKSERV,
    workspace: TASKSERV_WORKSPACE,
    find: findTaskserv,
    patch: (client, id, body, session) =>
      client.patch('/v1/taskservs/{id}', { path: { id }, body, ...session.idempotency() }),
  }),
  {
    name: 'taskserv delete',
    summary: 'remove a service from its servers',
    examples: ['provisioning taskserv delete redis --yes'],
    arguments: [TASKSERV],
    options: [
      TASKSERV_WORKSPACE,
      { flags: '--force', description: 'remove it even if another service requires it' },
      { flags: '-y, --yes', description: 'do not ask for confirmation' },
      NO_QUEUE,
    ],
    covers: ['DELETE /v1/taskservs/{id}'],
    operation: true,
    async run(session, [name = ''], options) {
      const client = await session.client();
      const { id, workspace, name: found, servers } = await findTaskserv(client, name, options);
      await session.confirm(`Remove ${found} (${id}) in ${workspace} from ${servers.join(', ')}?`);
      const body = { workspace, taskserv_id: id, force: options.force === true, wait: options.queue !== false };
      await session.operation(
        await client.delete('/v1/taskservs/{id}', { path: { id }, body, ...session.idempotency() }),
      );
    },
  },
  {
    name: 'catalog',
    summary: 'list the services that can be installed',
    examples: ['provisioning catalog', 'provisioning catalog --name redis -o yaml'],
    options: [
      { flags: '-w, --workspace <name>', names: 'workspace', description: 'include the definitions of this workspace' },
      { flags: '--name <name>', description: 'only this service' },
    ],
    covers: ['GET /v1/catalog/taskservs'],
    async run(session, _args, options) {
      const query = given({ workspace: text(options, 'workspace'), name: text(options, 'name') });
      session.rows(await (await session.client()).get('/v1/catalog/taskservs', { query }), CATALOG_VIEW);
    },
  },
];

import type { Client, Operation, Server } from '../../sdk/client.ts';
import { type CommandDefinition, given, type OptionValues, text, texts } from '../command.ts';
import { NotFoundError, UsageError } from '../errors.ts';
import { field } from '../output.ts';
import type { Session } from '../session.ts';
import { GUARD_OPTIONS, GUARDS, guardCommands, guardsIn } from './guard.ts';
import { listCommand } from './list.ts';

import { readUserData } from './parameters.ts';
import { careCommands } from './server-care.ts';

const VIEW = {
  columns: [
    field('id'),
    field('hostname'),
    field('workspace'),
    field('provider'),
    field('plan'),
    field('zone'),
    field('ip_address', 'address'),
    field('status'),
    GUARDS,
  ],
  name: 'hostname',
};
const SERVER = { name: 'server', description: 'id (srv-…) or hostname', names: 'server' } as const;
const WORKSPACE = {
  flags: '-w, --workspace <name>',
  names: 'workspace',
  description: 'workspace of the hostname (default: search all)',
} as const;

/** No hostname has the form of an id. */
const SERVER_ID = /^srv-[a-z0-9]{12}$/;

/** A server by its id or its hostname. @throws where there is none, or more than one. */
async function findServer(client: Client, name: string, options: OptionValues): Promise<Server> {
  if (SERVER_ID.test(name)) return client.get('/v1/servers/{id}', { path: { id: name } });
  const query = given({ hostname: name, workspace: text(options, 'workspace') });
  const found = await client.get('/v1/servers', { query });
  const [server, ...others] = found;
  if (server === undefined)
    throw new NotFoundError(`There is no server "${name}". List servers: provisioning server list`);
  if (others.length > 0) {
    const places = found.map(({ id, workspace }) => `${id} in ${workspace}`).join(', ');
    throw new UsageError(`"${name}" is ambiguous: ${places}. Give the id or --workspace.`);
  }
  return server;
}

function power(verb: 'start' | 'stop' | 'restart'): CommandDefinition {
  return {
    name: `server ${verb}`,
    summary: `${verb} a server`,
    examples: [`provisioning server ${verb} web-01`],
    arguments: [SERVER],
    options: [WORKSPACE],
    covers: [`POST /v1/servers/{id}/${verb}`],
    operation: true,
    async run(session, [name = ''], options) {
      const client = await session.client();
      const path = { id: (await findServer(client, name, options)).id };
      await session.operation(await client.post(`/v1/servers/{id}/${verb}`, { path, ...session.idempotency() }));
    },
  };
}

async function create(session: Session, [hostname = '']: string[], options: OptionValues): Promise<void> {
  const client = await session.client();
  const userData = text(options, 'userData');
  const body = {
    workspace: text(options, 'workspace') ?? 'default',
    hostname,
    provider: text(options, 'provider') ?? '',
    plan: text(options, 'plan') ?? '',
    zone: text(options, 'zone') ?? '',
    ...given({
      tags: texts(options, 'tag'),
      image: text(options, 'image'),
      user_data: userData === undefined ? undefined : await readUserData(userData, '--user-data'),
      networks: texts(options, 'network'),
    }),
    ...guardsIn(options),
  };
  const started: Operation = await client.post('/v1/servers/create', { body, ...session.idempotency() });
  await session.operation(started);
}

const resize: CommandDefinition = {
  name: 'server resize',
  summary: 'change the plan or the tags of a server',
  examples: [
    'provisioning server resize web-01 --plan 4xCPU-8GB',
    'provisioning server resize web-01 --tag web --tag blue --check',
  ],
  arguments: [SERVER],
  options: [
    WORKSPACE,
    { flags: '--plan <name>', names: 'plan', description: 'new size; the server is stopped and started again' },
    { flags: '--tag <tag>', description: 'replaces all tags; can be repeated', repeatable: true },
  ],
  covers: ['PATCH /v1/servers/{id}'],
  operation: true,
  async run(session, [name = ''], options) {
    const plan = text(options, 'plan');
    const tags = texts(options, 'tag');
    if (plan === undefined && tags === undefined)
      throw new UsageError('Nothing to change. Give --plan, --tag, or both.');
    const client = await session.client();
    const path = { id: (await findServer(client, name, options)).id };
    const body = given({ plan, tags });
    await session.operation(await client.patch('/v1/servers/{id}', { path, body, ...session.idempotency() }));
  },
};

/** Servers. */
export const serverCommands: readonly CommandDefinition[] = [
  {
    name: 'server create',
    summary: 'create a server and wait until it runs',
    examples: [
      'provisioning server create web-01 --provider upcloud --plan 2xCPU-4GB --zone de-fra1',
      'provisioning server create web-01 --provider docker --plan 1xCPU-1GB --zone local --check',
      'provisioning server create test-01 --provider hetzner --plan cx23 --zone nbg1 --ttl 8h',
    ],
    arguments: [{ name: 'hostname', description: 'hostname of the new server' }],
    options: [
      {
        flags: '-w, --workspace <name>',
        names: 'workspace',
        description: 'workspace of the server',
        default: 'default',
      },
      {
        flags: '--provider <name>',
        names: 'provider',
        description: 'provider that creates it (see: provisioning provider list)',
        required: true,
      },
      {
        flags: '--plan <name>',
        names: 'plan',
        description: 'size: NxCPU-MGB, or a plan name of the provider',
        required: true,
      },
      { flags: '--zone <name>', names: 'zone', description: 'zone at the provider', required: true },
      { flags: '--tag <tag>', description: 'tag to filter by; can be repeated', repeatable: true },
      { flags: '--image <name>', description: 'image to boot from (default: chosen by the provider)' },
      {
        flags: '--user-data <file>',
        description: 'cloud-init user data for the first boot: text, or compressed with gzip',
      },
      {
        flags: '--network <id>',
        description: 'network at the provider; can be repeated',
        repeatable: true,
      },
      ...GUARD_OPTIONS,
    ],
    covers: ['POST /v1/servers/create'],
    operation: true,
    run: create,
  },
  listCommand({
    name: 'server list',
    summary: 'list servers',
    examples: ['provisioning server list', 'provisioning server list --status running --tag web -o json'],
    path: '/v1/servers',
    filters: {
      status: 'only with this status',
      workspace: 'only in this workspace',
      provider: 'only at this provider',
      plan: 'only with this plan',
      zone: 'only in this zone',
      hostname: 'only with this hostname',
      tag: 'only with this tag',
    },
    view: VIEW,
  }),
  {
    name: 'server show',
    summary: 'show one server',
    examples: ['provisioning server show web-01', 'provisioning server show srv-3bj4tuexnfre -o yaml'],
    arguments: [SERVER],
    options: [WORKSPACE],
    covers: ['GET /v1/servers/{id}', 'GET /v1/servers/{id}/status'],
    async run(session, [name = ''], options) {
      session.record(await findServer(await session.client(), name, options), VIEW);
    },
  },
  power('start'),
  power('stop'),
  power('restart'),
  resize,
  ...guardCommands({
    type: 'server',
    example: 'web-01',
    argument: SERVER,
    workspace: WORKSPACE,
    find: findServer,
    patch: (client, id, body, session) =>
      client.patch('/v1/servers/{id}', { path: { id }, body, ...session.idempotency() }),
  }),
  ...careCommands(findServer),
  {
    name: 'server delete',
    summary: 'delete a server and its disks',
    examples: ['provisioning server delete web-01', 'provisioning server delete web-01 --yes --no-wait'],
    arguments: [SERVER],
    options: [
      WORKSPACE,
      { flags: '--force', description: 'delete it even if services are installed on it' },
      { flags: '-y, --yes', description: 'do not ask for confirmation' },
    ],
    covers: ['DELETE /v1/servers/{id}'],
    operation: true,
    async run(session, [name = ''], options) {
      const client = await session.client();
      const server = await findServer(client, name, options);
      await session.confirm(`Delete ${server.hostname} (${server.id}) in ${server.workspace} at ${server.provider}?`);
      const body = { workspace: server.workspace, server_id: server.id, force: options.force === true };
      const path = { id: server.id };
      await session.operation(await client.delete('/v1/servers/{id}', { path, body, ...session.idempotency() }));
    },
  },
];

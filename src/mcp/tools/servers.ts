import { Type } from 'typebox';
import { given } from '../../cli/command.ts';
import { input, keyOf, listTool, many, once, one, optional, soon, type Tool, text, tool } from '../tool.ts';

const id = text('id of the server (srv-…)', 63);
const wanted = {
  workspace: text('the workspace', 63),
  provider: text('see list_providers', 63),
  plan: text('see list_plans', 128),
  zone: text('see list_zones', 128),
  hostname: text('lower-case letters, digits and hyphens'),
  tags: Type.Optional(Type.Array(text('a tag', 63), { maxItems: 50 })),
  image: optional('a neutral name such as debian-12, or the provider’s own id', 255),
  protect: Type.Optional(Type.Boolean({ description: 'protect it from deletion' })),
  ttl: optional('delete it after this time, such as 8h or 14d', 10),
};

/** Servers, and where they can be made. */
export const serverTools: readonly Tool[] = [
  listTool({
    name: 'list_servers',
    title: 'List servers',
    description: 'Servers with their state, address, plan and zone.',
    permission: 'server_read',
    path: '/v1/servers',
    rows: 'servers',
    filters: {
      workspace: 'only of this workspace',
      status: 'only in this state, such as running',
      provider: 'only of this provider',
      hostname: 'only with this hostname',
      tag: 'only with this tag',
    },
  }),
  tool({
    name: 'get_server',
    title: 'Get a server',
    description: 'Returns all details of one server.',
    covers: 'GET /v1/servers/{id}',
    permission: 'server_read',
    effect: { readOnly: true },
    input: input({ id }),
    output: one('server'),
    run: async (client, path) => ({ server: await client.get('/v1/servers/{id}', { path }) }),
  }),
  tool({
    name: 'plan_server',
    title: 'Plan a server',
    description:
      'Shows what create_server would do with these fields and, if the provider publishes prices, what it would cost. Changes nothing.',
    covers: 'POST /v1/servers/create',
    permission: 'server_create',
    effect: { readOnly: true },
    input: input(wanted),
    output: one('operation'),
    async run(client, fields) {
      const started = await client.post('/v1/servers/create', { body: { ...fields, check_mode: true } });
      return { operation: await soon(client, started) };
    },
  }),
  tool({
    name: 'create_server',
    title: 'Create a server',
    description:
      'Creates a server, which may cost money. Call plan_server first to see what would happen. Returns the operation at once; follow it with wait_operation.',
    covers: 'POST /v1/servers/create',
    permission: 'server_create',
    effect: { destructive: false },
    input: input({ ...wanted, ...once }),
    output: one('operation'),
    run: async (client, { idempotency_key, ...body }) => ({
      operation: await client.post('/v1/servers/create', { body, ...keyOf(given({ idempotency_key })) }),
    }),
  }),
  tool({
    name: 'delete_server',
    title: 'Delete a server',
    description: 'Permanently deletes a server and everything on it. Returns the operation.',
    covers: 'DELETE /v1/servers/{id}',
    permission: 'server_delete',
    effect: { destructive: true, idempotent: true },
    input: input({
      id,
      force: Type.Optional(Type.Boolean({ description: 'delete it even if services are installed on it' })),
      ...once,
    }),
    output: one('operation'),
    run: async (client, { id: server, force = false, ...key }) => ({
      operation: await client.delete('/v1/servers/{id}', { path: { id: server }, body: { force }, ...keyOf(key) }),
    }),
  }),
  tool({
    name: 'power_server',
    title: 'Start, stop or restart a server',
    description: 'Stopping or restarting interrupts the services on the server. Returns the operation.',
    covers: 'POST /v1/servers/{id}/restart',
    permission: 'server_update',
    effect: { destructive: true },
    input: input({ id, action: Type.Enum(['start', 'stop', 'restart']), ...once }),
    output: one('operation'),
    async run(client, { id: server, action, ...key }) {
      const request = { path: { id: server }, ...keyOf(key) };
      if (action === 'start') return { operation: await client.post('/v1/servers/{id}/start', request) };
      if (action === 'stop') return { operation: await client.post('/v1/servers/{id}/stop', request) };
      return { operation: await client.post('/v1/servers/{id}/restart', request) };
    },
  }),
  tool({
    name: 'list_providers',
    title: 'List providers',
    description: 'Lists the providers that can create servers.',
    covers: 'GET /v1/providers',
    permission: 'provider_read',
    effect: { readOnly: true },
    input: input({}),
    output: many('providers'),
    run: async (client) => ({ providers: await client.get('/v1/providers') }),
  }),
  tool({
    name: 'list_plans',
    title: 'List plans',
    description: 'Lists the server sizes of a provider, with prices if it publishes them.',
    covers: 'GET /v1/providers/{name}/plans',
    permission: 'provider_read',
    effect: { readOnly: true },
    input: input({ provider: text('see list_providers', 63), workspace: optional('whose account is asked', 63) }),
    output: many('plans'),
    run: async (client, { provider, workspace }) => ({
      plans: await client.get('/v1/providers/{name}/plans', { path: { name: provider }, query: given({ workspace }) }),
    }),
  }),
  tool({
    name: 'list_zones',
    title: 'List zones',
    description: 'Lists the locations of a provider.',
    covers: 'GET /v1/providers/{name}/zones',
    permission: 'provider_read',
    effect: { readOnly: true },
    input: input({ provider: text('see list_providers', 63), workspace: optional('whose account is asked', 63) }),
    output: many('zones'),
    run: async (client, { provider, workspace }) => ({
      zones: await client.get('/v1/providers/{name}/zones', { path: { name: provider }, query: given({ workspace }) }),
    }),
  }),
];

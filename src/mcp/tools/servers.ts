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
  protect: Type.Optional(Type.Boolean({ description: 'refuse whatever would delete it' })),
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
    description: 'One server with all that is known of it.',
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
      'Says what create_server would do with these fields, and what it would cost where the provider tells. Makes nothing.',
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
      'Makes a server, which may cost money; plan_server says beforehand what would happen. Answers at once with the operation: follow it with wait_operation.',
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
    description: 'Deletes a server with everything on it, for good. Answers with the operation.',
    covers: 'DELETE /v1/servers/{id}',
    permission: 'server_delete',
    effect: { destructive: true, idempotent: true },
    input: input({
      id,
      force: Type.Optional(Type.Boolean({ description: 'also when it carries taskservs' })),
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
    description: 'Stopping or restarting interrupts what runs on it. Answers with the operation.',
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
    description: 'The places where servers can be made.',
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
    description: 'Sizes of servers at a provider, with prices where it tells.',
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
    description: 'Places at a provider.',
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

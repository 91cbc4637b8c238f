import { Type } from 'typebox';
import { given } from '../../cli/command.ts';
import { input, keyOf, listTool, many, once, one, optional, soon, type Tool, text, tool } from '../tool.ts';

const wanted = {
  workspace: text('the workspace of the servers', 63),
  name: text('name in the catalog, see list_catalog', 63),
  servers: Type.Array(text('hostname or id of a server'), { minItems: 1, maxItems: 1_000 }),
  config: Type.Optional(
    Type.Record(Type.String(), Type.Unknown(), { description: 'settings of the service, see get_catalog_entry' }),
  ),
};
const id = text('id of the taskserv (tsk-…)', 63);

/** Services on servers, and what can be installed. */
export const taskservTools: readonly Tool[] = [
  listTool({
    name: 'list_taskservs',
    title: 'List taskservs',
    description: 'Services that are installed on servers, with their state.',
    permission: 'taskserv_read',
    path: '/v1/taskservs',
    rows: 'taskservs',
    filters: {
      workspace: 'only of this workspace',
      status: 'only in this state, such as degraded',
      name: 'only of this name',
      hostname: 'only on this server',
    },
  }),
  tool({
    name: 'get_taskserv',
    title: 'Get a taskserv',
    description: 'One taskserv with its configuration and its state on each server. Secrets are not shown.',
    covers: 'GET /v1/taskservs/{id}',
    permission: 'taskserv_read',
    effect: { readOnly: true },
    input: input({ id }),
    output: one('taskserv'),
    run: async (client, path) => ({ taskserv: await client.get('/v1/taskservs/{id}', { path }) }),
  }),
  tool({
    name: 'plan_taskserv',
    title: 'Plan a taskserv',
    description: 'Checks the servers and shows what install_taskserv would do with these fields. Changes nothing.',
    covers: 'POST /v1/taskservs/create',
    permission: 'taskserv_create',
    effect: { readOnly: true },
    input: input(wanted),
    output: one('operation'),
    async run(client, body) {
      const started = await client.post('/v1/taskservs/create', { body: { ...body, check_mode: true } });
      return { operation: await soon(client, started) };
    },
  }),
  tool({
    name: 'install_taskserv',
    title: 'Install or change a taskserv',
    description:
      'Installs a service and the services that it requires. Call it again with another version or config to change the service in place. Returns the operation at once; follow it with wait_operation.',
    covers: 'POST /v1/taskservs/create',
    permission: 'taskserv_create',
    effect: { destructive: true, idempotent: true },
    input: input({ ...wanted, ...once }),
    output: one('operation'),
    run: async (client, { idempotency_key, ...body }) => ({
      operation: await client.post('/v1/taskservs/create', { body, ...keyOf(given({ idempotency_key })) }),
    }),
  }),
  tool({
    name: 'delete_taskserv',
    title: 'Remove a taskserv',
    description: 'Removes a service from all of its servers. Returns the operation.',
    covers: 'DELETE /v1/taskservs/{id}',
    permission: 'taskserv_delete',
    effect: { destructive: true, idempotent: true },
    input: input({
      id,
      force: Type.Optional(Type.Boolean({ description: 'remove it even if another service requires it' })),
      ...once,
    }),
    output: one('operation'),
    run: async (client, { id: taskserv, force = false, ...key }) => ({
      operation: await client.delete('/v1/taskservs/{id}', { path: { id: taskserv }, body: { force }, ...keyOf(key) }),
    }),
  }),
  tool({
    name: 'list_catalog',
    title: 'List the catalog',
    description: 'Services that can be installed.',
    covers: 'GET /v1/catalog/taskservs',
    permission: 'catalog_read',
    effect: { readOnly: true },
    input: input({ workspace: optional('with the workspace’s own definitions', 63) }),
    output: many('entries'),
    async run(client, { workspace }) {
      const all = await client.get('/v1/catalog/taskservs', { query: given({ workspace }) });
      return { entries: all.map(({ name, summary, versions }) => ({ name, summary, versions })) };
    },
  }),
  tool({
    name: 'get_catalog_entry',
    title: 'Get a service of the catalog',
    description: 'One service with its versions, what it requires and the schema of its configuration.',
    covers: 'GET /v1/catalog/taskservs',
    permission: 'catalog_read',
    effect: { readOnly: true },
    input: input({ name: text('name in the catalog', 63), workspace: optional('whose own definitions count', 63) }),
    output: many('entries'),
    run: async (client, query) => ({ entries: await client.get('/v1/catalog/taskservs', { query }) }),
  }),
];

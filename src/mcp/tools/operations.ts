import { Type } from 'typebox';
import { given } from '../../cli/command.ts';
import { input, keyOf, listTool, many, once, one, type Tool, text, tool } from '../tool.ts';

const id = text('id of the operation', 63);
/** Seconds. Clients of assistants give up after a minute. */
const MAX_WAIT = 50;
const MAX_LINES = 200;

/** What goes on, and the workspaces it goes on in. */
export const operationTools: readonly Tool[] = [
  listTool({
    name: 'list_operations',
    title: 'List operations',
    description: 'Lists operations, newest first.',
    permission: 'operation_read',
    path: '/v1/operations',
    rows: 'operations',
    filters: {
      workspace: 'only of this workspace',
      status: 'pending, running, completed, failed or cancelled',
      kind: 'only of this kind, such as server.create',
      resource: 'only of this resource, such as server:srv-…',
      parent_id: 'only parts of this operation or workflow',
    },
  }),
  tool({
    name: 'get_operation',
    title: 'Get an operation',
    description: 'Returns status, progress, and result or error of an operation.',
    covers: 'GET /v1/operations/{id}',
    permission: 'operation_read',
    effect: { readOnly: true },
    input: input({ id }),
    output: one('operation'),
    run: async (client, path) => ({ operation: await client.get('/v1/operations/{id}', { path }) }),
  }),
  tool({
    name: 'wait_operation',
    title: 'Wait for an operation',
    description:
      'Waits until the operation has ended or the timeout has passed, and returns its state. Call it again while the operation is running.',
    covers: 'POST /v1/operations/{id}/wait',
    permission: 'operation_read',
    effect: { readOnly: true },
    input: input({
      id,
      timeout: Type.Optional(Type.Integer({ minimum: 0, maximum: MAX_WAIT, default: 30, description: 'seconds' })),
    }),
    output: one('operation'),
    run: async (client, { id: operation, timeout = 30 }) => ({
      operation: await client.post('/v1/operations/{id}/wait', { path: { id: operation }, query: { timeout } }),
    }),
  }),
  tool({
    name: 'get_operation_logs',
    title: 'Read the log of an operation',
    description: 'Returns status, progress and log lines, numbered by `seq`. `after` continues after a number.',
    covers: 'GET /v1/operations/{id}/events',
    permission: 'operation_read',
    effect: { readOnly: true },
    input: input({
      id,
      after: Type.Optional(Type.Integer({ minimum: 0, maximum: 2_147_483_647, description: 'only greater `seq`' })),
      limit: Type.Optional(Type.Integer({ minimum: 1, maximum: MAX_LINES, default: 100 })),
    }),
    output: many('events'),
    run: async (client, { id: operation, after, limit = 100 }) => ({
      events: await client.get('/v1/operations/{id}/events', {
        path: { id: operation },
        query: { limit, ...given({ after }) },
      }),
    }),
  }),
  tool({
    name: 'cancel_operation',
    title: 'Cancel an operation',
    description: 'Cancels an operation. A follow-up operation, named in the result, cleans up what is half done.',
    covers: 'POST /v1/operations/{id}/cancel',
    permission: 'operation_cancel',
    effect: { destructive: true, idempotent: true },
    input: input({ id, ...once }),
    output: one('operation'),
    run: async (client, { id: operation, ...key }) => ({
      operation: await client.post('/v1/operations/{id}/cancel', { path: { id: operation }, ...keyOf(key) }),
    }),
  }),
  listTool({
    name: 'list_workspaces',
    title: 'List workspaces',
    description: 'Named directories that group servers and their defaults.',
    permission: 'workspace_read',
    path: '/v1/workspaces',
    rows: 'workspaces',
    filters: { name: 'only with this name' },
  }),
  tool({
    name: 'get_workspace',
    title: 'Get a workspace',
    description: 'One workspace.',
    covers: 'GET /v1/workspaces/{name}',
    permission: 'workspace_read',
    effect: { readOnly: true },
    input: input({ name: text('name of the workspace', 63) }),
    output: one('workspace'),
    run: async (client, path) => ({ workspace: await client.get('/v1/workspaces/{name}', { path }) }),
  }),
];

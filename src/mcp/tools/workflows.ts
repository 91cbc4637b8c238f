import { Type } from 'typebox';
import { given } from '../../cli/command.ts';
import { input, keyOf, listTool, many, once, one, optional, type Tool, text, tool } from '../tool.ts';

const wanted = {
  workspace: text('the workspace', 63),
  workflow_type: text('see list_workflow_types', 63),
  parameters: Type.Optional(
    Type.Record(Type.String(), Type.Unknown(), { description: 'by the schema of the type, see get_workflow_type' }),
  ),
};
const id = text('id of the workflow', 63);
const MAX_NODES = 100;

/** Whole clusters: graphs of operations. */
export const workflowTools: readonly Tool[] = [
  listTool({
    name: 'list_workflows',
    title: 'List workflows',
    description: 'Lists workflow runs, newest first.',
    permission: 'workflow_read',
    path: '/v1/workflows',
    rows: 'workflows',
    filters: {
      workspace: 'only of this workspace',
      status: 'pending, running, completed, failed or cancelled',
      workflow_type: 'only of this type',
    },
  }),
  tool({
    name: 'get_workflow',
    title: 'Get a workflow',
    description: 'One run of a workflow: its state, progress and graph.',
    covers: 'GET /v1/workflows/{id}',
    permission: 'workflow_read',
    effect: { readOnly: true },
    input: input({ id }),
    output: one('workflow'),
    run: async (client, path) => ({ workflow: await client.get('/v1/workflows/{id}', { path }) }),
  }),
  tool({
    name: 'list_workflow_steps',
    title: 'List the steps of a workflow',
    description: 'Returns the status of each node of a run, with its operation and error.',
    covers: 'GET /v1/workflows/{id}/steps',
    permission: 'workflow_read',
    effect: { readOnly: true },
    input: input({ id, step: optional('only of this step', 128) }),
    output: many('steps'),
    run: async (client, { id: workflow, step }) => ({
      steps: await client.get('/v1/workflows/{id}/steps', {
        path: { id: workflow },
        query: { limit: MAX_NODES, ...given({ step }) },
      }),
    }),
  }),
  tool({
    name: 'list_workflow_types',
    title: 'List workflow types',
    description: 'Lists the workflow types that submit_workflow can run.',
    covers: 'GET /v1/workflow-types',
    permission: 'workflow_read',
    effect: { readOnly: true },
    input: input({ workspace: optional('with the workspace’s own types', 63) }),
    output: many('types'),
    run: async (client, { workspace }) => ({
      types: await client.get('/v1/workflow-types', { query: given({ workspace }) }),
    }),
  }),
  tool({
    name: 'get_workflow_type',
    title: 'Get a workflow type',
    description: 'One type with its parameters and its definition.',
    covers: 'GET /v1/workflow-types/{name}',
    permission: 'workflow_read',
    effect: { readOnly: true },
    input: input({ name: text('name of the type', 63), workspace: optional('whose own types count', 63) }),
    output: one('type'),
    run: async (client, { name, workspace }) => ({
      type: await client.get('/v1/workflow-types/{name}', { path: { name }, query: given({ workspace }) }),
    }),
  }),
  tool({
    name: 'plan_workflow',
    title: 'Plan a workflow',
    description:
      'Checks the input of submit_workflow and shows the graph that would run. `definition` takes YAML instead of a type. Starts nothing.',
    covers: 'POST /v1/workflows/validate',
    permission: 'workflow_submit',
    effect: { readOnly: true },
    input: input({
      workspace: wanted.workspace,
      workflow_type: Type.Optional(wanted.workflow_type),
      parameters: wanted.parameters,
      definition: optional('YAML of a definition', 262_144),
    }),
    output: one('plan'),
    run: async (client, body) => ({ plan: await client.post('/v1/workflows/validate', { body }) }),
  }),
  tool({
    name: 'submit_workflow',
    title: 'Run a workflow',
    description:
      'Runs a workflow, which may create and delete servers. Call plan_workflow first to see what would run. Returns at once; follow it with wait_operation (the workflow id is also the operation id).',
    covers: 'POST /v1/workflows/submit',
    permission: 'workflow_submit',
    effect: { destructive: true },
    input: input({ ...wanted, ...once }),
    output: one('operation'),
    run: async (client, { idempotency_key, ...body }) => ({
      operation: await client.post('/v1/workflows/submit', { body, ...keyOf(given({ idempotency_key })) }),
    }),
  }),
  tool({
    name: 'cancel_workflow',
    title: 'Cancel a workflow',
    description: 'Cancels a run and cleans up what is half done.',
    covers: 'POST /v1/workflows/{id}/cancel',
    permission: 'workflow_cancel',
    effect: { destructive: true, idempotent: true },
    input: input({ id, ...once }),
    output: one('workflow'),
    run: async (client, { id: workflow, ...key }) => ({
      workflow: await client.post('/v1/workflows/{id}/cancel', { path: { id: workflow }, ...keyOf(key) }),
    }),
  }),
  tool({
    name: 'rollback_workflow',
    title: 'Roll back a workflow',
    description: 'Undoes everything that a run did, such as servers and taskservs. Returns the operation.',
    covers: 'POST /v1/workflows/{id}/rollback',
    permission: 'workflow_cancel',
    effect: { destructive: true },
    input: input({ id, ...once }),
    output: one('operation'),
    run: async (client, { id: workflow, ...key }) => ({
      operation: await client.post('/v1/workflows/{id}/rollback', { path: { id: workflow }, ...keyOf(key) }),
    }),
  }),
];

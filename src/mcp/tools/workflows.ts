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
    description: 'Runs of workflows, the newest first.',
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
    description: 'How each node of a run stands, with its operation and error.',
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
    title: 'List types of workflows',
    description: 'What submit_workflow can run.',
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
    title: 'Get a type of workflow',
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
      'Checks what submit_workflow would be given, and shows the graph that would run. `definition` tries YAML instead of a type. Starts nothing.',
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
      'Runs a workflow, which may make and delete servers; plan_workflow says beforehand what would run. Answers at once: follow it with wait_operation (its id is the operation’s).',
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
    description: 'Stops a run; what it has half made is tidied up.',
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
    title: 'Undo a workflow',
    description: 'Takes away everything that a run has made: servers, taskservs. Answers with the operation.',
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

import type { Schemas } from '../../sdk/client.ts';
import { type CommandDefinition, given, text, texts } from '../command.ts';
import { field } from '../output.ts';
import { listCommand } from './list.ts';
import { namedValues, PARAMETERS, WORKSPACE } from './parameters.ts';
import { cancelCommand, followCommand, showCommand } from './runs.ts';
import { printGraph, validated, workflowGraphCommands } from './workflow-graph.ts';

const VIEW = {
  columns: [
    field('id'),
    field('workflow_type', 'type'),
    field('workspace'),
    field('status'),
    field('progress'),
    field('created_by', 'by'),
    field('created_at', 'created'),
  ],
  name: 'id',
};
const STEPS_VIEW = {
  columns: [
    field('id'),
    field('kind'),
    field('status'),
    field('attempt'),
    field('progress'),
    field('operation_id', 'operation'),
    field('error'),
  ],
  name: 'id',
};
const ID = { name: 'id', description: 'id of the workflow', names: 'workflow' } as const;
const STATUSES = [
  'waiting',
  'running',
  'retrying',
  'completed',
  'failed',
  'cancelled',
  'skipped',
  'not_run',
] as const satisfies readonly Schemas['WorkflowStep']['status'][];
const WORKFLOW = { noun: 'workflow', view: VIEW } as const;

/** Whole clusters. */
export const workflowCommands: readonly CommandDefinition[] = [
  {
    name: 'workflow submit',
    summary: 'run a workflow and wait until it has ended',
    examples: [
      'provisioning workflow submit cluster_create -p cluster_name=blue -p node_count=3',
      'provisioning workflow submit cluster_create -p cluster_name=blue -p node_count=3 --check',
    ],
    arguments: [
      { name: 'type', description: 'workflow type (see: provisioning workflow types)', names: 'workflow-type' },
    ],
    options: [WORKSPACE, PARAMETERS],
    covers: ['POST /v1/workflows/submit'],
    operation: true,
    async run(session, [workflowType = ''], options) {
      const body = {
        workspace: text(options, 'workspace') ?? 'default',
        workflow_type: workflowType,
        parameters: await namedValues('--parameter', texts(options, 'parameter')),
      };
      const client = await session.client();
      const started = await client.post('/v1/workflows/submit', { body, ...session.idempotency() });
      if (options.check !== true) await session.operation(started);
      else printGraph(session, await validated(client, workflowType, options), options);
    },
  },
  ...workflowGraphCommands,
  {
    name: 'workflow types',
    summary: 'list the workflow types',
    examples: ['provisioning workflow types', 'provisioning workflow types cluster_create'],
    arguments: [{ name: 'name', description: 'show the complete definition of this type', optional: true }],
    options: [
      { flags: '-w, --workspace <name>', names: 'workspace', description: 'include the definitions of this workspace' },
    ],
    covers: ['GET /v1/workflow-types', 'GET /v1/workflow-types/{name}'],
    async run(session, [name], options) {
      const client = await session.client();
      const query = given({ workspace: text(options, 'workspace') });
      const view = { columns: [field('name'), field('origin'), field('summary')], name: 'name' };
      if (name === undefined) return session.rows(await client.get('/v1/workflow-types', { query }), view);
      session.record(await client.get('/v1/workflow-types/{name}', { path: { name }, query }), view);
    },
  },
  listCommand({
    name: 'workflow list',
    summary: 'list workflows, newest first',
    examples: ['provisioning workflow list --status running'],
    path: '/v1/workflows',
    filters: {
      status: 'only with this status',
      workspace: 'only in this workspace',
      workflow_type: 'only of this type',
      created_by: 'only submitted by this user',
    },
    view: VIEW,
  }),
  showCommand(WORKFLOW),
  {
    name: 'workflow steps',
    summary: 'show the status of the steps of a workflow',
    examples: [
      'provisioning workflow steps 01a20f95-0b28-7041-8584-a68ad54fc75b',
      'provisioning workflow steps 01a20f95-0b28-7041-8584-a68ad54fc75b --status failed',
    ],
    arguments: [ID],
    options: [
      { flags: '--status <status>', description: 'only nodes with this status', choices: STATUSES },
      { flags: '--step <id>', description: 'only nodes of this step' },
    ],
    covers: ['GET /v1/workflows/{id}/steps'],
    async run(session, [id = ''], options) {
      const status = STATUSES.find((name) => name === options.status);
      const query = given({ status, step: text(options, 'step') });
      session.rows(await (await session.client()).get('/v1/workflows/{id}/steps', { path: { id }, query }), STEPS_VIEW);
    },
  },
  followCommand(
    WORKFLOW,
    'watch',
    'follow a workflow until it has ended',
    'provisioning workflow watch 01a20f95-0b28-7041-8584-a68ad54fc75b',
  ),
  cancelCommand(WORKFLOW, 'cancel a workflow; running steps stop first, nothing is undone'),
  {
    name: 'workflow retry',
    summary: 'run the steps again that failed or never ran',
    examples: ['provisioning workflow retry 01a20f95-0b28-7041-8584-a68ad54fc75b'],
    arguments: [ID],
    covers: ['POST /v1/workflows/{id}/retry'],
    operation: true,
    async run(session, [id = '']) {
      const client = await session.client();
      await session.operation(
        await client.post('/v1/workflows/{id}/retry', { path: { id }, ...session.idempotency() }),
      );
    },
  },
  {
    name: 'workflow rollback',
    summary: 'undo a workflow in reverse order',
    examples: ['provisioning workflow rollback 01a20f95-0b28-7041-8584-a68ad54fc75b --yes'],
    arguments: [ID],
    options: [{ flags: '-y, --yes', description: 'do not ask for confirmation' }],
    covers: ['POST /v1/workflows/{id}/rollback'],
    operation: true,
    async run(session, [id = '']) {
      const client = await session.client();
      const { workflow_type: type, workspace } = await client.get('/v1/workflows/{id}', { path: { id } });
      await session.confirm(`Undo everything that ${type ?? 'the workflow'} did in ${workspace}?`);
      await session.operation(
        await client.post('/v1/workflows/{id}/rollback', { path: { id }, ...session.idempotency() }),
      );
    },
  },
  {
    name: 'workflow approve',
    summary: 'approve or reject a step that waits for approval',
    examples: [
      'provisioning workflow approve 01a20f95-0b28-7041-8584-a68ad54fc75b go-live --comment "seen in staging"',
      'provisioning workflow approve 01a20f95-0b28-7041-8584-a68ad54fc75b go-live --reject',
    ],
    arguments: [ID, { name: 'step', description: 'id of the step' }],
    options: [
      { flags: '--reject', description: 'reject; the step fails' },
      { flags: '--comment <text>', description: 'reason, stored with the decision' },
    ],
    covers: ['POST /v1/workflows/{id}/steps/{step}/approve'],
    async run(session, [id = '', step = ''], options) {
      const body = { approve: options.reject !== true, ...given({ comment: text(options, 'comment') }) };
      const client = await session.client();
      session.record(await client.post('/v1/workflows/{id}/steps/{step}/approve', { path: { id, step }, body }), VIEW);
    },
  },
];

import { type CommandDefinition, given, text, texts } from '../command.ts';
import { UsageError } from '../errors.ts';
import { field } from '../output.ts';
import { listCommand } from './list.ts';
import { namedValues, readText } from './parameters.ts';

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
const ID = { name: 'id', description: 'id of the workflow' };
const PARAMETERS = {
  flags: '-p, --parameter <name=value>',
  description: 'a parameter; may be given several times',
  repeatable: true,
};
const WORKSPACE = { flags: '-w, --workspace <name>', description: 'the workspace', default: 'default' };

/** Whole clusters. */
export const workflowCommands: readonly CommandDefinition[] = [
  {
    name: 'workflow submit',
    summary: 'run a workflow and wait until it has ended',
    examples: ['provisioning workflow submit cluster_create -p cluster_name=blue -p node_count=3'],
    arguments: [{ name: 'type', description: 'type of the workflow (see: provisioning workflow types)' }],
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
      await session.operation(await client.post('/v1/workflows/submit', { body, ...session.idempotency() }));
    },
  },
  {
    name: 'workflow validate',
    summary: 'check a workflow and show in which waves it would run',
    examples: [
      'provisioning workflow validate cluster_create -p cluster_name=blue -p node_count=3',
      'provisioning workflow validate --file my-workflow.yaml',
    ],
    arguments: [{ name: 'type', description: 'type of the workflow', optional: true }],
    options: [WORKSPACE, PARAMETERS, { flags: '--file <file>', description: 'a definition, instead of a type' }],
    covers: ['POST /v1/workflows/validate'],
    output: true,
    async run(session, [workflowType], options) {
      const file = text(options, 'file');
      if ((file === undefined) === (workflowType === undefined)) throw new UsageError('Give either a type or --file.');
      const body = {
        workspace: text(options, 'workspace') ?? 'default',
        parameters: await namedValues('--parameter', texts(options, 'parameter')),
        ...given({
          workflow_type: workflowType,
          definition: file === undefined ? undefined : await readText(file, '--file'),
        }),
      };
      const graph = await (await session.client()).post('/v1/workflows/validate', { body });
      if (text(options, 'output') !== 'table') return session.record(graph, { name: 'workflow_type' });
      const waves = graph.waves.map((wave, index) => `${index + 1}  ${wave.join(', ')}\n`);
      session.terminal.out(waves.join(''));
      session.terminal.out(`critical path: ${graph.critical_path.join(' → ')}\n`);
    },
  },
  {
    name: 'workflow types',
    summary: 'show the types of workflows',
    examples: ['provisioning workflow types', 'provisioning workflow types cluster_create'],
    arguments: [{ name: 'name', description: 'only this one, whole', optional: true }],
    options: [{ flags: '-w, --workspace <name>', description: 'with the definitions of this workspace' }],
    covers: ['GET /v1/workflow-types', 'GET /v1/workflow-types/{name}'],
    output: true,
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
    summary: 'show workflows, the newest first',
    examples: ['provisioning workflow list --status running'],
    path: '/v1/workflows',
    filters: {
      status: 'only in this state',
      workspace: 'only of this workspace',
      workflow_type: 'only of this type',
      created_by: 'only what this user submitted',
      created_after: 'only from this time on (RFC 3339 or a date)',
      created_before: 'only before this time',
    },
    view: VIEW,
  }),
  {
    name: 'workflow show',
    summary: 'show one workflow',
    examples: ['provisioning workflow show 01a20f95-0b28-7041-8584-a68ad54fc75b -o json'],
    arguments: [ID],
    covers: ['GET /v1/workflows/{id}'],
    output: true,
    async run(session, [id = '']) {
      session.record(await (await session.client()).get('/v1/workflows/{id}', { path: { id } }), VIEW);
    },
  },
  {
    name: 'workflow steps',
    summary: 'show how the steps of a workflow stand',
    examples: ['provisioning workflow steps 01a20f95-0b28-7041-8584-a68ad54fc75b'],
    arguments: [ID],
    covers: ['GET /v1/workflows/{id}/steps'],
    output: true,
    async run(session, [id = '']) {
      session.rows(await (await session.client()).get('/v1/workflows/{id}/steps', { path: { id } }), STEPS_VIEW);
    },
  },
  {
    name: 'workflow watch',
    summary: 'follow a workflow until it has ended',
    examples: ['provisioning workflow watch 01a20f95-0b28-7041-8584-a68ad54fc75b'],
    arguments: [ID],
    options: [
      { flags: '--cancel-on-interrupt', description: 'Ctrl-C cancels the workflow instead of leaving it running' },
    ],
    covers: ['GET /v1/operations/{id}'],
    output: true,
    async run(session, [id = '']) {
      await session.operation(await (await session.client()).get('/v1/operations/{id}', { path: { id } }));
    },
  },
  {
    name: 'workflow cancel',
    summary: 'stop a workflow; its steps stop first',
    examples: ['provisioning workflow cancel 01a20f95-0b28-7041-8584-a68ad54fc75b'],
    arguments: [ID],
    covers: ['POST /v1/workflows/{id}/cancel'],
    output: true,
    async run(session, [id = '']) {
      session.record(await (await session.client()).post('/v1/workflows/{id}/cancel', { path: { id } }), VIEW);
    },
  },
  {
    name: 'workflow retry',
    summary: 'run again what failed or never ran',
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
    summary: 'undo what a workflow did, the last first',
    examples: ['provisioning workflow rollback 01a20f95-0b28-7041-8584-a68ad54fc75b --yes'],
    arguments: [ID],
    options: [{ flags: '-y, --yes', description: 'do not ask' }],
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
    summary: 'let a step that waits for approval go on, or refuse it',
    examples: [
      'provisioning workflow approve 01a20f95-0b28-7041-8584-a68ad54fc75b go-live --comment "seen in staging"',
      'provisioning workflow approve 01a20f95-0b28-7041-8584-a68ad54fc75b go-live --reject',
    ],
    arguments: [ID, { name: 'step', description: 'id of the step' }],
    options: [
      { flags: '--reject', description: 'refuse: the step fails' },
      { flags: '--comment <text>', description: 'why; kept with the decision' },
    ],
    covers: ['POST /v1/workflows/{id}/steps/{step}/approve'],
    output: true,
    async run(session, [id = '', step = ''], options) {
      const body = { approve: options.reject !== true, ...given({ comment: text(options, 'comment') }) };
      const client = await session.client();
      session.record(await client.post('/v1/workflows/{id}/steps/{step}/approve', { path: { id, step }, body }), VIEW);
    },
  },
];

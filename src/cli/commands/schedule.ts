import { type CommandDefinition, given, text, texts } from '../command.ts';
import { field } from '../output.ts';
import { listCommand } from './list.ts';
import { namedValues, PARAMETERS, WORKSPACE } from './parameters.ts';

const VIEW = {
  columns: [
    field('id'),
    field('name'),
    field('workflow_type', 'type'),
    field('workspace'),
    field('cron'),
    field('timezone'),
  ],
  name: 'id',
};
const ID = { name: 'id', description: 'id of the schedule' };

/** Workflows by the clock. */
export const scheduleCommands: readonly CommandDefinition[] = [
  {
    name: 'schedule create',
    summary: 'run a workflow at set times',
    examples: ['provisioning schedule create nightly batch --cron "0 3 * * *" --timezone Europe/Berlin'],
    arguments: [
      { name: 'name', description: 'name of the schedule' },
      { name: 'type', description: 'workflow type (see: provisioning workflow types)', names: 'workflow-type' },
    ],
    options: [
      WORKSPACE,
      PARAMETERS,
      { flags: '--cron <times>', description: 'minute, hour, day, month, day of week', required: true },
      { flags: '--timezone <name>', description: 'time zone of the times (default UTC)' },
      {
        flags: '--overlap <policy>',
        description: 'if the previous run has not ended',
        choices: ['skip', 'allow'],
        default: 'skip',
      },
      {
        flags: '--missed <policy>',
        description: 'if no server was running at a scheduled time',
        choices: ['skip', 'run_once'],
        default: 'run_once',
      },
    ],
    covers: ['POST /v1/schedules'],
    async run(session, [name = '', workflowType = ''], options) {
      const body = {
        name,
        workspace: text(options, 'workspace') ?? 'default',
        workflow_type: workflowType,
        parameters: await namedValues('--parameter', texts(options, 'parameter')),
        cron: text(options, 'cron') ?? '',
        overlap: options.overlap === 'allow' ? ('allow' as const) : ('skip' as const),
        missed: options.missed === 'skip' ? ('skip' as const) : ('run_once' as const),
        ...given({ timezone: text(options, 'timezone') }),
      };
      session.record(await (await session.client()).post('/v1/schedules', { body }), VIEW);
    },
  },
  listCommand({
    name: 'schedule list',
    summary: 'list schedules',
    examples: ['provisioning schedule list'],
    path: '/v1/schedules',
    filters: {
      workspace: 'only in this workspace',
      workflow_type: 'only of this type',
      name: 'only with this name',
    },
    view: VIEW,
  }),
  {
    name: 'schedule show',
    summary: 'show one schedule',
    examples: ['provisioning schedule show 01a20f95-0b28-7041-8584-a68ad54fc75b'],
    arguments: [ID],
    covers: ['GET /v1/schedules/{id}'],
    async run(session, [id = '']) {
      session.record(await (await session.client()).get('/v1/schedules/{id}', { path: { id } }), VIEW);
    },
  },
  {
    name: 'schedule delete',
    summary: 'delete a schedule; workflows that it started continue',
    examples: ['provisioning schedule delete 01a20f95-0b28-7041-8584-a68ad54fc75b --yes'],
    arguments: [ID],
    options: [{ flags: '-y, --yes', description: 'do not ask for confirmation' }],
    covers: ['DELETE /v1/schedules/{id}'],
    async run(session, [id = '']) {
      await session.confirm(`Delete schedule ${id}?`);
      await (await session.client()).delete('/v1/schedules/{id}', { path: { id } });
      session.done(`Schedule ${id} deleted.`, { id, deleted: true }, VIEW);
    },
  },
];

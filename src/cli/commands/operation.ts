import { OperationFailedError } from '../../sdk/client.ts';
import { type CommandDefinition, text } from '../command.ts';
import { UsageError } from '../errors.ts';
import { field } from '../output.ts';
import { listCommand } from './list.ts';

const VIEW = {
  columns: [
    field('id'),
    field('kind'),
    field('workspace'),
    field('status'),
    field('progress'),
    field('created_by', 'by'),
    field('created_at', 'created'),
  ],
  name: 'id',
};
const ID = { name: 'id', description: 'id of the operation' };

/** What goes on and what went on. */
export const operationCommands: readonly CommandDefinition[] = [
  listCommand({
    name: 'operation list',
    summary: 'show operations, the newest first',
    examples: [
      'provisioning operation list --status running',
      'provisioning operation list --kind server.create -o name',
    ],
    path: '/v1/operations',
    filters: {
      status: 'pending, running, completed, failed or cancelled',
      workspace: 'only of this workspace',
      kind: 'only of this kind, such as server.create',
      resource: 'only of this resource, such as server:srv-…',
      parent_id: 'only what belongs to this operation',
      created_by: 'only what this user set off',
      created_after: 'only from this time on (RFC 3339 or a date)',
      created_before: 'only before this time',
    },
    view: VIEW,
  }),
  {
    name: 'operation show',
    summary: 'show one operation',
    examples: ['provisioning operation show 01a20f95-0b28-7041-8584-a68ad54fc75b -o json'],
    arguments: [ID],
    covers: ['GET /v1/operations/{id}'],
    output: true,
    async run(session, [id = '']) {
      session.record(await (await session.client()).get('/v1/operations/{id}', { path: { id } }), VIEW);
    },
  },
  {
    name: 'operation logs',
    summary: 'show the events of an operation',
    description:
      'Each line is an event: its number, its time, and what happened. With --output json one JSON text a line.',
    examples: ['provisioning operation logs -f 01a20f95-0b28-7041-8584-a68ad54fc75b'],
    arguments: [ID],
    options: [{ flags: '-f, --follow', description: 'go on until the operation has ended' }],
    covers: ['GET /v1/operations/{id}/events'],
    output: true,
    async run(session, [id = ''], options) {
      const client = await session.client();
      const events =
        options.follow === true
          ? client.follow(id)
          : await client.get('/v1/operations/{id}/events', { path: { id }, query: { limit: 10_000 } });
      for await (const event of events) session.terminal.out(`${lineOf(event, text(options, 'output'))}\n`);
    },
  },
  {
    name: 'operation wait',
    summary: 'wait until an operation has ended',
    description: 'The exit status is 0 when it completed and 1 when it failed or was cancelled.',
    examples: ['provisioning operation wait $(provisioning server stop web-01 --no-wait -o name)'],
    arguments: [ID],
    options: [
      { flags: '--cancel-on-interrupt', description: 'Ctrl-C cancels the operation instead of leaving it running' },
    ],
    covers: ['POST /v1/operations/{id}/wait'],
    output: true,
    async run(session, [id = '']) {
      await session.operation(await (await session.client()).get('/v1/operations/{id}', { path: { id } }));
    },
  },
  {
    name: 'operation cancel',
    summary: 'stop an operation; what is half made is cleaned up',
    examples: ['provisioning operation cancel 01a20f95-0b28-7041-8584-a68ad54fc75b'],
    arguments: [ID],
    covers: ['POST /v1/operations/{id}/cancel'],
    output: true,
    async run(session, [id = '']) {
      const client = await session.client();
      await client.post('/v1/operations/{id}/cancel', { path: { id } });
      const ended = await client.wait(id).catch((error) => {
        if (error instanceof OperationFailedError) return error.operation;
        throw error;
      });
      session.record(ended, VIEW);
      if (ended.status !== 'cancelled') throw new UsageError(`It had ${ended.status} before the cancel reached it.`);
    },
  },
  {
    name: 'events',
    summary: 'show the events of everything you may see',
    examples: ['provisioning events --workspace production'],
    options: [
      { flags: '-w, --workspace <name>', description: 'only of this workspace' },
      { flags: '--after <id>', description: 'only those after the event with this id' },
    ],
    covers: ['GET /v1/events'],
    output: true,
    async run(session, _args, options) {
      const query: Record<string, string> = {};
      for (const name of ['workspace', 'after'])
        if (text(options, name) !== undefined) query[name] = text(options, name) ?? '';
      const events = await (await session.client()).get('/v1/events', { query });
      for (const event of events) session.terminal.out(`${lineOf(event, text(options, 'output'))}\n`);
    },
  },
];

function lineOf(event: object, output: string | undefined): string {
  if (output === 'json') return JSON.stringify(event);
  const { seq, at, type, status, progress, line, host, error } = event as Record<string, unknown>;
  const said =
    type === 'log'
      ? `${host === undefined ? '' : `${String(host)}: `}${String(line)}`
      : (status ?? `${String(progress)} %`);
  return `${String(seq).padStart(4)}  ${String(at)}  ${String(said)}${typeof error === 'string' ? `: ${error}` : ''}`;
}

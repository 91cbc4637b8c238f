/** What happened and happens: the events of one operation, and of all. */
import type { FeedEvent, OperationEvent } from '../../sdk/client.ts';
import { type CommandDefinition, given, text } from '../command.ts';
import { UsageError } from '../errors.ts';
import { lineOf } from '../follow.ts';
import { OUTPUTS, renderRecord } from '../output.ts';
import type { Session } from '../session.ts';

/** Events of one answer; the next ones are asked for behind its last. */
const PAGE = 10_000;
const FOLLOW = { flags: '-f, --follow', description: 'keep showing new events' };

/** `operation logs` and `events`. */
export const eventCommands: readonly CommandDefinition[] = [
  {
    name: 'operation logs',
    summary: 'show the events of an operation',
    description:
      'Each line is an event: its number, its time, and what happened. --output json prints one JSON object per line.',
    examples: [
      'provisioning operation logs -f 01a20f95-0b28-7041-8584-a68ad54fc75b',
      'provisioning operation logs 01a20f95-0b28-7041-8584-a68ad54fc75b --after 120 -o json',
    ],
    arguments: [{ name: 'id', description: 'id of the operation', names: 'operation' }],
    options: [
      { flags: '-f, --follow', description: 'keep showing new events until the operation has ended' },
      { flags: '--after <number>', description: 'only events after this number' },
    ],
    covers: ['GET /v1/operations/{id}/events'],
    async run(session, [id = ''], options) {
      const client = await session.client();
      const first = text(options, 'after') ?? '0';
      if (!/^\d+$/.test(first)) throw new UsageError('--after must be the number of an event, such as 120.');
      let after = Number(first);
      if (options.follow === true) return print(session, client.follow(id, { after }), options.output);
      for (;;) {
        const query = { after, limit: PAGE };
        const events = await client.get('/v1/operations/{id}/events', { path: { id }, query });
        await print(session, events, options.output);
        after = events.at(-1)?.seq ?? after;
        if (events.length < PAGE) return;
      }
    },
  },
  {
    name: 'events',
    summary: 'show the events of all operations that you may see',
    description: 'Without --follow it shows the newest events, or those after --after.',
    examples: [
      'provisioning events --follow --workspace production',
      'provisioning events --kind server.create -o json',
    ],
    options: [
      FOLLOW,
      { flags: '-w, --workspace <name>', names: 'workspace', description: 'only in this workspace' },
      { flags: '--kind <kind>', description: 'only of operations of this kind' },
      { flags: '--after <id>', description: 'only events after the one with this id' },
      { flags: '--limit <number>', description: `maximum number of events, up to ${PAGE} (default 1000)` },
    ],
    covers: ['GET /v1/events'],
    async run(session, _args, options) {
      const client = await session.client();
      const limit = text(options, 'limit');
      if (limit !== undefined && !/^\d+$/.test(limit)) throw new UsageError('--limit must be a number.');
      const query = given({
        workspace: text(options, 'workspace'),
        kind: text(options, 'kind'),
        after: text(options, 'after'),
        limit: limit === undefined ? undefined : Number(limit),
      });
      const events = options.follow === true ? client.feed(query) : await client.get('/v1/events', { query });
      await print(session, events, options.output);
    },
  },
];

async function print(
  { terminal }: Session,
  events: Iterable<OperationEvent | FeedEvent> | AsyncIterable<OperationEvent | FeedEvent>,
  format: unknown,
): Promise<void> {
  const output = OUTPUTS.find((name) => name === format) ?? 'table';
  for await (const event of events) {
    if (output === 'table') terminal.out(`${tableLine(event)}\n`);
    else if (output === 'json') terminal.out(`${JSON.stringify(event)}\n`);
    else if (output === 'yaml') terminal.out(`---\n${renderRecord(event, { name: 'seq' }, output)}`);
    else terminal.out(renderRecord(event, { name: 'id' in event ? 'id' : 'seq' }, output));
    await terminal.drained();
  }
}

function tableLine(event: OperationEvent | FeedEvent): string {
  const { seq, at, type, status, progress, error } = event;
  const whose = 'operation_id' in event ? `${String(event.operation_id)}  ${String(event.kind)}  ` : '';
  const said = type === 'log' ? lineOf(event) : (status ?? `${progress ?? 0} %`);
  return `${whose}${String(seq).padStart(4)}  ${at}  ${said}${error === undefined ? '' : `: ${error}`}`;
}

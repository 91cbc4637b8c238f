import { sql } from 'kysely';
import { Type } from 'typebox';
import { OPERATION_JSON } from '../engine/operation-record.ts';
import { createdFilters } from '../http/created-filters.ts';
import { filter, type ListDefinition } from '../http/list.ts';

const OPERATION_STATUSES = ['pending', 'running', 'completed', 'failed', 'cancelled'] as const;
/** A UUID as Postgres takes it, and nothing else (`format: uuid` lets through what it does not). */
export const UUID = '^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$';

const nullable = (description: string) => Type.Union([Type.String(), Type.Null()], { description });
const time = (description: string) => Type.String({ format: 'date-time', description });

/** What every asynchronous request answers, as OPERATION_JSON makes it: the reference's six fields, then ours. */
export const Operation = Type.Object(
  {
    id: Type.String({ format: 'uuid', examples: ['550e8400-e29b-41d4-a716-446655440000'] }),
    status: Type.Enum(OPERATION_STATUSES),
    created_at: time('When it was accepted.'),
    updated_at: time('When it last changed.'),
    result: Type.Union([Type.Record(Type.String(), Type.Unknown()), Type.Null()], {
      description: 'The result; null until the operation has completed.',
    }),
    error: nullable('Why it failed, in words; null otherwise.'),
    kind: Type.String({ description: 'What it does.', examples: ['server.create'] }),
    title: nullable('What it does, in words. Null: accepted by a version that did not say.'),
    check_mode: Type.Boolean({ description: 'True for a check that changed nothing.' }),
    workspace: Type.String(),
    progress: Type.Integer({ minimum: 0, maximum: 100, description: 'Percentage.' }),
    created_by: Type.String({ description: 'Name of the user who started it.' }),
    parent_id: nullable('The operation or workflow that it is a part of.'),
    resource: nullable('What it changes, such as `server:srv-abc123`: one unfinished operation at a time.'),
    error_code: nullable('Why it failed, for programs.'),
    cancel_requested_at: Type.Union([Type.String({ format: 'date-time' }), Type.Null()], {
      description:
        'When cancellation was requested. The operation can still be running while a provider call is in flight.',
    }),
  },
  { title: 'Operation' },
);

const eventFields = {
  seq: Type.Integer({ minimum: 1, description: 'Numbers the events of one operation, from 1 without gaps.' }),
  at: time('To the millisecond.'),
  type: Type.Enum(['status', 'progress', 'log']),
  status: Type.Optional(Type.Enum(OPERATION_STATUSES)),
  result: Type.Optional(Type.Unknown()),
  error: Type.Optional(Type.String()),
  progress: Type.Optional(Type.Integer({ description: 'Percentage.' })),
  line: Type.Optional(Type.String({ description: 'Of a log.' })),
};

/** An event of one operation. Which further fields there are depends on `type`. */
export const OperationEvent = Type.Object(eventFields, { title: 'OperationEvent', additionalProperties: true });

/** An event in the feed over all operations. */
export const FeedEvent = Type.Object(
  {
    id: Type.String({ description: 'Position in the feed, for `after` and `Last-Event-ID`.' }),
    operation_id: Type.String({ format: 'uuid' }),
    kind: Type.String(),
    workspace: Type.String(),
    ...eventFields,
  },
  { title: 'FeedEvent', additionalProperties: true },
);

export const OperationId = Type.Object(
  { id: Type.String({ minLength: 1, maxLength: 63, description: 'UUID of the operation.' }) },
  { additionalProperties: false },
);

/** Seconds that a long poll lasts at most. */
const MAX_WAIT_SECONDS = 300;

export const WaitQuery = Type.Object(
  {
    timeout: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: MAX_WAIT_SECONDS,
        default: 30,
        description: 'Maximum number of seconds to wait.',
      }),
    ),
  },
  { additionalProperties: false },
);

const limit = Type.Optional(
  Type.Integer({
    minimum: 1,
    maximum: 10_000,
    default: 1_000,
    description: 'Maximum number of events in a JSON answer.',
  }),
);

export const OperationEventsQuery = Type.Object(
  {
    after: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: 2_147_483_647,
        default: 0,
        description: 'Only events with a greater `seq`.',
      }),
    ),
    limit,
  },
  { additionalProperties: false },
);

const word = (maxLength: number) => Type.String({ minLength: 1, maxLength, pattern: '^[^\\u0000]+$' });

/** Whether a list has checks. */
const ChecksWanted = Type.Enum(['false', 'true', 'any'], {
  description: 'Whether to list checks: `false` (default) leaves them out, `true` lists only checks, `any` lists both.',
});

/** GET /v1/events. */
export const FeedQuery = Type.Object(
  {
    after: Type.Optional(
      Type.String({
        maxLength: 80,
        description: 'Only events after the one with this `id`. Absent: the newest events.',
      }),
    ),
    limit,
    workspace: Type.Optional(word(63)),
    kind: Type.Optional(word(128)),
    check_mode: Type.Optional(ChecksWanted),
  },
  { additionalProperties: false },
);

/** The header by which an event stream goes on where it was cut. */
export const LastEventId = Type.Object({
  'last-event-id': Type.Optional(
    Type.String({ maxLength: 80, description: 'The last `id` that was received. It takes precedence over `after`.' }),
  ),
});

/** GET /v1/operations. Every order and the common filters have an index (migrations/0001_initial.ts). */
export const OPERATION_LIST: ListDefinition = {
  table: 'provisioning.operations',
  json: OPERATION_JSON,
  id: 'id',
  idType: 'uuid',
  filters: {
    status: filter<string>(Type.Enum(OPERATION_STATUSES), (value) => sql`status = ${value}`),
    workspace: filter<string>(word(63), (value) => sql`workspace = ${value}`),
    kind: filter<string>(word(128), (value) => sql`kind = ${value}`),
    resource: filter<string>(word(253), (value) => sql`resource = ${value}`),
    parent_id: filter<string>(Type.String({ pattern: UUID }), (value) => sql`parent_id = ${value}::uuid`),
    created_by: filter<string>(word(253), (value) => sql`created_by = ${value}`),
    check_mode: filter<string>(ChecksWanted, (value) =>
      value === 'any' ? sql`true` : sql`check_mode = ${value}::boolean`,
    ),
    ...createdFilters(),
  },
  sorts: { created_at: { column: 'created_at', type: 'timestamptz' } },
  defaultSort: '-created_at',
};

const uuidPattern = new RegExp(UUID);

/** Whether the text is a UUID as Postgres takes it. */
export function isUuid(text: string): boolean {
  return uuidPattern.test(text);
}

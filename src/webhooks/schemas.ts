import { sql } from 'kysely';
import { type Static, Type } from 'typebox';
import { createdFilters } from '../http/created-filters.ts';
import { filter, type ListDefinition } from '../http/list.ts';
import { UUID } from '../operations/schemas.ts';
import { DELIVERY_JSON } from './delivery-store.ts';
import { EVENT_PATTERN } from './events.ts';
import { WEBHOOK_JSON } from './store.ts';

const closed = { additionalProperties: false } as const;
const time = (description: string) => Type.String({ format: 'date-time', description });
const timeOrNull = (description: string) =>
  Type.Union([Type.String({ format: 'date-time' }), Type.Null()], { description });
const textOrNull = (description: string) => Type.Union([Type.String(), Type.Null()], { description });
const word = (maxLength: number) => Type.String({ minLength: 1, maxLength, pattern: '^[^\\u0000]+$' });

const url = Type.String({
  minLength: 1,
  maxLength: 2_048,
  pattern: '^[\\x21-\\x7e]+$',
  description:
    'https, unless `WEBHOOK_ALLOW` allows http. At a public address, unless `WEBHOOK_ALLOW` or `EGRESS_ALLOW` allow others.',
  examples: ['https://example.com/hooks/provisioning'],
});
const events = Type.Array(Type.String({ maxLength: 128, pattern: EVENT_PATTERN }), {
  minItems: 1,
  maxItems: 50,
  uniqueItems: true,
  description:
    'What is told: by status (`operation.completed`, `operation.failed`, `operation.cancelled`, `operation.running`), by kind (`server.create`, `server.*`) or by both (`server.create.failed`).',
  examples: [['operation.failed', 'server.*']],
});
const secret = Type.String({
  minLength: 1,
  maxLength: 100,
  writeOnly: true,
  description: '`whsec_` and 24 to 64 bytes in base64.',
});

export const CreateWebhook = Type.Object(
  {
    url,
    events: Type.Optional(events),
    workspace: Type.Optional(
      Type.Union([word(63), Type.Null()], {
        description:
          'Only operations of this workspace. Null or absent: all workspaces, which needs a role in all of them.',
      }),
    ),
    secret: Type.Optional(secret),
    active: Type.Optional(Type.Boolean({ default: true })),
  },
  closed,
);
export type CreateWebhook = Static<typeof CreateWebhook>;

export const UpdateWebhook = Type.Object(
  {
    url: Type.Optional(url),
    events: Type.Optional(events),
    secret: Type.Optional(secret),
    active: Type.Optional(Type.Boolean()),
  },
  { ...closed, minProperties: 1 },
);
export type UpdateWebhook = Static<typeof UpdateWebhook>;

export const Webhook = Type.Object(
  {
    id: Type.String({ format: 'uuid' }),
    url: Type.String(),
    events: Type.Array(Type.String()),
    workspace: textOrNull('Null: all.'),
    active: Type.Boolean(),
    inactive_reason: textOrNull('Why the server itself has deactivated it.'),
    failing_since: timeOrNull('Since when nothing has arrived; null while it works.'),
    created_by: Type.String(),
    created_at: time('When it was made.'),
    updated_at: time('When it was last changed.'),
  },
  { title: 'Webhook' },
);
export const CreatedWebhook = Type.Object(
  { ...Webhook.properties, secret: Type.String({ description: 'The signing secret. It is shown only once.' }) },
  { title: 'CreatedWebhook' },
);
export const DeletedWebhook = Type.Object({ deleted: Type.Literal(true), ...Webhook.properties });

const DELIVERY_STATUSES = ['pending', 'delivered', 'failed'] as const;
export const Delivery = Type.Object(
  {
    id: Type.String({ format: 'uuid', description: 'Sent as `webhook-id`: the same in every attempt.' }),
    webhook_id: Type.String({ format: 'uuid' }),
    event: Type.String({ examples: ['operation.completed'] }),
    operation_id: textOrNull('What it tells of; null for a test.'),
    status: Type.Enum(DELIVERY_STATUSES),
    attempts: Type.Integer({ minimum: 0 }),
    response_status: Type.Union([Type.Integer(), Type.Null()], {
      description: 'From the response to the last attempt.',
    }),
    response_excerpt: textOrNull("The beginning of the last try's answer."),
    error: textOrNull('What went wrong with the last try.'),
    next_attempt_at: timeOrNull('When it is tried next; null when it has ended.'),
    last_attempt_at: timeOrNull('When it was last tried.'),
    created_at: time('When it was made.'),
    ended_at: timeOrNull('When it was delivered or given up.'),
  },
  { title: 'WebhookDelivery' },
);

const id = Type.String({ minLength: 1, maxLength: 63 });
export const WebhookId = Type.Object({ id }, closed);
export const DeliveryId = Type.Object({ id, delivery: id }, closed);

/** GET /v1/webhooks */
export const WEBHOOK_LIST: ListDefinition = {
  table: 'provisioning.webhooks',
  json: WEBHOOK_JSON,
  id: 'id',
  idType: 'uuid',
  filters: {
    workspace: filter<string>(word(63), (value) => sql`workspace = ${value}`),
    active: filter<boolean>(Type.Boolean(), (value) => sql`active = ${value}`),
    ...createdFilters(),
  },
  sorts: { created_at: { column: 'created_at', type: 'timestamptz' } },
  defaultSort: 'created_at',
};

/** GET /v1/webhooks/{id}/deliveries */
export const DELIVERY_LIST: ListDefinition = {
  table: 'provisioning.webhook_deliveries',
  json: DELIVERY_JSON,
  id: 'id',
  idType: 'uuid',
  filters: {
    status: filter<string>(Type.Enum(DELIVERY_STATUSES), (value) => sql`status = ${value}`),
    event: filter<string>(word(128), (value) => sql`event = ${value}`),
    operation_id: filter<string>(Type.String({ pattern: UUID }), (value) => sql`operation_id = ${value}::uuid`),
    ...createdFilters(),
  },
  sorts: { created_at: { column: 'created_at', type: 'timestamptz' } },
  defaultSort: '-created_at',
};

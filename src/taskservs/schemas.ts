import { sql } from 'kysely';
import { type Static, Type } from 'typebox';
import { createdFilters } from '../http/created-filters.ts';
import { filter, type ListDefinition } from '../http/list.ts';
import { newGuardFields } from '../servers/guards/fields.ts';
import { TASKSERV_JSON } from './store.ts';

/** Servers of one taskserv at most. */
const MAX_SERVERS = 1_000;
const TASKSERV_STATUSES = ['installing', 'running', 'degraded', 'failed', 'removing'] as const;
const HOST_STATUSES = ['pending', 'installing', 'running', 'failed', 'removing', 'unknown', 'absent'] as const;

const text = (maxLength: number) => Type.String({ minLength: 1, maxLength, pattern: '^[^\\u0000]+$' });
const nullable = (description: string) => Type.Union([Type.String(), Type.Null()], { description });
const time = Type.String({ format: 'date-time' });

const Host = Type.Object({
  server: Type.String({ examples: ['web-01'] }),
  server_id: Type.String({ examples: ['srv-abc123'] }),
  role: nullable('Its part in a service across servers, such as "control-plane"; null: it has a service of its own.'),
  status: Type.Enum(HOST_STATUSES),
  version: nullable('What was installed last with success; null: nothing yet.'),
  message: nullable('What went wrong there, or what to know about it.'),
  checked_at: Type.Union([time, Type.Null()], { description: 'When its health was last checked.' }),
});

export const Taskserv = Type.Object(
  {
    id: Type.String({ examples: ['tsk-xyz789'] }),
    name: Type.String({ examples: ['kubernetes'] }),
    version: Type.String({ examples: ['1.28.0'], description: 'The wanted version on every server.' }),
    servers: Type.Array(Type.String(), { examples: [['web-01', 'web-02']] }),
    status: Type.Enum(TASKSERV_STATUSES, {
      description: 'running: healthy on all servers; degraded: on some; failed: on none.',
    }),
    created_at: time,
    updated_at: time,
    workspace: Type.String(),
    config: Type.Record(Type.String(), Type.Unknown(), { description: 'With defaults, without secret values.' }),
    secrets: Type.Array(Type.String(), { description: 'Which fields of the config hold a secret.' }),
    hosts: Type.Array(Host),
    created_by: Type.String(),
    protect: Type.Boolean({ description: 'True if it is protected from removal.' }),
    expires_at: Type.Union([time, Type.Null()], { description: 'When it is deleted automatically. Null: never.' }),
  },
  { title: 'Taskserv' },
);

const wait = Type.Optional(
  Type.Boolean({
    default: true,
    description: 'Wait until other changes on the same servers have ended. False: refuse with 409 instead.',
  }),
);

export const CreateTaskserv = Type.Object(
  {
    workspace: Type.String({ minLength: 1, maxLength: 63 }),
    name: text(63),
    servers: Type.Array(text(253), {
      minItems: 1,
      maxItems: MAX_SERVERS,
      uniqueItems: true,
      description: 'Hostnames or ids of servers of the workspace.',
    }),
    config: Type.Optional(
      Type.Record(Type.String({ maxLength: 128 }), Type.Unknown(), {
        default: {},
        description: '`version`, and what the definition allows (GET /v1/catalog/taskservs).',
      }),
    ),
    check_mode: Type.Optional(Type.Boolean({ default: false, description: 'Only check what would be done.' })),
    wait,
    ...newGuardFields,
  },
  { additionalProperties: false },
);
export type CreateTaskserv = Static<typeof CreateTaskserv>;

const deleteFields = {
  workspace: Type.Optional(Type.String({ maxLength: 63, description: 'Must be the workspace of the taskserv.' })),
  taskserv_id: Type.Optional(Type.String({ maxLength: 63, description: 'Must be the id in the path.' })),
  force: Type.Optional(
    Type.Boolean({ default: false, description: 'Delete it even if another taskserv on the same server requires it.' }),
  ),
  wait,
};
export const DeleteTaskservBody = Type.Union([Type.Object(deleteFields, { additionalProperties: false }), Type.Null()]);
export const DeleteTaskservQuery = Type.Object(deleteFields, { additionalProperties: false });
export type DeleteTaskserv = Static<typeof DeleteTaskservQuery>;

export const RetryTaskservBody = Type.Optional(
  Type.Union([Type.Object({ wait }, { additionalProperties: false }), Type.Null()]),
);

export const TaskservId = Type.Object(
  { id: Type.String({ minLength: 1, maxLength: 63 }) },
  { additionalProperties: false },
);

export const TASKSERV_LIST: ListDefinition = {
  table: 'provisioning.taskservs',
  json: TASKSERV_JSON,
  id: 'id',
  idType: 'text',
  filters: {
    status: filter<string>(Type.Enum(TASKSERV_STATUSES), (value) => sql<boolean>`status = ${value}`),
    workspace: filter<string>(text(63), (value) => sql<boolean>`workspace = ${value}`),
    name: filter<string>(text(63), (value) => sql<boolean>`name = ${value}`),
    hostname: filter<string>(
      text(253),
      (value) => sql<boolean>`id in (
        select h.taskserv_id from provisioning.taskserv_hosts h join provisioning.servers s on s.id = h.server_id
        where s.hostname = ${value})`,
    ),
    ...createdFilters(),
  },
  sorts: {
    created_at: { column: 'created_at', type: 'timestamptz' },
    name: { column: 'name', type: 'text' },
  },
  defaultSort: 'created_at',
};

/** What can be installed, as GET /v1/catalog/taskservs tells it. */
export const CatalogEntry = Type.Object(
  {
    name: Type.String(),
    summary: Type.String(),
    source: Type.Enum(['built-in', 'workspace']),
    versions: Type.Object({
      default: Type.String(),
      supported: Type.Array(Type.String()),
      upgrade: Type.Enum(['any', 'next-minor'], {
        description: 'next-minor: one minor version at a time, and never back.',
      }),
    }),
    requires: Type.Array(Type.Object({ name: Type.String(), type: Type.Enum(['hard', 'soft']) })),
    conflicts: Type.Array(Type.String()),
    platforms: Type.Array(Type.String()),
    config: Type.Record(Type.String(), Type.Unknown(), {
      description: 'JSON Schema of each field; `secret: true` ones are never shown again.',
    }),
    timeouts: Type.Object({
      install: Type.Integer(),
      check: Type.Integer(),
      remove: Type.Integer(),
      admit: Type.Integer(),
      drain: Type.Integer(),
      resume: Type.Integer(),
    }),
    ports: Type.Array(Type.Integer()),
    cluster: Type.Union(
      [
        Type.Object({
          roles: Type.Array(
            Type.Object({
              name: Type.String(),
              count: Type.Union([Type.Integer(), Type.String(), Type.Null()], {
                description: 'Number of servers with the role, or the setting that holds it. Null: all others.',
              }),
              at_once: Type.Union([Type.Integer(), Type.Null()], {
                description: 'How many are changed at the same time. Null: all.',
              }),
            }),
          ),
          leader: Type.Enum(['any', 'fixed']),
          shared_address: Type.Union([Type.String(), Type.Null()], {
            description:
              'Setting that holds the address of the service. While it has its default, the first server cannot leave.',
          }),
          follows_members: Type.Boolean(),
          unless: Type.Array(Type.String(), { description: 'Settings that configure each server separately.' }),
        }),
        Type.Null(),
      ],
      { description: 'How the servers of one taskserv form one service. Null: each server runs its own.' },
    ),
  },
  { title: 'CatalogEntry' },
);

export const CatalogQuery = Type.Object(
  {
    workspace: Type.Optional(
      Type.String({ minLength: 1, maxLength: 63, description: 'Include the definitions of this workspace.' }),
    ),
    name: Type.Optional(text(63)),
  },
  { additionalProperties: false },
);

import { sql } from 'kysely';
import { type Static, Type } from 'typebox';
import { createdFilters } from '../http/created-filters.ts';
import { filter, type ListDefinition } from '../http/list.ts';
import { newGuardFields } from './guards/fields.ts';
import { SERVER_JSON } from './store.ts';

const LABEL = '[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?';

const SERVER_STATUSES = [
  'creating',
  'running',
  'starting',
  'stopping',
  'stopped',
  'restarting',
  'deleting',
  'error',
  'missing',
  'unknown',
] as const;

const driftValue = Type.Union([Type.String(), Type.Array(Type.String()), Type.Null()]);

const Drift = Type.Object(
  {
    field: Type.Enum(['status', 'ip_address', 'plan', 'zone', 'tags']),
    expected: driftValue,
    actual: driftValue,
    since: Type.String({ format: 'date-time', description: 'When the difference was first seen.' }),
  },
  { title: 'Drift' },
);

export const Server = Type.Object(
  {
    id: Type.String({ examples: ['srv-abc123'] }),
    hostname: Type.String({ examples: ['web-01'] }),
    provider: Type.String({ examples: ['upcloud'] }),
    plan: Type.String({ examples: ['2xCPU-4GB'] }),
    zone: Type.String({ examples: ['de-fra1'] }),
    ip_address: Type.Union([Type.String(), Type.Null()], { description: 'Null until the provider has assigned one.' }),
    status: Type.Enum(SERVER_STATUSES),
    created_at: Type.String({ format: 'date-time' }),
    updated_at: Type.String({ format: 'date-time' }),
    workspace: Type.String(),
    tags: Type.Array(Type.String()),
    created_by: Type.String(),
    drift: Type.Array(Drift, {
      description: 'Differences between the recorded state and the provider. Empty: no drift.',
    }),
    observed_at: Type.Union([Type.String({ format: 'date-time' }), Type.Null()], {
      description: 'When it was last compared with its provider.',
    }),
    protect: Type.Boolean({ description: 'True if it is protected from deletion.' }),
    expires_at: Type.Union([Type.String({ format: 'date-time' }), Type.Null()], {
      description: 'When it is deleted automatically. Null: never.',
    }),
  },
  { title: 'Server' },
);

export const CreateServer = Type.Object(
  {
    workspace: Type.String({ minLength: 1, maxLength: 63 }),
    provider: Type.String({ minLength: 1, maxLength: 63 }),
    plan: Type.String({ minLength: 1, maxLength: 128 }),
    hostname: Type.String({
      minLength: 1,
      maxLength: 253,
      pattern: `^${LABEL}(\\.${LABEL})*$`,
      description:
        'Lower-case letters, digits and hyphens; labels of at most 63 characters, parted by dots (RFC 1123).',
    }),
    zone: Type.String({ minLength: 1, maxLength: 128 }),
    check_mode: Type.Optional(Type.Boolean({ default: false, description: 'Only check what would be done.' })),
    tags: Type.Optional(
      Type.Array(
        Type.String({
          ...{ minLength: 1, maxLength: 63, pattern: '^[A-Za-z0-9][A-Za-z0-9._:/=-]*$' },
          description: 'Letters, digits and . _ : / = -, a letter or digit first.',
        }),
        { maxItems: 50, uniqueItems: true, default: [] },
      ),
    ),
    image: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: 255,
        description: "A neutral name (`debian-12`) or the provider's own id. Default: the provider's.",
      }),
    ),
    user_data: Type.Optional(
      Type.String({
        maxLength: 65_535,
        description:
          'For cloud-init: text of any kind that it knows, or in base64 (compressed with gzip, too). Kept encrypted, and shown nowhere here; whoever is logged in on the server can read it there.',
      }),
    ),
    networks: Type.Optional(
      Type.Array(Type.String({ minLength: 1, maxLength: 128 }), {
        maxItems: 8,
        uniqueItems: true,
        description: '`public`, `private`, or network ids of the provider. Default: a public address.',
      }),
    ),
    ...newGuardFields,
  },
  { additionalProperties: false },
);
export type CreateServer = Static<typeof CreateServer>;

const HOST_KEY = Type.String({
  minLength: 1,
  maxLength: 4_096,
  description: 'Its public host key (`ssh-ed25519 AAAA…`). Absent: the key of the first connection is recorded.',
});
const USER = Type.String({
  ...{ minLength: 1, maxLength: 64, pattern: '^[A-Za-z0-9._][A-Za-z0-9._-]*$', default: 'root' },
  description: 'Letters, digits and . _ -, no hyphen first.',
});
const PORT = Type.Integer({ minimum: 1, maximum: 65_535, default: 22 });

export const ImportServer = Type.Object(
  {
    workspace: CreateServer.properties.workspace,
    provider: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: 63,
        description: 'Provider of the servers to adopt. Absent: import a machine over SSH.',
      }),
    ),
    server: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: 253,
        description: 'With `provider`: the id of one server at the provider.',
      }),
    ),
    label: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: 320,
        pattern: '^[^=]+(=.*)?$',
        description: 'With `provider`: all servers with this label, `key=value` or `key`.',
      }),
    ),
    hostname: Type.Optional({
      ...CreateServer.properties.hostname,
      description:
        'Required without `provider`; with `server` what it is to be called. Default: as it is called there.',
    }),
    ip_address: Type.Optional(
      Type.Union([Type.String({ format: 'ipv4' }), Type.String({ format: 'ipv6' })], {
        description: 'Required without `provider`.',
      }),
    ),
    ssh: Type.Optional(
      Type.Object(
        {
          user: Type.Optional(USER),
          port: Type.Optional(PORT),
          host_key: Type.Optional(HOST_KEY),
          jump: Type.Optional(
            Type.Object(
              {
                address: Type.String({ minLength: 1, maxLength: 253, pattern: '^[A-Za-z0-9.:-]+$' }),
                user: Type.Optional(USER),
                port: Type.Optional(PORT),
                host_key: Type.Optional(HOST_KEY),
              },
              { additionalProperties: false, description: 'Jump host. It must accept the same key.' },
            ),
          ),
        },
        {
          additionalProperties: false,
          description: 'The user must be root, or be able to use sudo without a password.',
        },
      ),
    ),
    tags: CreateServer.properties.tags,
    check_mode: CreateServer.properties.check_mode,
  },
  { additionalProperties: false },
);
export type ImportServer = Static<typeof ImportServer>;

export const ForgottenHostKey = Type.Object(
  { server_id: Type.String(), forgotten: Type.Boolean() },
  { additionalProperties: false },
);

export const RefreshServers = Type.Union([
  Type.Object(
    {
      workspace: Type.Optional({ ...CreateServer.properties.workspace, description: 'Default: the active one.' }),
      servers: Type.Optional(
        Type.Array(Type.String({ minLength: 1, maxLength: 253 }), {
          minItems: 1,
          maxItems: 1_000,
          uniqueItems: true,
          description: 'Ids or host names. Default: all of the workspace.',
        }),
      ),
      check_mode: Type.Optional(Type.Boolean({ default: false, description: 'Only check what would be recorded.' })),
    },
    { additionalProperties: false },
  ),
  Type.Null(),
]);
export type RefreshServers = Static<typeof RefreshServers>;

export const RepairServer = Type.Union([
  Type.Object(
    {
      check_mode: Type.Optional(Type.Boolean({ default: false, description: 'Only check what would be done.' })),
      fields: Type.Optional(
        Type.Array(Type.Enum(['status', 'plan', 'zone', 'tags']), {
          minItems: 1,
          uniqueItems: true,
          description: 'Repair only these fields. Default: all differences.',
        }),
      ),
      recreate: Type.Optional(
        Type.Boolean({
          default: false,
          description: 'Create a missing server again from scratch, without its data and with another address.',
        }),
      ),
    },
    { additionalProperties: false },
  ),
  Type.Null(),
]);
export type RepairServer = Static<typeof RepairServer>;

const deleteFields = {
  workspace: Type.Optional(Type.String({ maxLength: 63, description: 'Must be the workspace of the server.' })),
  server_id: Type.Optional(Type.String({ maxLength: 63, description: 'Must be the id in the path.' })),
  force: Type.Optional(
    Type.Boolean({ default: false, description: 'Delete it even if services are installed on it.' }),
  ),
};
export const DeleteServerBody = Type.Union([Type.Object(deleteFields, { additionalProperties: false }), Type.Null()]);
export const DeleteServerQuery = Type.Object(deleteFields, { additionalProperties: false });
export type DeleteServer = Static<typeof DeleteServerQuery>;

export const ServerId = Type.Object(
  { id: Type.String({ minLength: 1, maxLength: 63 }) },
  { additionalProperties: false },
);

const text = (maxLength = 253) => Type.String({ minLength: 1, maxLength });

export const SERVER_LIST: ListDefinition = {
  table: 'provisioning.servers',
  json: SERVER_JSON,
  id: 'id',
  idType: 'text',
  filters: {
    status: filter<string>(Type.Enum(SERVER_STATUSES), (value) => sql<boolean>`status = ${value}`),
    workspace: filter<string>(text(63), (value) => sql<boolean>`workspace = ${value}`),
    provider: filter<string>(text(63), (value) => sql<boolean>`provider = ${value}`),
    plan: filter<string>(text(128), (value) => sql<boolean>`plan = ${value}`),
    zone: filter<string>(text(128), (value) => sql<boolean>`zone = ${value}`),
    hostname: filter<string>(text(), (value) => sql<boolean>`hostname = ${value}`),
    tag: filter<string>(text(63), (value) => sql<boolean>`tags @> array[${value}]::text[]`),
    ...createdFilters(),
  },
  sorts: {
    created_at: { column: 'created_at', type: 'timestamptz' },
    hostname: { column: 'hostname', type: 'text' },
  },
  defaultSort: 'created_at',
};

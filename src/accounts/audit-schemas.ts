import { sql } from 'kysely';
import { Type } from 'typebox';
import { createdFilters } from '../http/created-filters.ts';
import { filter, type ListDefinition } from '../http/list.ts';

const OUTCOMES = ['allowed', 'denied', 'failed'];
const text = (description: string) =>
  Type.String({ minLength: 1, maxLength: 255, pattern: '^[^\\u0000]*$', description });
const orNull = (description?: string) =>
  Type.Union([Type.String(), Type.Null()], description === undefined ? {} : { description });

export const AuditRow = Type.Object(
  {
    id: Type.String({ format: 'uuid' }),
    created_at: Type.String({ format: 'date-time' }),
    principal: Type.String({ description: 'User name, `name (token ci)` for an API token, or `anonymous`.' }),
    action: Type.String({ examples: ['server.create'] }),
    workspace: orNull(),
    resource: orNull(),
    outcome: Type.Enum(OUTCOMES),
    address: orNull('Address the request came from.'),
    request_id: orNull(),
    operation_id: orNull(),
    details: Type.Unknown(),
    position: Type.Union([Type.Integer(), Type.Null()], {
      description: 'Place in the sealed chain; null for the few seconds until it is sealed.',
    }),
  },
  { title: 'AuditRow' },
);

const Hash = Type.String({ pattern: '^[0-9a-f]{64}$' });
const Position = Type.Integer({ minimum: 1, description: 'Place in the sealed chain.' });
const Time = Type.String({ description: 'UTC, to the microsecond.', examples: ['2026-01-01T12:00:00.000000Z'] });
const checkpoint = {
  installation: Type.String({ description: 'Id of the installation.' }),
  number: Type.Integer({ minimum: 1, description: 'Counts without gaps.' }),
  since: Type.Integer({ minimum: 1, description: 'It vouches for the rows from this position on.' }),
  position: Type.Integer({ minimum: 1, description: 'And up to this one.' }),
  hash: Type.Unsafe<string>({ ...Hash, description: 'Of the row at `position`.' }),
  at: Time,
  previous: Type.Union([Hash, Type.Null()], { description: '`mac` of the checkpoint before.' }),
  mac: Type.Unsafe<string>({ ...Hash, description: 'HMAC-SHA-256 under a key that is not in the database.' }),
};

export const AuditCheckpoint = Type.Object(checkpoint, { title: 'AuditCheckpoint' });

const SealedAuditRow = Type.Object(
  {
    kind: Type.Literal('row'),
    position: Position,
    hash: Type.Unsafe<string>({
      ...Hash,
      description: 'SHA-256 of the hash before (32 bytes; none for row 1) and `sealed`.',
    }),
    sealed: Type.String({ description: 'The text that was hashed: a JSON array of the fields below.' }),
    id: Type.String({ format: 'uuid' }),
    at: Time,
    principal: Type.String(),
    action: Type.String(),
    workspace: orNull(),
    resource: orNull(),
    outcome: Type.Enum(OUTCOMES),
    address: orNull(),
    request_id: orNull(),
    operation_id: orNull(),
    details: Type.Unknown(),
  },
  { title: 'SealedAuditRow' },
);

const valid = Type.Boolean({ description: 'Whether the server finds that it was made with its key.' });

export const AuditExportLine = Type.Union([
  SealedAuditRow,
  Type.Object(
    {
      kind: Type.Literal('checkpoint'),
      ...checkpoint,
      valid,
    },
    { title: 'AuditCheckpointLine' },
  ),
  Type.Object(
    {
      kind: Type.Literal('retention'),
      installation: checkpoint.installation,
      through: Type.Integer({ minimum: 1, description: 'The rows up to this position were deleted.' }),
      hash: Type.Unsafe<string>({ ...Hash, description: 'Of the row at `through`.' }),
      at: Time,
      exported_to: Type.String({ description: 'Where they had been exported to.' }),
      mac: checkpoint.mac,
      valid,
    },
    { title: 'AuditRetentionLine' },
  ),
]);

export const AuditExportQuery = Type.Object(
  {
    after: Type.Integer({ default: 0, minimum: 0, description: 'Position behind which the page begins.' }),
    limit: Type.Integer({ default: 500, minimum: 1, maximum: 1_000, description: 'Rows at most.' }),
  },
  { additionalProperties: false },
);

export const AUDIT_LIST: ListDefinition = {
  table: 'provisioning.audit_log',
  json: sql.raw<string>(`json_build_object(
    'id', id, 'created_at', to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), 'principal', principal,
    'action', action, 'workspace', workspace, 'resource', resource, 'outcome', outcome, 'address', address,
    'request_id', request_id, 'operation_id', operation_id, 'details', details, 'position', position)::text`),
  id: 'id',
  idType: 'uuid',
  filters: {
    principal: filter<string>(
      text('A user, with their API tokens; or one `name (token ci)`.'),
      (value) => sql`(principal = ${value} or starts_with(principal, ${`${value} (token `}::text))`,
    ),
    action: filter<string>(text('Such as `server.create`.'), (value) => sql`action = ${value}`),
    workspace: filter<string>(text('Name of a workspace.'), (value) => sql`workspace = ${value}`),
    outcome: filter<string>(Type.Enum(OUTCOMES), (value) => sql`outcome = ${value}`),
    operation_id: filter<string>(Type.String({ format: 'uuid' }), (value) => sql`operation_id = ${value}::uuid`),
    ...createdFilters('at'),
  },
  sorts: { created_at: { column: 'at', type: 'timestamptz' } },
  defaultSort: '-created_at',
};

import { sql } from 'kysely';
import { type Static, Type } from 'typebox';
import { PASSWORD_LENGTH } from '../access/passwords.ts';
import { PERMISSIONS, ROLE_NAMES } from '../access/permissions.ts';
import { USER_JSON } from '../access/store.ts';
import { API_TOKEN_JSON } from '../access/token-store.ts';
import { createdFilters } from '../http/created-filters.ts';
import { filter, type ListDefinition } from '../http/list.ts';

/** What a new user may be called. */
export const USERNAME_PATTERN = '^[a-z0-9][a-z0-9._-]{0,62}$';
const MAX_BINDINGS = 200;
/** Ten years. */
const MAX_TOKEN_SECONDS = 315_360_000;

const time = (description?: string) => Type.String({ format: 'date-time', ...(description ? { description } : {}) });
const orNull = (description: string) =>
  Type.Union([Type.String({ format: 'date-time' }), Type.Null()], { description });
const newPassword = Type.String({ minLength: PASSWORD_LENGTH.min, maxLength: PASSWORD_LENGTH.max });
/** Any text that could be one: what is wrong about it is only said by 401. */
const givenPassword = Type.String({ minLength: 1, maxLength: PASSWORD_LENGTH.max });
/** Text that Postgres can hold. */
const plainText = (maxLength: number) => Type.String({ minLength: 1, maxLength, pattern: '^[^\\u0000]*$' });

export const Login = Type.Object(
  { username: Type.String({ minLength: 1, maxLength: 256, examples: ['admin'] }), password: givenPassword },
  { additionalProperties: false },
);
export type Login = Static<typeof Login>;

export const Refresh = Type.Object(
  { refresh_token: Type.String({ minLength: 1, maxLength: 4_096 }) },
  { additionalProperties: false },
);

export const TokenPair = Type.Object(
  {
    token: Type.String({ description: 'Access token for the Authorization header.', examples: ['eyJhbGc...'] }),
    refresh_token: Type.String({ description: 'Good for one refresh.', examples: ['eyJhbGc...'] }),
    expires_in: Type.Integer({ description: 'Seconds the access token holds.', examples: [86_400] }),
  },
  { title: 'TokenPair' },
);
export type TokenPair = Static<typeof TokenPair>;

export const ChangePassword = Type.Object(
  { current_password: givenPassword, new_password: newPassword },
  { additionalProperties: false },
);
export type ChangePassword = Static<typeof ChangePassword>;

const Binding = Type.Object(
  { role: Type.Enum(ROLE_NAMES), workspace: Type.Union([Type.String(), Type.Null()]) },
  { title: 'RoleBinding' },
);
const RolesInput = Type.Array(
  Type.Object(
    {
      role: Type.Enum(ROLE_NAMES),
      workspace: Type.Optional(
        Type.Union([Type.String({ minLength: 1, maxLength: 63 }), Type.Null()], {
          description: 'Null or absent: in every workspace.',
        }),
      ),
    },
    { additionalProperties: false },
  ),
  { maxItems: MAX_BINDINGS },
);
export type RolesInput = Static<typeof RolesInput>;

export const Me = Type.Object(
  {
    id: Type.String({ format: 'uuid' }),
    username: Type.String(),
    roles: Type.Array(Binding),
    permissions: Type.Array(Type.Enum([...PERMISSIONS]), { description: 'Held in one workspace at least.' }),
    token_id: Type.Union([Type.String({ format: 'uuid' }), Type.Null()], {
      description: 'The API token of this request; null after a login.',
    }),
  },
  { title: 'Caller' },
);

export const User = Type.Object(
  {
    id: Type.String({ format: 'uuid' }),
    username: Type.String(),
    disabled: Type.Boolean(),
    roles: Type.Array(Binding),
    created_at: time(),
    updated_at: time(),
  },
  { title: 'User' },
);
export const DeletedUser = Type.Object({ deleted: Type.Literal(true), ...User.properties });

export const CreateUser = Type.Object(
  {
    username: Type.String({
      pattern: USERNAME_PATTERN,
      description: 'At most 63 lower-case letters, digits and . _ -, a letter or digit first.',
      examples: ['ci.deploy'],
    }),
    password: newPassword,
    roles: Type.Optional(RolesInput),
  },
  { additionalProperties: false },
);
export type CreateUser = Static<typeof CreateUser>;

export const UpdateUser = Type.Object(
  {
    password: Type.Optional(newPassword),
    disabled: Type.Optional(Type.Boolean()),
    roles: Type.Optional(RolesInput),
  },
  { additionalProperties: false, minProperties: 1 },
);
export type UpdateUser = Static<typeof UpdateUser>;

/** Any text: what is no id is unknown (404). */
export const IdParams = Type.Object({ id: Type.String() }, { additionalProperties: false });

export const ApiToken = Type.Object(
  {
    id: Type.String({ format: 'uuid' }),
    name: Type.String(),
    user: Type.String({ description: 'Name of its owner.' }),
    roles: Type.Array(Binding, {
      description: 'Each counts only as far as the owner holds it too, at the moment of use.',
    }),
    created_at: time(),
    expires_at: orNull('Null: never.'),
    last_used_at: orNull('To the minute.'),
    revoked_at: orNull('Set when its owner got a new password.'),
  },
  { title: 'ApiToken' },
);
export const CreatedApiToken = Type.Object({
  ...ApiToken.properties,
  token: Type.String({ description: 'The secret. It is shown this once.', examples: ['prv_…'] }),
});
export const DeletedApiToken = Type.Object({ deleted: Type.Literal(true), ...ApiToken.properties });

export const CreateApiToken = Type.Object(
  {
    name: plainText(100),
    roles: Type.Optional(RolesInput),
    expires_in: Type.Optional(
      Type.Integer({ minimum: 1, maximum: MAX_TOKEN_SECONDS, description: 'Seconds. Absent: it does not expire.' }),
    ),
  },
  { additionalProperties: false },
);
export type CreateApiToken = Static<typeof CreateApiToken>;

const name = { username: { column: 'username', type: 'text' } } as const;
const created = { created_at: { column: 'created_at', type: 'timestamptz' } } as const;

export const USER_LIST: ListDefinition = {
  table: 'provisioning.users',
  json: USER_JSON,
  id: 'id',
  idType: 'uuid',
  filters: {
    username: filter<string>(plainText(256), (value) => sql`username = ${value}`),
    disabled: filter<boolean>(Type.Boolean(), (value) => sql`disabled = ${value}`),
    ...createdFilters(),
  },
  sorts: { ...created, ...name },
  defaultSort: 'created_at',
};

export const API_TOKEN_LIST: ListDefinition = {
  table: 'provisioning.api_tokens',
  json: API_TOKEN_JSON,
  id: 'id',
  idType: 'uuid',
  filters: {
    user: filter<string>(
      Type.String({
        minLength: 1,
        maxLength: 256,
        pattern: '^[^\\u0000]*$',
        description: 'Tokens of this user, `*` for everybody. Others than the caller need `user_read`.',
      }),
      (value) =>
        value === '*' ? sql`true` : sql`user_id = (select u.id from provisioning.users u where u.username = ${value})`,
    ),
    name: filter<string>(plainText(100), (value) => sql`name = ${value}`),
    ...createdFilters(),
  },
  sorts: { ...created, name: { column: 'name', type: 'text' } },
  defaultSort: 'created_at',
};

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
/** A year. */
const MAX_ACCESS_SECONDS = 31_536_000;

const time = (description?: string) => Type.String({ format: 'date-time', ...(description ? { description } : {}) });
const orNull = (description: string) =>
  Type.Union([Type.String({ format: 'date-time' }), Type.Null()], { description });
const newPassword = Type.String({ minLength: PASSWORD_LENGTH.min, maxLength: PASSWORD_LENGTH.max });
/** Any text that could be one: what is wrong about it is only said by 401. */
const givenPassword = Type.String({ minLength: 1, maxLength: PASSWORD_LENGTH.max });
/** Text that Postgres can hold. */
const plainText = (maxLength: number) => Type.String({ minLength: 1, maxLength, pattern: '^[^\\u0000]*$' });

const code = (description: string) => Type.String({ minLength: 6, maxLength: 32, description, examples: ['492039'] });

export const Login = Type.Object(
  {
    username: Type.String({ minLength: 1, maxLength: 256, examples: ['admin'] }),
    password: givenPassword,
    totp: Type.Optional(code('The code that the app shows, or a recovery code. Asked for by 401 `TOTP_REQUIRED`.')),
    expires_in: Type.Optional(
      Type.Integer({
        minimum: 60,
        maximum: MAX_ACCESS_SECONDS,
        description:
          'Seconds that access tokens of this session are to hold; at most, and by default, as the server is set.',
      }),
    ),
  },
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
  {
    current_password: givenPassword,
    new_password: newPassword,
    totp: Type.Optional(code('Where logins ask for one.')),
  },
  { additionalProperties: false },
);
export type ChangePassword = Static<typeof ChangePassword>;

export const TotpState = Type.Object(
  {
    enabled: Type.Boolean({ description: 'Logins ask for a code.' }),
    pending: Type.Boolean({ description: 'A secret waits for its first code.' }),
    required: Type.Boolean({ description: 'The roles of the caller do not count until it is enabled.' }),
    recovery_codes: Type.Integer({ description: 'How many are left.' }),
  },
  { title: 'TotpState' },
);
export type TotpState = Static<typeof TotpState>;

const proofFields = { password: givenPassword, totp: Type.Optional(code('Where logins ask for one.')) };
/** The caller's password, and a code where logins ask for one. */
export const ProofInput = Type.Object(proofFields, { additionalProperties: false });
export type ProofInput = Static<typeof ProofInput>;
export const proof = (description: string) =>
  Type.Optional(
    Type.Object(proofFields, {
      additionalProperties: false,
      description: `The caller's own password, and a code where logins ask for one. Asked for ${description}.`,
    }),
  );

export const TotpEnrolment = Type.Object(
  {
    secret: Type.String({ description: 'In base32, for an app. It is shown this once.' }),
    otpauth_url: Type.String({ description: 'The same as apps read it, for a QR code.' }),
  },
  { title: 'TotpEnrolment' },
);

export const ConfirmTotp = Type.Object({ code: code('That the app shows now.') }, { additionalProperties: false });

export const ConfirmedTotp = Type.Object(
  {
    enabled: Type.Literal(true),
    recovery_codes: Type.Array(Type.String(), {
      description: 'Each is good for one login without the app. They are shown this once.',
    }),
  },
  { title: 'ConfirmedTotp' },
);

const Binding = Type.Object(
  {
    role: Type.Enum(ROLE_NAMES),
    workspace: Type.Union([Type.String(), Type.Null()]),
    permissions: Type.Optional(
      Type.Array(Type.Enum([...PERMISSIONS]), { description: "Of the role's, these alone. Absent: all." }),
    ),
  },
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
    session_id: Type.Union([Type.String({ format: 'uuid' }), Type.Null()], {
      description: 'The session of this request; null with an API token.',
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
    totp_enabled: Type.Boolean({ description: 'Logins ask for a code.' }),
    identity: Type.Union([Type.Object({ issuer: Type.String(), subject: Type.String() }), Type.Null()], {
      description: 'Who they are at an identity provider, which vouches for them. Null: a user of this server alone.',
    }),
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
    proof: proof('where the user is to be an administrator of the installation'),
  },
  { additionalProperties: false },
);
export type CreateUser = Static<typeof CreateUser>;

export const UpdateUser = Type.Object(
  {
    password: Type.Optional(newPassword),
    disabled: Type.Optional(Type.Boolean()),
    roles: Type.Optional(RolesInput),
    proof: proof('for a new password, and where the user becomes an administrator of the installation'),
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
    created_by: Type.Union([Type.String(), Type.Null()], {
      description: 'Who made it: its owner or, for a service account, a user. Null: that user has been deleted.',
    }),
    roles: Type.Array(Binding, {
      description: 'Each counts only as far as the owner holds it too, at the moment of use.',
    }),
    created_at: time(),
    expires_at: orNull('Null: never.'),
    last_used_at: orNull('To the minute.'),
    revoked_at: orNull(
      'Set when its owner got a new password, or the user who made it for a service account could not make it any more.',
    ),
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
    workspaces: Type.Optional(
      Type.Array(Type.String({ minLength: 1, maxLength: 63 }), {
        minItems: 1,
        maxItems: MAX_BINDINGS,
        description: 'Of the roles, only what holds in these.',
      }),
    ),
    permissions: Type.Optional(
      Type.Array(Type.Enum([...PERMISSIONS]), { minItems: 1, description: 'Of the roles, only these.' }),
    ),
    expires_in: Type.Optional(
      Type.Union([Type.Integer({ minimum: 1, maximum: MAX_TOKEN_SECONDS }), Type.Null()], {
        description:
          'Seconds; null: it does not expire. Absent: as the server is set (90 days). The server may be set to allow less.',
      }),
    ),
  },
  { additionalProperties: false },
);
export type CreateApiToken = Static<typeof CreateApiToken>;

const name = { username: { column: 'username', type: 'text' } } as const;
const created = { created_at: { column: 'created_at', type: 'timestamptz' } } as const;

/** Text by which one asks for what belongs to a user. */
export const ofUser = (what: string) =>
  filter<string>(
    Type.String({
      minLength: 1,
      maxLength: 256,
      pattern: '^[^\\u0000]*$',
      description: `${what} of this user, \`*\` for everybody. Others than the caller need \`user_read\`.`,
    }),
    (value) =>
      value === '*' ? sql`true` : sql`user_id = (select u.id from provisioning.users u where u.username = ${value})`,
  );

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
    user: ofUser('Tokens'),
    name: filter<string>(plainText(100), (value) => sql`name = ${value}`),
    ...createdFilters(),
  },
  sorts: { ...created, name: { column: 'name', type: 'text' } },
  defaultSort: 'created_at',
};

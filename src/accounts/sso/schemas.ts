import { type Static, Type } from 'typebox';
import { PERMISSIONS, ROLE_NAMES } from '../../access/permissions.ts';
import { MAX_GROUP_NAME } from '../../access/sso/claims.ts';
import { Login, proof } from '../schemas.ts';

const closed = { additionalProperties: false } as const;
/** A subject token of a CI is some 2 KB. */
const MAX_JWT = 16_384;
const MAX_MAPPINGS = 500;
const MAX_RULES = 100;
const MAX_CLAIMS = 20;
const MAX_PATTERNS = 50;
const printable = (maxLength: number, more: object = {}) =>
  Type.String({ minLength: 1, maxLength, pattern: '^[^\\u0000-\\u001f\\u007f]*$', ...more });
const word = (description: string, maxLength = 128) =>
  Type.String({ minLength: 1, maxLength, pattern: '^[\\x21-\\x7e]*$', description });
const time = Type.String({ format: 'date-time' });

const Name = Type.String({
  pattern: '^[a-z][a-z0-9-]{0,31}$',
  description: 'At most 32 lower-case letters, digits and -, a letter first. Users made by it are called `name:…`.',
  examples: ['keycloak'],
});
export const NameParams = Type.Object({ name: Name }, closed);

const GroupRole = Type.Object(
  {
    group: printable(MAX_GROUP_NAME, { examples: ['platform'] }),
    role: Type.Enum(ROLE_NAMES),
    workspace: Type.Optional(
      Type.Union([Type.String({ minLength: 1, maxLength: 63 }), Type.Null()], {
        description: 'Null or absent: in every workspace.',
      }),
    ),
  },
  { ...closed, title: 'GroupRole' },
);

const Claims = Type.Record(
  Type.String({ minLength: 1, maxLength: 128 }),
  Type.Union([printable(1_024), Type.Array(printable(1_024), { minItems: 1, maxItems: MAX_PATTERNS })]),
  {
    minProperties: 1,
    maxProperties: MAX_CLAIMS,
    description:
      'Each must be there and fit: exactly, or with `*` for any characters but `/` and `:`, and `**` for any at all. Of a list one must fit.',
    examples: [{ sub: 'repo:acme/site:ref:refs/heads/main' }],
  },
);
const ruleFields = {
  name: Name,
  audience: word('That tokens must be for (`aud`).', 256),
  service_account: Type.String({
    minLength: 1,
    maxLength: 127,
    description: 'Whose token jobs get: `name@workspace`.',
    examples: ['deploy@production'],
  }),
};
const permissions = Type.Array(Type.Enum([...PERMISSIONS]), {
  minItems: 1,
  description: "Of the account's, these alone.",
});
const expiresIn = Type.Integer({ minimum: 60, maximum: 3_600, description: 'Seconds that the token holds.' });

const RuleInput = Type.Object(
  {
    ...ruleFields,
    claims: Claims,
    permissions: Type.Optional(Type.Union([permissions, Type.Null()])),
    expires_in: Type.Optional(expiresIn),
  },
  { ...closed, title: 'NewExchangeRule' },
);
export type RuleInput = Static<typeof RuleInput>;

const Rule = Type.Object(
  {
    ...ruleFields,
    claims: Type.Record(Type.String(), Type.Array(Type.String())),
    permissions: Type.Union([permissions, Type.Null()]),
    expires_in: expiresIn,
    stopped: Type.Boolean({
      description: 'Whoever made it is no administrator any more: it lets no job in until somebody sets it anew.',
    }),
  },
  { title: 'ExchangeRule' },
);

const words = (description: string) => Type.Array(word('', 128), { maxItems: 20, description });

const changeable = {
  title: printable(80, { description: 'On the button of the login page.', examples: ['Keycloak'] }),
  enabled: Type.Boolean({ description: 'False: nobody gets in by it, its sessions end, and its users have no roles.' }),
  client_id: Type.Union([word('What the issuer calls this server.', 256), Type.Null()], {
    description: 'Null: nobody logs in by it; jobs alone exchange their tokens.',
  }),
  scopes: Type.Array(word('', 128), {
    minItems: 1,
    maxItems: 20,
    description: 'Asked for at a login; `openid` among them.',
  }),
  groups_claim: word('Where the groups are, in the user info or the ID token; a path has dots.'),
  username_claim: word('What users are called after, when they are made.'),
  recheck_seconds: Type.Integer({
    minimum: 10,
    maximum: 86_400,
    description: 'The issuer is asked about a session in use at least so often: then lost groups and users end.',
  }),
  roles_hold_seconds: Type.Integer({
    minimum: 3_600,
    maximum: 7_776_000,
    description:
      'Without a session that the issuer vouches for, roles (of API tokens, schedules, …) end after so long; after a day, where the issuer has refused.',
  }),
  device_login: Type.Boolean({
    description:
      'Command lines may sign in by a code that is entered on any device. Whoever enters one that somebody sent signs these in.',
  }),
  required_acr: words(
    'The ID token must say one of these (`acr`); they are asked for (`acr_values`). Empty: anything.',
  ),
  required_amr: words('The ID token must say one of these (`amr`), such as `mfa`. Empty: anything.'),
};
const secret = Type.Union([Type.String({ minLength: 1, maxLength: 1_024, writeOnly: true }), Type.Null()], {
  description: 'Kept encrypted, never answered. Null: a client without one.',
});
const groupRoles = Type.Array(GroupRole, { maxItems: MAX_MAPPINGS, description: 'What groups give. Replaces all.' });
const exchange = Type.Array(RuleInput, {
  maxItems: MAX_RULES,
  description: "Which jobs' tokens are taken. Replaces all.",
});

const optional = {
  enabled: Type.Optional(changeable.enabled),
  client_id: Type.Optional(changeable.client_id),
  client_secret: Type.Optional(secret),
  scopes: Type.Optional(changeable.scopes),
  groups_claim: Type.Optional(changeable.groups_claim),
  username_claim: Type.Optional(changeable.username_claim),
  recheck_seconds: Type.Optional(changeable.recheck_seconds),
  roles_hold_seconds: Type.Optional(changeable.roles_hold_seconds),
  device_login: Type.Optional(changeable.device_login),
  required_acr: Type.Optional(changeable.required_acr),
  required_amr: Type.Optional(changeable.required_amr),
  group_roles: Type.Optional(groupRoles),
  exchange: Type.Optional(exchange),
  proof: proof('where it lets anybody in, or groups give the role admin in every workspace'),
};

export const CreateProvider = Type.Object(
  {
    name: Name,
    title: Type.Optional(changeable.title),
    issuer: word('As the issuer writes it (`iss`). It cannot be changed.', 512),
    ...optional,
  },
  closed,
);
export type CreateProvider = Static<typeof CreateProvider>;

export const UpdateProvider = Type.Object(
  { title: Type.Optional(changeable.title), ...optional },
  { ...closed, minProperties: 1 },
);
export type UpdateProvider = Static<typeof UpdateProvider>;

export const IdentityProvider = Type.Object(
  {
    ...{ name: Name, issuer: Type.String(), ...changeable },
    has_client_secret: Type.Boolean(),
    group_roles: Type.Array(
      Type.Object({
        group: Type.String(),
        role: Type.Enum(ROLE_NAMES),
        workspace: Type.Union([Type.String(), Type.Null()]),
      }),
    ),
    exchange: Type.Array(Rule),
    ...{ created_at: time, updated_at: time },
  },
  { title: 'IdentityProvider' },
);
export const DeletedProvider = Type.Object({ deleted: Type.Literal(true), ...IdentityProvider.properties });

export const LoginProvider = Type.Object({ name: Name, title: Type.String() }, { title: 'LoginProvider' });

/** Where the browser is to end. */
export const BeginQuery = Type.Object(
  {
    return_to: Type.Optional(
      Type.String({
        maxLength: 1_024,
        // No address of another host: `//host` and `/\host` are such.
        pattern: '^/([\\x21-\\x2e\\x30-\\x5b\\x5d-\\x7e][\\x21-\\x7e]*)?$',
        description: 'A page of the dashboard.',
      }),
    ),
    port: Type.Optional(
      Type.Integer({ minimum: 1_024, maximum: 65_535, description: 'Where a command line listens on 127.0.0.1.' }),
    ),
    challenge: Type.Optional(
      Type.String({ pattern: '^[A-Za-z0-9_-]{43}$', description: 'SHA-256 of its verifier, in base64url.' }),
    ),
  },
  closed,
);

/** Issuers add fields of their own. */
export const CallbackQuery = Type.Object(
  { state: Type.Optional(Type.String({ maxLength: 256 })) },
  { additionalProperties: Type.String({ maxLength: 8_192 }) },
);

const secretText = (description: string) => Type.String({ pattern: '^[A-Za-z0-9_-]{43}$', description });
const { expires_in: accessSeconds } = Login.properties;

export const TradeTicket = Type.Object(
  {
    ticket: secretText('From the address that the browser came back to. Good once, for a minute.'),
    verifier: Type.Optional(secretText('What `challenge` was the hash of; a browser shows its cookie instead.')),
    expires_in: accessSeconds,
  },
  closed,
);
export const Consent = Type.Object({ consent: secretText('From the page.') }, closed);
export const PollDevice = Type.Object(
  { device: secretText('From the beginning of the sign-in.'), expires_in: accessSeconds },
  closed,
);
export const DeviceSignIn = Type.Object(
  {
    device: Type.String({ description: 'By which to ask whether somebody has signed in.' }),
    user_code: Type.String({ examples: ['WDJB-MJHT'] }),
    verification_uri: Type.String(),
    verification_uri_complete: Type.Union([Type.String(), Type.Null()]),
    expires_in: Type.Integer({ description: 'Seconds.' }),
    interval: Type.Integer({ description: 'Seconds between two looks.' }),
  },
  { title: 'DeviceSignIn' },
);

export const Exchange = Type.Object(
  {
    subject_token: Type.String({ minLength: 1, maxLength: MAX_JWT, description: "The job's token, a JWT." }),
    service_account: Type.Optional(
      Type.String({ maxLength: 127, description: 'Whose token is wanted, where several rules fit.' }),
    ),
  },
  closed,
);
export const ExchangedToken = Type.Object(
  {
    access_token: Type.String({ description: 'An API token of the service account.', examples: ['prv_…'] }),
    issued_token_type: Type.Literal('urn:ietf:params:oauth:token-type:access_token'),
    token_type: Type.Literal('Bearer'),
    expires_in: Type.Integer(),
    service_account: Type.String(),
  },
  { title: 'ExchangedToken' },
);

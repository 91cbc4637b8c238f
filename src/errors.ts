/**
 * The one error that reaches a client, and the catalogue of every code it may carry.
 * Thrown once, rendered once (src/http/error-handler.ts). A plain `Error` is a bug in the server: it becomes a 500
 * that tells the client nothing but its request id.
 */
export class ApplicationError extends Error {
  override readonly name = 'ApplicationError';
  /** One of the codes below, upper snake case. */
  readonly code: string;
  /** HTTP status. */
  readonly status: number;
  /** Which field, what was wrong, what would have been right. */
  readonly details: unknown;
  /** The same request may succeed later. */
  readonly retryable: boolean;
  /** Seconds to wait before trying again; becomes `Retry-After`. */
  readonly retryAfter: number | undefined;
  /** The caller may not do this, whatever they are told: it is a line of the audit log. */
  readonly denied: boolean;

  constructor(
    status: number,
    code: string,
    message: string,
    options: { details?: unknown; retryAfter?: number; denied?: true; cause?: unknown } = {},
  ) {
    super(message, { cause: options.cause });
    this.status = status;
    this.code = code;
    this.details = options.details;
    this.retryAfter = options.retryAfter;
    this.denied = options.denied ?? (status === 401 || status === 403);
    this.retryable = status === 429 || status === 503;
  }
}

/** Which limit was met, in the `details` of an error. */
export interface LimitDetails {
  /** As GET /v1/limits names it. */
  limit: string;
  per: string;
  workspace?: string;
  used: number;
  allowed: number;
  /** How much more the request asks for, where that is not one; null: nobody can tell. */
  wanted?: number | null;
}

/** One wrong field of a request. `field` is a JSON path (`tags[2]`), `near_matches` the closest valid values. */
export interface FieldProblem {
  field: string;
  message: string;
  near_matches?: string[];
}

const make = (status: number, code: string, message: string, details?: unknown) =>
  new ApplicationError(status, code, message, details === undefined ? {} : { details });

export const errors = {
  // 400
  validation: (problems: FieldProblem[]) =>
    make(400, 'VALIDATION_ERROR', problems.map((p) => `${p.field}: ${p.message}`).join('; '), problems),
  authorizationPending: (interval: number) =>
    make(400, 'AUTHORIZATION_PENDING', `Nobody has signed in yet. Ask again in ${interval} s.`, { interval }),
  malformedJson: (message: string) => make(400, 'MALFORMED_JSON', `The request body is not valid JSON: ${message}`),
  badHost: (hosts: number) =>
    make(
      400,
      'BAD_REQUEST',
      `HTTP/1.1 requires exactly one Host header; the request has ${hosts === 0 ? 'none' : hosts}.`,
    ),
  tooDeep: (depth: number) =>
    make(400, 'VALIDATION_ERROR', `Objects and lists in the request body are nested more than ${depth} levels deep.`, [
      { field: 'body', message: `is nested more than ${depth} levels deep` },
    ]),
  /** @param place such as `operations[2].with.hostname`. */
  tooCostly: (place: string, reason: string) =>
    make(
      400,
      'TOO_COSTLY',
      `${place} takes too much work to evaluate: ${reason}. Simplify it: use shorter lists, fewer nested expressions and simpler patterns.`,
      [{ field: place, message: `takes too much work to evaluate: ${reason}` }],
    ),
  // 401
  unauthenticated: (message = 'Send a valid token in the Authorization header: "Authorization: Bearer <token>".') =>
    make(401, 'UNAUTHORIZED', message),
  invalidCredentials: () => make(401, 'INVALID_CREDENTIALS', 'The user name or the password is wrong.'),
  invalidRefreshToken: () =>
    make(401, 'INVALID_REFRESH_TOKEN', 'The refresh token is invalid, expired or already used. Log in again.'),
  totpRequired: () =>
    make(401, 'TOTP_REQUIRED', 'The password is right; a code is asked for besides. Send it as "totp".'),
  invalidTotp: () =>
    make(
      401,
      'INVALID_TOTP',
      'The code is wrong, or was used before. Take the next one that the app shows, or a recovery code.',
    ),
  ssoRefused: () =>
    make(
      401,
      'SSO_REFUSED',
      'The sign-in was not accepted. An administrator finds the reason in the audit log under this request id.',
    ),
  ssoExpired: () =>
    make(
      401,
      'SSO_EXPIRED',
      'This sign-in took too long, was used before or was begun somewhere else. Begin it again.',
    ),
  exchangeRefused: () =>
    make(
      401,
      'EXCHANGE_REFUSED',
      'The token was not accepted. An administrator finds the reason in the audit log under this request id.',
    ),
  // 403
  ssoNoRole: (title: string) =>
    make(
      403,
      'SSO_NO_ROLE',
      `${title} knows you, but none of your groups gives a role here. Ask an administrator, then sign in again.`,
    ),
  secondFactorNeeded: () =>
    make(
      403,
      'TOTP_ENROLMENT_REQUIRED',
      'Administrators of this installation need a second factor. Set it up (POST /v1/auth/totp, "provisioning totp enable"); until then your roles do not count. Where an identity provider vouches for you, it must ask for one (required_amr or required_acr of the provider).',
    ),
  proofRequired: () =>
    make(
      403,
      'PROOF_REQUIRED',
      'A session alone does not do this. Send your own password, and a code where logins ask for one, as "proof".',
    ),
  forbidden: (permission: string, workspace?: string) =>
    make(
      403,
      'FORBIDDEN',
      `This needs the permission "${permission}"${workspace === undefined ? '' : ` in workspace "${workspace}"`}, which you do not have.`,
      { permission, ...(workspace === undefined ? {} : { workspace }) },
    ),
  privilegedConfig: (names: string[], workspace: string) =>
    make(
      403,
      'FORBIDDEN',
      `${names.map((name) => `config.${name}`).join(', ')}: chooses code that runs on the servers. Leave it out, or ask somebody who has the permission "taskserv_privileged" in workspace "${workspace}" to set it.`,
      { permission: 'taskserv_privileged', workspace, fields: names.map((name) => `config.${name}`) },
    ),
  forbiddenStep: (permission: string, workspace: string, place: string) =>
    make(
      403,
      'FORBIDDEN',
      `${place} needs the permission "${permission}" in workspace "${workspace}", which you do not have.`,
      { permission, workspace, place },
    ),
  forbiddenNode: (place: string, reason: string) => make(403, 'FORBIDDEN', `${place}: ${reason}`, { place }),
  ownApproval: (workspace: string) =>
    make(
      403,
      'FORBIDDEN',
      `In workspace "${workspace}" you cannot approve a workflow that you submitted (approvals.by_submitter in workspace.yaml). Ask somebody else.`,
    ),
  notYours: (what: string) =>
    make(
      403,
      'FORBIDDEN',
      `The role "developer" allows this only for resources that you created; ${what} was created by somebody else.`,
    ),
  authorityEnded: (reason: string) => make(403, 'AUTHORITY_ENDED', `Not executed: ${reason}.`),
  foreignOrigin: (origin: string) =>
    make(
      403,
      'FORBIDDEN',
      `Pages of ${origin} may not call this API. To allow them, add the origin to PROVISIONING_CORS_ORIGINS.`,
    ),
  // 404
  notFound: (what: string, id: string) => make(404, 'NOT_FOUND', `There is no ${what} "${id}".`),
  /** There is one, but not for this caller: the answer is the same. */
  hidden: (what: string, id: string) =>
    new ApplicationError(404, 'NOT_FOUND', `There is no ${what} "${id}".`, { denied: true }),
  noCheckpoint: () =>
    make(
      404,
      'NOT_FOUND',
      'The audit log has no checkpoint yet. Rows are sealed every two seconds: try again in a moment.',
    ),
  routeNotFound: (method: string, path: string) => make(404, 'NOT_FOUND', `There is no endpoint ${method} ${path}.`),
  // 405
  methodNotAllowed: (method: string, path: string, allowed: string[]) =>
    make(405, 'METHOD_NOT_ALLOWED', `${path} does not support ${method}. It supports ${allowed.join(', ')}.`, {
      allowed,
    }),
  noProxy: (target: string) =>
    make(405, 'METHOD_NOT_ALLOWED', `This server is not a proxy: it does not open a tunnel to ${target}.`, {
      allowed: [],
    }),
  // 409
  conflict: (message: string, details?: unknown) => make(409, 'CONFLICT', message, details),
  resourceBusy: (resource: string, operationId: string, kind: string) =>
    make(
      409,
      'RESOURCE_BUSY',
      `${resource} is in use by operation ${operationId} (${kind}). Wait until that operation ends, or cancel it.`,
      {
        operation_id: operationId,
        kind,
      },
    ),
  /** @param message of `protectionRefusal`. */
  protected: (message: string, details: unknown) => make(409, 'PROTECTED', message, details),
  operationEnded: (id: string, status: string) =>
    make(409, 'OPERATION_ENDED', `Operation ${id} has already ended (${status}) and cannot be cancelled.`, {
      status,
    }),
  noDeviceLogin: (title: string) =>
    make(
      409,
      'NO_DEVICE_LOGIN',
      `${title} does not offer sign-ins by another device here (device_login). Use a browser.`,
    ),
  idempotencyConflict: () =>
    make(
      409,
      'IDEMPOTENCY_KEY_REUSED',
      'This Idempotency-Key was used before with a different request. Use a new key for a new request.',
    ),
  /** A count is full. */
  limitReached: (message: string, details: LimitDetails) => make(409, 'LIMIT_REACHED', message, details),
  /** @param location of what the request made; null: it made nothing that has one. */
  answerLost: (location: string | null) =>
    make(
      409,
      'CONFLICT',
      `This request was executed before, but its stored answer cannot be decrypted, because the signing key has changed. Check ${location ?? 'the result of the request'}. Use a new Idempotency-Key only if you want to execute it again.`,
    ),
  // 413, 415, 417, 429
  tooLarge: (limit: number) => make(413, 'PAYLOAD_TOO_LARGE', `The request body is larger than ${limit} bytes.`),
  unsupportedMediaType: (type: string | undefined) =>
    make(
      415,
      'UNSUPPORTED_MEDIA_TYPE',
      `Send "Content-Type: application/json"${type === undefined ? '' : ` instead of "${type}"`}.`,
    ),
  unsupportedEncoding: (encoding: string) =>
    make(415, 'UNSUPPORTED_MEDIA_TYPE', `Send the body unencoded, without "Content-Encoding: ${encoding}".`),
  unknownExpectation: (expectation: string) =>
    make(417, 'EXPECTATION_FAILED', `"Expect: ${expectation}" is not supported. Leave it out, or send "100-continue".`),
  rateLimited: (retryAfter: number, details?: LimitDetails) =>
    new ApplicationError(429, 'RATE_LIMITED', `Too many requests. Try again in ${retryAfter} s.`, {
      retryAfter,
      details,
    }),
  tooManyOpen: (code: 'TOO_MANY_STREAMS' | 'TOO_MANY_REQUESTS', what: string, details: LimitDetails) =>
    new ApplicationError(429, code, `More than ${details.allowed} ${what} at once. Close some of them.`, {
      retryAfter: 5,
      details,
    }),
  // 5xx
  internal: () =>
    make(
      500,
      'INTERNAL_ERROR',
      'The server failed to process this request. Search its log for this request id to find the reason.',
    ),
  masterKeyMismatch: () =>
    make(
      503,
      'MASTER_KEY_MISMATCH',
      'The master key of this replica does not match the secrets in the database. Start the replica with the same PROVISIONING_MASTER_KEY (or <data dir>/master.key) as the others.',
    ),
  issuerAway: () =>
    new ApplicationError(
      503,
      'SERVICE_UNAVAILABLE',
      'The identity provider that vouches for this session does not answer. Try again in a moment.',
      { retryAfter: 10 },
    ),
  databaseDisk: (problem: string) =>
    new ApplicationError(
      503,
      'SERVICE_UNAVAILABLE',
      `The database cannot store data: ${problem}. Free space there, then send the same request again.`,
      { retryAfter: 10 },
    ),
  unavailable: (message: string, retryAfter = 2) =>
    new ApplicationError(503, 'SERVICE_UNAVAILABLE', message, { retryAfter }),
} as const;

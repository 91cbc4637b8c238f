import { ProviderError, type ProviderErrorCode } from '../contract.ts';
import type { Engine } from './connection.ts';

/** No answer in time. The next try looks before it acts, so a change that did happen is found. */
export function timedOut(engine: Engine, what: string, timeoutMs: number): ProviderError {
  return new ProviderError(
    'TIMEOUT',
    `The container engine at ${engine.address} did not answer within ${timeoutMs / 1000} s (${what}).`,
    { retryable: true, details: { call: what, engine: engine.address } },
  );
}

/** Whatever dockerode threw, in the contract's words. A ProviderError passes unchanged. */
export function toProviderError(engine: Engine, what: string, error: unknown): ProviderError {
  if (error instanceof ProviderError) return error;
  const { status, systemCode, words, cause } = facts(error);
  const { code, retryable, message } =
    status === undefined ? connectionFailure(engine, systemCode, words) : refusal(engine, what, status, words);
  return new ProviderError(code, message, {
    retryable,
    details: {
      call: what,
      engine: engine.address,
      status,
      system_code: systemCode,
      engine_message: words,
      engine_cause: cause,
    },
    cause: error,
  });
}

interface Verdict {
  code: ProviderErrorCode;
  retryable: boolean;
  message: string;
}

interface Facts {
  /** HTTP status of the answer; undefined when there was none. */
  status: number | undefined;
  /** `ECONNREFUSED` and the like. */
  systemCode: string | undefined;
  /** What the engine said, in its own words. */
  words: string;
  /** Podman's short form of it, the same for every occasion. */
  cause: string | undefined;
}

function facts(error: unknown): Facts {
  const thrown = fields(error);
  const body = fields(thrown.json);
  return {
    status: typeof thrown.statusCode === 'number' ? thrown.statusCode : undefined,
    systemCode: text(thrown.code),
    // Answers read as streams come without a body; dockerode puts the words behind a prefix of its own then.
    words: text(body.message) ?? text(thrown.message)?.replace(/^\(HTTP code \d+\) [\w ]+ - /, '') ?? String(error),
    cause: text(body.cause),
  };
}

function connectionFailure(engine: Engine, systemCode: string | undefined, words: string): Verdict {
  switch (systemCode) {
    case 'EACCES':
    case 'EPERM':
      return {
        code: 'FORBIDDEN',
        retryable: false,
        message: `This server may not use the container engine at ${engine.address} (permission denied). Run it as a user who may, for Docker a member of the group "docker".`,
      };
    case 'ENOENT':
    case 'ECONNREFUSED':
      return {
        code: 'UNAVAILABLE',
        retryable: true,
        message: `No container engine answers at ${engine.address}. Start Docker or Podman, or set PROVISIONING_DOCKER_HOST to where it listens.`,
      };
    default:
      return isCertificateProblem(systemCode)
        ? {
            code: 'AUTHENTICATION_FAILED',
            retryable: false,
            message: `The container engine at ${engine.address} and this server do not trust each other's certificates (${words}).`,
          }
        : {
            code: 'UNAVAILABLE',
            retryable: true,
            message: `The connection to the container engine at ${engine.address} failed (${words}).`,
          };
  }
}

function isCertificateProblem(systemCode: string | undefined): boolean {
  return systemCode !== undefined && /CERT|SELF_SIGNED|UNABLE_TO_VERIFY|ERR_TLS|ERR_SSL/.test(systemCode);
}

function refusal(engine: Engine, what: string, status: number, words: string): Verdict {
  const said = `The container engine at ${engine.address} refused to ${what}`;
  // What went wrong inside the engine decides before the status does: Podman answers 500 for nearly everything.
  if (/no space left on device|disk quota exceeded/i.test(words)) {
    return {
      code: 'CAPACITY_EXHAUSTED',
      retryable: false,
      message: `${said}: its disk is full (${words}). Make room on it.`,
    };
  }
  if (/could not find an available|no free ip|pool.*exhausted|no available.*(address|subnet)/i.test(words)) {
    return {
      code: 'CAPACITY_EXHAUSTED',
      retryable: false,
      message: `${said}: it has no free address left (${words}).`,
    };
  }
  if (/cgroup|cfs|nanocpus|memory limit/i.test(words)) {
    return {
      code: 'FAILED',
      retryable: false,
      message: `${said}: it cannot hold a container to the plan's processors and memory (${words}). Run the engine as root or with cgroups v2, which allow such limits.`,
    };
  }
  if (status === 409 || isConflict(words)) return { code: 'CONFLICT', retryable: true, message: `${said}: ${words}` };
  const [code, retryable] =
    BY_STATUS.get(status) ?? (status >= 500 ? ['FAILED', !isPermanent(words)] : ['INVALID_REQUEST', false]);
  return { code, retryable, message: `${said}: ${words}` };
}

const BY_STATUS = new Map<number, [ProviderErrorCode, boolean]>([
  [401, ['AUTHENTICATION_FAILED', false]],
  [403, ['FORBIDDEN', false]],
  [404, ['NOT_FOUND', false]],
  [408, ['TIMEOUT', true]],
  [429, ['RATE_LIMITED', true]],
  [502, ['UNAVAILABLE', true]],
  [503, ['UNAVAILABLE', true]],
  [504, ['TIMEOUT', true]],
]);

/** Podman 4 answers 500 where Docker answers 409: these are the causes it gives then. */
function isConflict(words: string): boolean {
  return /that name is already in use|container state improper|container has already been removed|already exists/i.test(
    words,
  );
}

/** The image or the machine is at fault, and will be at the next try too. */
function isPermanent(words: string): boolean {
  return /oci runtime|executable file not found|netavark: no such file|invalid reference format/i.test(words);
}

function fields(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? { ...value, message: Reflect.get(value, 'message') } : {};
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value.trim() : undefined;
}

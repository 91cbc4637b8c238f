/**
 * Settings: the only reader of the environment. Each has an environment name (`PROVISIONING_…`) and the same name in
 * lower case without the prefix in the TOML file given by `--config`; the environment wins over the file, a command
 * line flag over both.
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { parse } from 'smol-toml';
import { type AuditDestination, readAuditDestination } from './access/audit-destination.ts';
import { defaultThreads } from './evaluation/pool.ts';
import { LIMIT_SETTING_NAMES, type LimitSettings, readLimitSettings } from './limits/catalogue.ts';
import { type AllowedNetwork, type EgressSettings, readAllowedNetwork } from './outbound/egress.ts';
import { isWide } from './outbound/wide-network.ts';
import { CLOUD_SETTING_NAMES, type CloudSettings, readCloudSettings } from './providers/cloud-settings.ts';
import { parseFaults, type SimulatedFaults } from './providers/simulated/faults.ts';

type Role = 'all' | 'api' | 'worker';
type LogFormat = 'json' | 'pretty';

export interface Config {
  role: Role;
  /** Address the API listens on. */
  host: string;
  port: number;
  /** The server's own TLS; null: none, or a proxy's in front. Paths are absolute. */
  tls: {
    certificateFile: string;
    keyFile: string;
    /** Whose clients are let in. */
    clientCaFile: string | null;
    clientCertificates: 'none' | 'optional' | 'required';
    minVersion: 'TLSv1.2' | 'TLSv1.3';
  } | null;
  /** An external Postgres; null: the embedded one. */
  databaseUrl: string | null;
  /** Absolute path: embedded database, generated files, workspaces. */
  dataDir: string;
  /** Connections for requests and procedures together. */
  poolSize: number;
  /** Password of `admin` at the first start; null: generated and printed once. */
  adminPassword: string | null;
  /** At least 32 bytes; null: generated once and kept in the database. */
  jwtSecret: string | null;
  /** What the secrets in the database are encrypted under; null: generated once and kept in the data directory. */
  masterKey: string | null;
  /** Previous master keys: at the start, what is still encrypted with one of them is encrypted with the current one. */
  previousMasterKeys: string[];
  /** Seconds. */
  tokenTtl: number;
  /** Seconds. */
  refreshTtl: number;
  /** Seconds after which a session ends however often it is renewed. */
  sessionTtl: number;
  /** Seconds that an API token holds where nobody says otherwise. */
  apiTokenTtl: number;
  /** Seconds that an API token may hold; 0: as long as they like, also for ever. */
  apiTokenMaxTtl: number;
  /** Characters of a new password at least. */
  passwordMinLength: number;
  /** Whether administrators have no roles until they have set up a second factor. */
  adminTotp: boolean;
  /** Absolute directories in which workspaces may lie. */
  workspaceRoots: string[];
  /** Requests a minute for a principal; 0: no limit. */
  rateLimit: number;
  /** Requests a minute from an address, before anybody is authenticated; 0: no limit. */
  addressRateLimit: number;
  /** Login tries a minute for an address; 0: no limit. */
  loginRateLimit: number;
  /** Failed login tries in 15 minutes for a user name, from addresses where its user has not logged in; 0: no limit. */
  accountLoginLimit: number;
  /** Bytes of a request body at most. */
  bodyLimit: number;
  /** What users, workspaces and the installation may use at most. */
  limits: LimitSettings;
  /** Procedures at once in this process, for each provider; on hosts, of each user. */
  workerConcurrency: number;
  /** Servers that one operation works on at once. */
  hostsAtOnce: number;
  /** Threads that evaluate what users wrote: expressions, schemas, definitions. */
  evaluationThreads: number;
  /** Seconds between two looks at a taskserv's health on a server; 0: none but on demand. */
  healthCheckInterval: number;
  /** Seconds between two looks at everything in an account at a provider; 0: none but on demand. */
  sweepInterval: number;
  /** Seconds after which an orphaned server is deleted; 0: never. */
  orphanDeleteAfter: number;
  /** Seconds before an expiry at which it is announced, the longest first. */
  expiryWarnings: number[];
  /** Where users may have the server connect to, besides public addresses. */
  egress: EgressSettings;
  /** Whether webhooks may go without TLS. */
  webhookHttp: boolean;
  /** Where the audit log is exported to; null: nowhere. */
  auditExport: AuditDestination | null;
  /** Days that rows of the audit log are kept once they are exported; 0: for ever. */
  auditRetentionDays: number;
  /** Days that ended operations are kept. */
  retentionDays: number;
  /** Seconds from SIGTERM to the moment at which no more connections are taken. `/health/ready` answers 503 meanwhile. */
  shutdownDelay: number;
  logLevel: string;
  logFormat: LogFormat;
  /** Where browsers reach the server, without a slash at the end; null: as each request says. */
  publicUrl: string | null;
  /** Origins that browsers may call from (`*` for any); empty: none. */
  corsOrigins: string[];
  /** Whose `X-Forwarded-For` is believed: of so many proxies in front, or of those at these addresses. */
  trustProxy: false | number | string[];
  docker: { host: string | null; candidates: string[]; image: string; sudo: boolean };
  simulated: { latencyMs: number; faults: SimulatedFaults };
  clouds: CloudSettings;
  /** Enabled providers; null: every one whose settings are complete. */
  providers: string[] | null;
  defaults: { provider: string; plan: string; zone: string };
}

/** A setting that cannot be used, told to the person who set it. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
}

type Values = (name: string) => string | undefined;

const NAMES = [
  'ROLE',
  'HOST',
  'PORT',
  'TLS_CERT_FILE',
  'TLS_KEY_FILE',
  'TLS_MIN_VERSION',
  'TLS_CLIENT_CA_FILE',
  'TLS_CLIENT_CERTS',
  'DATABASE_URL',
  'DATA_DIR',
  'POOL_SIZE',
  'ADMIN_PASSWORD',
  'JWT_SECRET',
  'MASTER_KEY',
  'MASTER_KEY_PREVIOUS',
  'TOKEN_TTL',
  'REFRESH_TTL',
  'SESSION_TTL',
  'API_TOKEN_TTL',
  'API_TOKEN_MAX_TTL',
  'PASSWORD_MIN_LENGTH',
  'ADMIN_TOTP',
  'WORKSPACE_ROOTS',
  'RATE_LIMIT',
  'ADDRESS_RATE_LIMIT',
  'LOGIN_RATE_LIMIT',
  'ACCOUNT_LOGIN_LIMIT',
  'BODY_LIMIT',
  ...LIMIT_SETTING_NAMES,
  'WORKER_CONCURRENCY',
  'HOSTS_AT_ONCE',
  'EVALUATION_THREADS',
  'HEALTH_CHECK_INTERVAL',
  'SWEEP_INTERVAL',
  'ORPHAN_DELETE_AFTER',
  'EXPIRY_WARNINGS',
  'EGRESS_ALLOW',
  'LOCAL_CHECKS',
  'WEBHOOK_ALLOW',
  'AUDIT_EXPORT',
  'AUDIT_EXPORT_TOKEN',
  'AUDIT_RETENTION_DAYS',
  'RETENTION_DAYS',
  'SHUTDOWN_DELAY',
  'LOG_LEVEL',
  'LOG_FORMAT',
  'PUBLIC_URL',
  'CORS_ORIGINS',
  'TRUST_PROXY',
  'DOCKER_HOST',
  'DOCKER_IMAGE',
  'DOCKER_SUDO',
  ...CLOUD_SETTING_NAMES,
  'SIMULATED_LATENCY_MS',
  'SIMULATED_FAULTS',
  'PROVIDERS',
  'DEFAULT_PROVIDER',
  'DEFAULT_PLAN',
  'DEFAULT_ZONE',
];
/** A whole team may stand behind one address; few of its members are ever near their own limit. */
const USERS_AT_AN_ADDRESS = 10;
const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'];

/**
 * @param flags command-line flags by setting name (`HOST`, `PORT`, …).
 * @throws ConfigError naming the setting, its value and what would be right.
 */
export function loadConfig(flags: Record<string, string | undefined> = {}, configFile?: string): Config {
  const file = configFile === undefined ? {} : readConfigFile(configFile);
  const value: Values = (name) => flags[name] ?? process.env[`PROVISIONING_${name}`] ?? file[name.toLowerCase()];
  const dataDir = path.resolve(value('DATA_DIR') ?? '.provisioning');
  const jwtSecret = value('JWT_SECRET') ?? null;
  if (jwtSecret !== null && Buffer.byteLength(jwtSecret) < 32) {
    throw new ConfigError('PROVISIONING_JWT_SECRET must be at least 32 bytes. Make one with: openssl rand -base64 32');
  }
  const adminPassword = value('ADMIN_PASSWORD') ?? null;
  if (adminPassword !== null && (adminPassword.length < 8 || adminPassword.length > 1024)) {
    throw new ConfigError('PROVISIONING_ADMIN_PASSWORD must have 8 to 1024 characters.');
  }
  const rateLimit = integer(value, 'RATE_LIMIT', 6_000, 0, 10_000_000);
  return {
    role: oneOf(value, 'ROLE', ['all', 'api', 'worker'] as const, 'all'),
    host: value('HOST') ?? '127.0.0.1',
    port: integer(value, 'PORT', 8083, 0, 65_535),
    tls: tlsSettings(value),
    databaseUrl: databaseUrl(value('DATABASE_URL')),
    dataDir,
    poolSize: integer(value, 'POOL_SIZE', 20, 4, 500),
    adminPassword,
    jwtSecret,
    masterKey: masterKeys(value('MASTER_KEY'), 'MASTER_KEY')[0] ?? null,
    previousMasterKeys: masterKeys(value('MASTER_KEY_PREVIOUS'), 'MASTER_KEY_PREVIOUS'),
    tokenTtl: integer(value, 'TOKEN_TTL', 86_400, 1, 31_536_000),
    refreshTtl: integer(value, 'REFRESH_TTL', 604_800, 1, 31_536_000),
    sessionTtl: integer(value, 'SESSION_TTL', 2_592_000, 1, 31_536_000),
    apiTokenTtl: integer(value, 'API_TOKEN_TTL', 7_776_000, 1, 315_360_000),
    apiTokenMaxTtl: integer(value, 'API_TOKEN_MAX_TTL', 31_536_000, 0, 315_360_000),
    passwordMinLength: integer(value, 'PASSWORD_MIN_LENGTH', 12, 8, 128),
    adminTotp: oneOf(value, 'ADMIN_TOTP', ['true', 'false'], 'false') === 'true',
    workspaceRoots: (value('WORKSPACE_ROOTS') ?? `${path.join(dataDir, 'workspaces')}:/opt/workspaces`)
      .split(':')
      .filter((root) => root !== '')
      .map((root) => path.resolve(root)),
    rateLimit,
    addressRateLimit: integer(value, 'ADDRESS_RATE_LIMIT', USERS_AT_AN_ADDRESS * rateLimit, 0, 100_000_000),
    loginRateLimit: integer(value, 'LOGIN_RATE_LIMIT', 10, 0, 1_000_000),
    accountLoginLimit: integer(value, 'ACCOUNT_LOGIN_LIMIT', 20, 0, 1_000_000),
    bodyLimit: integer(value, 'BODY_LIMIT', 1_048_576, 1_024, 104_857_600),
    limits: readLimitSettings((name, fallback, min, max) => integer(value, name, fallback, min, max)),
    workerConcurrency: integer(value, 'WORKER_CONCURRENCY', 100, 1, 100_000),
    hostsAtOnce: integer(value, 'HOSTS_AT_ONCE', 20, 1, 1_000),
    evaluationThreads: integer(value, 'EVALUATION_THREADS', defaultThreads(), 1, 64),
    ...egressSettings(value),
    healthCheckInterval: integer(value, 'HEALTH_CHECK_INTERVAL', 60, 0, 86_400),
    sweepInterval: integer(value, 'SWEEP_INTERVAL', 300, 0, 86_400),
    orphanDeleteAfter: integer(value, 'ORPHAN_DELETE_AFTER', 0, 0, 31_536_000),
    expiryWarnings: expiryWarnings(value('EXPIRY_WARNINGS') ?? '86400,3600'),
    ...auditSettings(value),
    retentionDays: integer(value, 'RETENTION_DAYS', 90, 1, 36_500),
    shutdownDelay: integer(value, 'SHUTDOWN_DELAY', 0, 0, 3_600),
    logLevel: oneOf(value, 'LOG_LEVEL', LOG_LEVELS, 'info'),
    logFormat: oneOf(value, 'LOG_FORMAT', ['json', 'pretty'] as const, process.stdout.isTTY ? 'pretty' : 'json'),
    publicUrl: publicUrl(value('PUBLIC_URL')),
    corsOrigins: list(value('CORS_ORIGINS')),
    trustProxy: trustProxy(value('TRUST_PROXY') ?? 'false'),
    docker: {
      host: value('DOCKER_HOST') ?? process.env.DOCKER_HOST ?? null,
      candidates: dockerSockets(),
      image: value('DOCKER_IMAGE') ?? 'debian:12',
      sudo: oneOf(value, 'DOCKER_SUDO', ['true', 'false'], 'false') === 'true',
    },
    simulated: {
      latencyMs: integer(value, 'SIMULATED_LATENCY_MS', 200, 0, 3_600_000),
      faults: faults(value('SIMULATED_FAULTS')),
    },
    clouds: cloudSettings(value),
    providers: value('PROVIDERS') === undefined ? null : list(value('PROVIDERS')),
    defaults: {
      provider: value('DEFAULT_PROVIDER') ?? 'simulated',
      plan: value('DEFAULT_PLAN') ?? '2xCPU-4GB',
      zone: value('DEFAULT_ZONE') ?? 'de-fra1',
    },
  };
}

function readConfigFile(file: string): Record<string, string> {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw new ConfigError(`The configuration file ${file} cannot be read: ${message(error)}`);
  }
  let parsed: Record<string, unknown>;
  try {
    parsed = parse(text);
  } catch (error) {
    throw new ConfigError(`The configuration file ${file} is not valid TOML: ${message(error)}`);
  }
  const known = NAMES.map((name) => name.toLowerCase());
  const values: Record<string, string> = {};
  for (const [key, value] of Object.entries(parsed)) {
    if (!known.includes(key)) throw new ConfigError(`${file}: unknown setting "${key}". Known: ${known.join(', ')}.`);
    values[key] = Array.isArray(value) ? value.join(key === 'workspace_roots' ? ':' : ',') : String(value);
  }
  return values;
}

function message(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function list(text: string | undefined): string[] {
  return (text ?? '')
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '');
}

function integer(value: Values, name: string, fallback: number, min: number, max: number): number {
  const text = value(name);
  if (text === undefined) return fallback;
  const number = Number(text);
  if (!/^\d+$/.test(text) || number < min || number > max) {
    throw new ConfigError(`PROVISIONING_${name} must be a whole number from ${min} to ${max}, not "${text}".`);
  }
  return number;
}

function oneOf<T extends string>(value: Values, name: string, choices: readonly T[], fallback: T): T {
  const text = value(name);
  if (text === undefined) return fallback;
  const choice = choices.find((candidate) => candidate === text);
  if (choice === undefined)
    throw new ConfigError(`PROVISIONING_${name} must be one of ${choices.join(', ')}, not "${text}".`);
  return choice;
}

function tlsSettings(value: Values): Config['tls'] {
  const [certificate, key, clientCa] = ['TLS_CERT_FILE', 'TLS_KEY_FILE', 'TLS_CLIENT_CA_FILE'].map(
    (name) => value(name) || undefined,
  );
  const minVersion = oneOf(value, 'TLS_MIN_VERSION', ['1.2', '1.3'] as const, '1.2');
  const clients = oneOf(value, 'TLS_CLIENT_CERTS', ['required', 'optional'] as const, 'required');
  if (certificate === undefined && key === undefined && clientCa === undefined) return null;
  if (certificate === undefined || key === undefined) {
    throw new ConfigError('TLS needs both PROVISIONING_TLS_CERT_FILE and PROVISIONING_TLS_KEY_FILE.');
  }
  return {
    certificateFile: path.resolve(certificate),
    keyFile: path.resolve(key),
    clientCaFile: clientCa === undefined ? null : path.resolve(clientCa),
    clientCertificates: clientCa === undefined ? 'none' : clients,
    minVersion: `TLSv${minVersion}`,
  };
}

function auditSettings(value: Values): Pick<Config, 'auditExport' | 'auditRetentionDays'> {
  const destination = value('AUDIT_EXPORT') ?? '';
  const auditRetentionDays = integer(value, 'AUDIT_RETENTION_DAYS', 0, 0, 36_500);
  if (destination === '' && auditRetentionDays > 0) {
    throw new ConfigError(
      'PROVISIONING_AUDIT_RETENTION_DAYS needs PROVISIONING_AUDIT_EXPORT: only what is kept elsewhere is deleted.',
    );
  }
  let auditExport: AuditDestination | null;
  try {
    auditExport = destination === '' ? null : readAuditDestination(destination, value('AUDIT_EXPORT_TOKEN') ?? null);
  } catch (error) {
    throw new ConfigError(`PROVISIONING_AUDIT_EXPORT: ${message(error)}.`);
  }
  if (auditRetentionDays > 0 && auditExport?.kind === 'syslog' && auditExport.transport === 'udp') {
    throw new ConfigError(
      'PROVISIONING_AUDIT_RETENTION_DAYS cannot be used with an export to syslog+udp://: nothing tells whether it arrives, and only what is kept elsewhere is deleted. Use syslog+tls://, a file or https://.',
    );
  }
  return { auditExport, auditRetentionDays };
}

function egressSettings(value: Values): Pick<Config, 'egress' | 'webhookHttp'> {
  const localChecks = oneOf(value, 'LOCAL_CHECKS', ['true', 'false'], 'false') === 'true';
  const webhooks = webhookAllowances(list(value('WEBHOOK_ALLOW')));
  return {
    egress: {
      allow: list(value('EGRESS_ALLOW')).map(allowedNetwork),
      private: ['host', 'check', 'issuer', ...(webhooks.private ? (['webhook'] as const) : [])],
      local: [...(localChecks ? (['check'] as const) : []), ...(webhooks.local ? (['webhook'] as const) : [])],
    },
    webhookHttp: webhooks.http,
  };
}

function allowedNetwork(text: string): AllowedNetwork {
  try {
    return readAllowedNetwork(text);
  } catch (error) {
    throw new ConfigError(`PROVISIONING_EGRESS_ALLOW: ${message(error)}.`);
  }
}

/** Announcements of one expiry at most. */
const MAX_WARNINGS = 10;

function expiryWarnings(text: string): number[] {
  const seconds = list(text);
  if (seconds.length > MAX_WARNINGS || seconds.some((one) => !/^[1-9]\d{0,7}$/.test(one))) {
    throw new ConfigError(
      `PROVISIONING_EXPIRY_WARNINGS must be up to ${MAX_WARNINGS} numbers of seconds from 1 to 99999999 with commas, not "${text}".`,
    );
  }
  return seconds.map(Number).sort((a, b) => b - a);
}

/** Fewer proxies than this stand in front of any server. */
const MAX_PROXIES = 10;

function trustProxy(text: string): Config['trustProxy'] {
  if (text === 'false') return false;
  if (text === 'true') throw believesEverybody(text);
  if (/^\d+$/.test(text)) return integer(() => text, 'TRUST_PROXY', 1, 1, MAX_PROXIES);
  const networks = list(text);
  const wrong = networks.find((network) => !isNetwork(network));
  if (wrong === undefined && networks.length > 0) {
    const wide = networks.find((network) => isWide(readAllowedNetwork(network).network));
    if (wide !== undefined) throw believesEverybody(wide);
    return networks;
  }
  throw new ConfigError(
    `PROVISIONING_TRUST_PROXY must be the number of proxies in front (1 to ${MAX_PROXIES}), or their addresses and networks with commas, not "${text}".`,
  );
}

function believesEverybody(text: string): ConfigError {
  return new ConfigError(
    `PROVISIONING_TRUST_PROXY=${text} would believe whoever connects, so that a client could choose the address that limits and the audit log count. Set the number of proxies in front (1), or their addresses (10.0.0.5,10.2.0.0/16).`,
  );
}

function isNetwork(text: string): boolean {
  try {
    return readAllowedNetwork(text).workspace === null;
  } catch {
    return false;
  }
}

function webhookAllowances(given: string[]): { http: boolean; private: boolean; local: boolean } {
  const unknown = given.find((word) => !['http', 'private', 'local'].includes(word));
  if (unknown !== undefined)
    throw new ConfigError(
      `PROVISIONING_WEBHOOK_ALLOW must be some of http, private, local, with commas, not "${unknown}".`,
    );
  return { http: given.includes('http'), private: given.includes('private'), local: given.includes('local') };
}

function publicUrl(text: string | undefined): string | null {
  if (text === undefined || text === '') return null;
  const { protocol = '', origin = '' } = URL.canParse(text) ? new URL(text) : {};
  if (/^https?:$/.test(protocol) && text.replace(/\/$/, '') === origin) return origin;
  throw new ConfigError(
    `PROVISIONING_PUBLIC_URL must be scheme, host and port as browsers reach the server, such as https://provisioning.example, not "${text}".`,
  );
}

/** They never appear in a message. */
function masterKeys(text: string | undefined, name: string): string[] {
  const keys = list(text);
  if (keys.some((key) => Buffer.byteLength(key) < 32)) {
    throw new ConfigError(`PROVISIONING_${name} must be at least 32 bytes. Make one with: openssl rand -base64 32`);
  }
  return keys;
}

/** The URL may hold a password: it never appears in a message. */
function databaseUrl(text: string | undefined): string | null {
  if (text === undefined || text === '') return null;
  if (!/^postgres(ql)?:\/\//.test(text) || !URL.canParse(text)) {
    throw new ConfigError('PROVISIONING_DATABASE_URL must look like postgres://user:password@host:5432/database.');
  }
  return text;
}

function cloudSettings(value: Values): CloudSettings {
  try {
    return readCloudSettings(value);
  } catch (error) {
    throw new ConfigError(`PROVISIONING_${message(error)}`);
  }
}

function faults(text: string | undefined): SimulatedFaults {
  try {
    return parseFaults(text ?? '');
  } catch (error) {
    throw new ConfigError(`PROVISIONING_SIMULATED_FAULTS: ${message(error)}`);
  }
}

/** Where Docker and Podman listen when nobody says otherwise. */
function dockerSockets(): string[] {
  const runtimeDir = process.env.XDG_RUNTIME_DIR;
  return [
    '/var/run/docker.sock',
    '/run/podman/podman.sock',
    '/run/podman.sock',
    ...(runtimeDir === undefined ? [] : [`${runtimeDir}/docker.sock`, `${runtimeDir}/podman/podman.sock`]),
  ];
}

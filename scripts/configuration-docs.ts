import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { ConfigError, loadConfig } from '../src/config.ts';
import { LIMITS } from '../src/limits/catalogue.ts';

interface Setting {
  meaning: string;
  /** Where the program's own value is not what a reader wants to see. */
  default?: string;
  values?: string;
}

const BYTES = 'at least 32 bytes';
const NAMES = 'names, with commas';

/** By name; every setting of src/config.ts has its line. Default and values come from there where they are not given. */
const SETTINGS: Record<string, Setting> = {
  ROLE: { meaning: '`api` answers requests, `worker` carries operations out, `all` does both' },
  HOST: { meaning: 'address that the API listens on' },
  PORT: { meaning: 'port that the API listens on; 0: any free port' },
  TLS_CERT_FILE: {
    meaning:
      'certificate with its chain, for [TLS without a proxy](running-in-production.md#tls); read again when it changes',
    default: '(no TLS)',
    values: 'a PEM file',
  },
  TLS_KEY_FILE: {
    meaning: "the certificate's private key, without a passphrase",
    default: '(none)',
    values: 'a PEM file',
  },
  TLS_MIN_VERSION: { meaning: 'the oldest version of TLS that the server accepts', default: '`1.2`' },
  TLS_CLIENT_CA_FILE: {
    meaning: 'certificate authorities of the clients that may connect; each request still needs its token',
    default: '(anybody)',
    values: 'a PEM file',
  },
  TLS_CLIENT_CERTS: {
    meaning:
      'with `TLS_CLIENT_CA_FILE`: whether clients must present a certificate (`required`) or may connect without one (`optional`)',
    default: '`required`',
  },
  DATABASE_URL: {
    meaning: 'an external PostgreSQL, 15 or newer',
    default: '(embedded)',
    values: '`postgres://user:password@host:5432/database`',
  },
  DATA_DIR: {
    meaning: 'embedded database, generated files, workspaces',
    default: '`.provisioning`',
    values: 'a directory',
  },
  POOL_SIZE: { meaning: 'connections for requests, and as many again for the engine' },
  ADMIN_PASSWORD: {
    meaning: 'password of the first user `admin`, at the first start',
    default: '(generated, shown once)',
    values: 'as `PASSWORD_MIN_LENGTH` asks, to 1024 characters',
  },
  JWT_SECRET: {
    meaning: 'the key that signs tokens',
    default: '(generated, kept encrypted in the database)',
    values: BYTES,
  },
  MASTER_KEY: {
    meaning: 'the key that encrypts [secrets](security.md#secrets-at-rest); the same on all replicas',
    default: '(generated: `<data dir>/master.key`)',
    values: BYTES,
  },
  MASTER_KEY_PREVIOUS: {
    meaning: 'previous master keys, for rotation',
    default: '(none)',
    values: `${BYTES} each, separated by commas`,
  },
  TOKEN_TTL: { meaning: 'seconds that an access token is valid' },
  REFRESH_TTL: { meaning: 'seconds that a refresh token is valid' },
  SESSION_TTL: { meaning: 'seconds after which a session ends, however often it is refreshed' },
  API_TOKEN_TTL: { meaning: 'seconds that an API token is valid unless its creator gives a time' },
  API_TOKEN_MAX_TTL: { meaning: 'the longest validity of an API token, in seconds; 0: any, also without an end' },
  PASSWORD_MIN_LENGTH: { meaning: 'minimum length of a new password' },
  ADMIN_TOTP: {
    meaning:
      'whether the roles of administrators count only with [a second factor](guides/users-and-tokens.md#second-factor), also for their workflows, schedules and webhooks; the same on all replicas',
    values: '`true`, `false`',
  },
  WORKSPACE_ROOTS: {
    meaning: 'directories that may contain workspaces',
    default: '`<data dir>/workspaces:/opt/workspaces`',
    values: 'directories, separated by colons',
  },
  RATE_LIMIT: {
    meaning: 'requests a minute for each caller, and a fifth of that for requests that start operations; 0: no limit',
  },
  ADDRESS_RATE_LIMIT: {
    meaning: 'requests a minute from each address, counted before authentication; 0: no limit',
    default: 'ten times `RATE_LIMIT`',
  },
  LOGIN_RATE_LIMIT: { meaning: 'login attempts a minute from each address; 0: no limit' },
  ACCOUNT_LOGIN_LIMIT: {
    meaning:
      'failed login attempts in 15 minutes for each user from addresses that are new to the user, and wrong passwords of logged-in users who must confirm a change; 0: no limit',
  },
  BODY_LIMIT: { meaning: 'maximum size of a request body in bytes' },
  ...Object.fromEntries(
    Object.values(LIMITS).map(({ setting, per, counts, default: fallback, min }) => [
      setting,
      { meaning: `for each ${per}: ${counts}${min === 0 ? '; 0: no limit' : ''}`, default: `\`${fallback}\`` },
    ]),
  ),
  WORKER_CONCURRENCY: {
    meaning: 'operations that this process carries out at once, for each provider; on hosts, for each user',
  },
  HOSTS_AT_ONCE: { meaning: 'servers that one operation works on at once' },
  EVALUATION_THREADS: {
    meaning:
      'threads that evaluate what users write (expressions, schemas, definitions); one user can occupy all but one of them',
    default: 'one less than the number of processors, 2 to 4',
  },
  HEALTH_CHECK_INTERVAL: { meaning: 'seconds between two health checks of a taskserv; 0: on demand only' },
  CLOUD_TIMEOUT_SECONDS: { meaning: 'how long to wait for a response from a cloud, in seconds', default: '`30`' },
  SWEEP_INTERVAL: {
    meaning: 'seconds between two sweeps of an account for orphans and drift; 0: on demand only',
  },
  ORPHAN_DELETE_AFTER: { meaning: 'seconds after which orphaned servers are deleted; 0: never' },
  EXPIRY_WARNINGS: {
    meaning:
      'how many seconds before its expiry a server or taskserv is announced to expire ([how](guides/servers.md#let-a-server-expire)); empty: not at all',
    default: '`86400,3600`',
    values: 'up to ten numbers, separated by commas',
  },
  EGRESS_ALLOW: {
    meaning:
      'private networks that webhooks, checks of workflows, imports, jump hosts and identity providers may reach ([rules](security.md#what-goes-out))',
    default: '(none)',
    values: 'networks, separated by commas: `10.2.0.0/16`; `staging=10.2.0.0/16` for one workspace',
  },
  LOCAL_CHECKS: {
    meaning: 'whether `wait` nodes of workflows may check addresses of this machine and its local link',
    default: '`false`',
  },
  WEBHOOK_ALLOW: {
    meaning: 'what webhooks may use in addition to https to public addresses',
    default: '(none)',
    values: 'any of `http`, `private`, `local`, separated by commas',
  },
  AUDIT_EXPORT: {
    meaning: 'where to export the audit log as JSON lines ([how](guides/audit.md#export))',
    default: '(nowhere)',
    values: '`file:///…`, `syslog+udp://`, `syslog+tcp://`, `syslog+tls://host:port` or `https://…`',
  },
  AUDIT_EXPORT_TOKEN: {
    meaning: 'sent to an `https://` destination as bearer token',
    default: '(none)',
    values: 'a secret',
  },
  AUDIT_RETENTION_DAYS: {
    meaning:
      'days that rows of the audit log are kept after they have been exported (not with `syslog+udp`); 0: forever',
  },
  RETENTION_DAYS: { meaning: 'days that ended operations are kept' },
  SHUTDOWN_DELAY: {
    meaning:
      'seconds that the server still takes requests after SIGTERM, with `/health/ready` at 503: time for a load balancer to notice',
  },
  LOG_LEVEL: { meaning: 'how much is logged' },
  LOG_FORMAT: { meaning: 'the log goes to standard error', default: '`pretty` on a terminal, else `json`' },
  PUBLIC_URL: {
    meaning: 'where browsers reach the server; identity providers send them back there ([single sign-on](sso.md))',
    default: '(as each request says)',
    values: 'scheme, host and port: `https://provisioning.example`',
  },
  CORS_ORIGINS: { meaning: 'origins of browsers that may call', default: '(none)', values: 'with commas; `*`: any' },
  TRUST_PROXY: {
    meaning: 'whose `X-Forwarded-For` is believed',
    values:
      '`false`; the number of proxies in front, 1 to 10; or their addresses and networks, with commas, none of prefix length 0',
  },
  PROVIDERS: { meaning: 'enables exactly these', default: '(all whose settings are complete)', values: NAMES },
  DOCKER_HOST: {
    meaning: 'engine of the docker provider',
    default: '(`DOCKER_HOST`, else the usual sockets)',
    values: 'an address',
  },
  DOCKER_IMAGE: { meaning: 'what its servers start from', default: '`debian:12`', values: 'an image' },
  DOCKER_SUDO: { meaning: 'whether `sudo` and other setuid programs work in its new servers', default: '`false`' },
  UPCLOUD_TOKEN: { meaning: 'API token of [UpCloud](providers/upcloud.md)', default: '(none)', values: 'a token' },
  UPCLOUD_USERNAME: { meaning: 'instead of the token', default: '(none)', values: 'a name' },
  UPCLOUD_PASSWORD: { meaning: 'with the user name', default: '(none)', values: 'a password' },
  UPCLOUD_ENDPOINT: { meaning: 'where the API is', default: '`https://api.upcloud.com`', values: 'an address' },
  UPCLOUD_CALLS_PER_MINUTE: { meaning: 'how often one replica may ask', default: '`300`' },
  HETZNER_TOKEN: {
    meaning: 'API token of a [Hetzner Cloud](providers/hetzner.md) project',
    default: '(none)',
    values: 'a token',
  },
  HETZNER_ENDPOINT: { meaning: 'where the API is', default: '`https://api.hetzner.cloud`', values: 'an address' },
  HETZNER_CALLS_PER_MINUTE: { meaning: 'how often one replica may ask', default: '`60`' },
  AWS_REGION: { meaning: 'region of [EC2](providers/aws.md)', default: '(none)', values: 'such as `eu-central-1`' },
  AWS_ACCESS_KEY_ID: { meaning: 'access key', default: '(what the SDK finds by itself)', values: 'an id' },
  AWS_SECRET_ACCESS_KEY: { meaning: 'its secret', default: '(none)', values: 'a secret' },
  AWS_SESSION_TOKEN: { meaning: 'where the key is a temporary one', default: '(none)', values: 'a token' },
  AWS_ENDPOINT: { meaning: 'where the API is', default: "(Amazon's)", values: 'an address' },
  AWS_SECURITY_GROUPS: { meaning: 'security groups of every server', default: '(none)', values: 'ids, with commas' },
  AWS_CALLS_PER_MINUTE: { meaning: 'how often one replica may ask', default: '`300`' },
  SIMULATED_LATENCY_MS: { meaning: 'milliseconds that the simulated cloud takes for each step', default: '`200`' },
  SIMULATED_FAULTS: {
    meaning:
      'faults of the simulated cloud, each with its share of calls: `lost_answer=0.2,rate_limited=0.1`; with `seed=7` they come in the same order at each start',
    default: '(none)',
  },
  DEFAULT_PROVIDER: {
    meaning: "what a new workspace's `workspace.yaml` starts with",
    default: '`simulated`',
    values: 'a provider',
  },
  DEFAULT_PLAN: { meaning: 'likewise', default: '`2xCPU-4GB`', values: 'a plan' },
  DEFAULT_ZONE: { meaning: 'likewise', default: '`de-fra1`', values: 'a zone' },
};

const INTRODUCTION = `# Configuration

<!-- Written by "npm run generate" from src/config.ts and scripts/configuration-docs.ts. -->

A setting is read from

1. a command-line flag (\`--host\`, \`--port\`, \`--role\`, \`--data-dir\`),
2. the environment, as \`PROVISIONING_<NAME>\`,
3. the TOML file given by \`--config\`, as the same name in lower case without the prefix: \`rate_limit = 12000\`,

and the first of them wins. A value that cannot be used ends the start with status 2 and says what would be right.

| name | default | values | meaning |
| --- | --- | --- | --- |
`;

/** The page about all settings. @throws where one has no line above, or a line has no setting. */
export function configurationPage(): string {
  const known = settingNames();
  const missing = known.filter((name) => SETTINGS[name] === undefined);
  const unknown = Object.keys(SETTINGS).filter((name) => !known.includes(name));
  if (missing.length > 0) throw new Error(`scripts/configuration-docs.ts: give a line to ${missing.join(', ')}.`);
  if (unknown.length > 0) throw new Error(`scripts/configuration-docs.ts: there is no setting ${unknown.join(', ')}.`);
  // Without the environment of whoever generates.
  const own = Object.fromEntries(Object.entries(process.env).filter(([name]) => name.startsWith('PROVISIONING_')));
  for (const name of Object.keys(own)) delete process.env[name];
  try {
    const rows = Object.entries(SETTINGS).map(
      ([name, { meaning, default: shown, values }]) =>
        `| \`${name}\` | ${shown ?? defaultOf(name)} | ${values ?? valuesOf(name)} | ${meaning} |\n`,
    );
    return `${INTRODUCTION}${rows.join('')}`;
  } finally {
    Object.assign(process.env, own);
  }
}

/** The loader itself names them all where a file has one that it does not know. */
function settingNames(): string[] {
  const directory = mkdtempSync(path.join(tmpdir(), 'provisioning-settings-'));
  const file = path.join(directory, 'settings.toml');
  writeFileSync(file, 'no_such_setting = 1\n');
  try {
    const problem = problemWith(() => loadConfig({}, file));
    return (/ Known: (.*)\.$/.exec(problem)?.[1] ?? '').split(', ').map((name) => name.toUpperCase());
  } finally {
    rmSync(directory, { recursive: true });
  }
}

function defaultOf(name: string): string {
  const key = name.toLowerCase().replaceAll(/_(\w)/g, (_, letter: string) => letter.toUpperCase());
  const value = Object.entries(loadConfig()).find(([field]) => field === key)?.[1];
  if (!['string', 'number', 'boolean'].includes(typeof value)) {
    throw new Error(`scripts/configuration-docs.ts: say what the default of ${name} is.`);
  }
  return `\`${String(value)}\``;
}

/** What is allowed, from what the loader says of a value that is not. */
function valuesOf(name: string): string {
  const problem = problemWith(() => loadConfig({ [name]: 'no such value' }));
  const [, from, to] = / whole number from (\d+) to (\d+)/.exec(problem) ?? [];
  if (from !== undefined) return `${from} to ${to}`;
  const [, choices] = /(?:one of|known:) (.*?)(?:, not |$)/.exec(problem) ?? [];
  if (choices !== undefined)
    return choices
      .split(', ')
      .map((choice) => `\`${choice}\``)
      .join(', ');
  if (problem === '') return 'any';
  throw new Error(`scripts/configuration-docs.ts: say what values ${name} may have.`);
}

function problemWith(load: () => unknown): string {
  try {
    load();
    return '';
  } catch (error) {
    if (error instanceof ConfigError) return error.message;
    throw error;
  }
}

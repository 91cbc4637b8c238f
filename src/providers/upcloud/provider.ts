import { sleep } from '../../util/sleep.ts';
import { type Account, createAccount, type RateLimit } from '../account.ts';
import { type CloudHttp, createCloudHttp } from '../cloud-http.ts';
import {
  type CallOptions,
  type ListOptions,
  type MutationOptions,
  OPERATION_LABEL,
  type Provider,
  ProviderError,
  type ProviderServer,
  type ServerSpec,
} from '../contract.ts';
import { fields } from '../wire.ts';
import { type Catalog, catalogReader } from './catalog.ts';
import { labelServer, resizeServer } from './changing.ts';
import { deleteServer } from './deleting.ts';
import { refusalError } from './errors.ts';
import { listServers, readOne } from './listing.ts';
import { restartServer, startServer, stopServer } from './power.ts';
import { createBody, givesHostKey, specProblems } from './request.ts';
import { readServer, SENT_LABEL, toProviderServer, type UpcloudServer } from './servers.ts';

export interface UpcloudSettings {
  /** Scheme, host and port of the API. */
  endpoint: string;
  credentials: { token: string } | { username: string; password: string };
  /** Value of the installation label. */
  installation: string;
  /** Calls that this process may make. */
  limit: RateLimit;
  timeoutMs?: number;
}

/** Servers under change at once: creates and deletes take a minute each, and share the account's calls. */
export const UPCLOUD_CONCURRENCY = 100;
/** How far behind its lists may be: more than ten times of what was measured. */
const LISTING_LAG_MS = 5_000;

interface Upcloud {
  installation: string;
  http: CloudHttp;
  account: Account;
  catalog: (options?: CallOptions) => Promise<Catalog>;
}

/** Servers at UpCloud. Nothing is contacted before the first call. */
export function createUpcloudProvider(settings: UpcloudSettings): Provider {
  const { credentials, endpoint, timeoutMs } = settings;
  const account = createAccount({ name: 'upcloud', limit: settings.limit });
  const basic = 'token' in credentials ? null : encodeBasic(credentials);
  const secrets = 'token' in credentials ? [credentials.token] : [credentials.password, basic ?? ''];
  const http = createCloudHttp({
    endpoint: endpoint.replace(/\/+$/, ''),
    headers: { authorization: 'token' in credentials ? `Bearer ${credentials.token}` : `Basic ${basic}` },
    secrets,
    account,
    refusal: (what, answer) => refusalError(what, answer, secrets),
    timeoutMs,
  });
  const upcloud: Upcloud = { installation: settings.installation, http, account, catalog: catalogReader(http) };
  // Two calls for one operation in this process take turns: UpCloud has no token that would keep them apart.
  const creating = new Map<string, Promise<unknown>>();

  // An observation reads the servers and their addresses, and one page more for each further hundred servers.
  let callsLately = 2;
  const observe = async (options: ListOptions | undefined, wanted: ReadonlySet<string>) => {
    const { servers, calls } = await listServers(http, options, { kind: 'observe', wanted });
    callsLately = calls;
    return servers;
  };

  const provider: Provider = {
    name: 'upcloud',
    concurrency: UPCLOUD_CONCURRENCY,
    listingLagMs: LISTING_LAG_MS,
    account: () => account.state(),
    observationIntervalMs: () => account.observationIntervalMs(callsLately),
    listPlans: async (options) => (await upcloud.catalog(options)).plans.map(({ tier: _, ...plan }) => plan),
    listZones: async (options) => (await upcloud.catalog(options)).zones,
    validate: async (spec, options) => specProblems(spec, await upcloud.catalog(options)),
    givesHostKey: async (spec, options) => givesHostKey(spec, await upcloud.catalog(options)),
    findServer: async (operationId, options = {}) => {
      const found = await oldest(upcloud, await labelled(upcloud, operationId, options), options);
      return found === null ? null : withAddress(upcloud, found, options);
    },
    ensureServer: async (spec, options) => {
      const earlier = creating.get(options.operationId) ?? Promise.resolve();
      const made = earlier.then(() => ensureServer(upcloud, provider, spec, options));
      const settled = made.catch(() => 'each caller is told by its own promise');
      creating.set(options.operationId, settled);
      try {
        return await made;
      } finally {
        if (creating.get(options.operationId) === settled) creating.delete(options.operationId);
      }
    },
    readServer: async (ref, options = {}) => {
      const server = await readOne(http, ref, options);
      return server === null ? null : toProviderServer(server);
    },
    observeServers: async (refs, options) => {
      if (refs.length === 0) return new Map();
      const wanted = new Set(refs);
      const servers = await observe(options, wanted);
      return new Map(servers.filter(({ ref }) => wanted.has(ref)).map((server) => [server.ref, server]));
    },
    startServer: (ref, options) => startServer(http, ref, options),
    stopServer: (ref, options) => stopServer(http, ref, options),
    restartServer: (ref, options) => restartServer(http, provider, ref, options),
    deleteServer: (ref, options) => deleteServer(http, provider, ref, options),
    listServers: (options) => observe(options, new Set()),
    labelServer: (ref, labels, options) => labelServer(http, settings.installation, ref, labels, options),
    resizeServer: (ref, to, options) => resizeServer(http, ref, to, options),
    close: async () => account.close(),
  };
  return provider;
}

function encodeBasic({ username, password }: { username: string; password: string }): string {
  return Buffer.from(`${username}:${password}`).toString('base64');
}

/** All servers that carry the operation's label; more than one only where two processes made one at once. */
async function labelled({ http }: Upcloud, operationId: string, options: CallOptions): Promise<UpcloudServer[]> {
  const label = encodeURIComponent(`${OPERATION_LABEL}=${operationId}`);
  const body = await http.read('look for the server', `/1.3/server/?label=${label}`, options);
  const list = fields(fields(body).servers).server;
  if (!Array.isArray(list)) throw unreadable('list of servers');
  const servers = list.map(readServer).filter((server) => server !== null);
  return servers.filter((server) => server.labels.get(OPERATION_LABEL) === operationId);
}

/** The one that stays. Lists do not tell the age, so it is asked for where it matters. */
async function oldest(
  { http }: Upcloud,
  servers: readonly UpcloudServer[],
  options: CallOptions,
): Promise<UpcloudServer | null> {
  if (servers.length <= 1) return servers[0] ?? null;
  const seen = await Promise.all(servers.map(({ uuid }) => readOne(http, uuid, options)));
  const age = (server: UpcloudServer) =>
    [String(server.created ?? 0).padStart(12, '0'), server.labels.get(SENT_LABEL), server.uuid].join(' ');
  return seen.filter((server) => server !== null).toSorted((a, b) => (age(a) < age(b) ? -1 : 1))[0] ?? null;
}

async function withAddress({ http }: Upcloud, server: UpcloudServer, options: CallOptions): Promise<ProviderServer> {
  const seen = server.address === null ? await readOne(http, server.uuid, options) : server;
  return toProviderServer(seen ?? server);
}

async function ensureServer(
  upcloud: Upcloud,
  provider: Provider,
  spec: ServerSpec,
  options: MutationOptions,
): Promise<ProviderServer> {
  const { operationId } = options;
  let found = await labelled(upcloud, operationId, options);
  if (found.length === 0 && options.repeated === true) {
    // What an earlier try made may not be listed yet.
    await sleep(LISTING_LAG_MS, options.signal);
    found = await labelled(upcloud, operationId, options);
  }
  if (found.length > 0) return keepOldest(upcloud, provider, found, options);
  const body = createBody(spec, operationId, upcloud.installation, await upcloud.catalog(options));
  const answer = await upcloud.http.change('create the server', 'POST', '/1.3/server', body, options);
  const made = readServer(fields(answer).server);
  if (made === null) throw unreadable('server');
  // Another process may have made one at the same time: whoever looks last sees both.
  const all = await labelled(upcloud, operationId, options);
  if (all.some(({ uuid }) => uuid !== made.uuid)) return keepOldest(upcloud, provider, all, options);
  return { ...toProviderServer(made), status: 'creating' };
}

async function keepOldest(
  upcloud: Upcloud,
  provider: Provider,
  servers: readonly UpcloudServer[],
  options: MutationOptions,
): Promise<ProviderServer> {
  const kept = await oldest(upcloud, servers, options);
  if (kept === null) throw unreadable('server');
  for (const { uuid } of servers) {
    if (uuid !== kept.uuid) await deleteServer(upcloud.http, provider, uuid, options);
  }
  return withAddress(upcloud, kept, options);
}

function unreadable(what: string): ProviderError {
  return new ProviderError('UNAVAILABLE', `UpCloud answered no ${what}. Trying again may help.`, { retryable: true });
}

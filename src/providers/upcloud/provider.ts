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
import { untilObserved } from '../observer.ts';
import { fields } from '../wire.ts';
import { type Catalog, catalogReader } from './catalog.ts';
import { labelServer, resizeServer } from './changing.ts';
import { refusalError } from './errors.ts';
import { listServers, readOne } from './listing.ts';
import { createBody, specProblems } from './request.ts';
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
/** A server must be stopped before it can be deleted: how long to wait for that within one call. */
const STOP_WAIT_MS = 120_000;
/** How far behind its lists may be: more than ten times of what was measured. */
const LISTING_LAG_MS = 5_000;
/** Seconds that a server has to shut down in order when it is stopped or restarted. */
const SHUTDOWN_SECONDS = '60';

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
    startServer: (ref, options) => startServer(upcloud, ref, options),
    stopServer: (ref, options) => stopServer(upcloud, ref, options),
    restartServer: (ref, options) => restartServer(upcloud, ref, options),
    deleteServer: (ref, options) => deleteServer(upcloud, provider, ref, options),
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
    if (uuid !== kept.uuid) await deleteServer(upcloud, provider, uuid, options);
  }
  return withAddress(upcloud, kept, options);
}

const START = { server: {} };
const STOP = { stop_server: { stop_type: 'soft', timeout: SHUTDOWN_SECONDS } };
const STOP_AT_ONCE = { stop_server: { stop_type: 'hard' } };
const RESTART = {
  restart_server: { stop_type: 'soft', timeout: SHUTDOWN_SECONDS, timeout_action: 'destroy' },
};

/** Asks for the change; a server whose state does not allow it is looked at instead. @returns its state then, or null. */
async function unlessIllegal(
  { http }: Upcloud,
  ref: string,
  change: 'start' | 'stop' | 'restart',
  body: object,
  options: MutationOptions,
): Promise<string | null> {
  try {
    await http.change(
      `${change} the server`,
      'POST',
      `/1.3/server/${encodeURIComponent(ref)}/${change}`,
      body,
      options,
    );
    return null;
  } catch (error) {
    if (!isCode(error, 'CONFLICT')) throw error;
    const now = await readOne(http, ref, options);
    if (now === null) throw notFound(ref);
    return now.state;
  }
}

async function startServer(upcloud: Upcloud, ref: string, options: MutationOptions): Promise<void> {
  const state = await unlessIllegal(upcloud, ref, 'start', START, options);
  if (state !== null && state !== 'started') throw busy(ref, state);
}

async function stopServer(upcloud: Upcloud, ref: string, options: MutationOptions): Promise<void> {
  const state = await unlessIllegal(upcloud, ref, 'stop', STOP, options);
  if (state !== null && state !== 'stopped') throw busy(ref, state);
}

async function restartServer(upcloud: Upcloud, ref: string, options: MutationOptions): Promise<void> {
  const state = await unlessIllegal(upcloud, ref, 'restart', RESTART, options);
  if (state === 'stopped') return startServer(upcloud, ref, options);
  if (state !== null) throw busy(ref, state);
}

/** Stops the server, waits for that, and deletes it with its disks. UpCloud deletes nothing that runs. */
async function deleteServer(
  upcloud: Upcloud,
  provider: Provider,
  ref: string,
  options: MutationOptions,
): Promise<void> {
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(busy(ref, 'it has not stopped yet')), STOP_WAIT_MS);
  const signal = AbortSignal.any([late.signal, ...(options.signal === undefined ? [] : [options.signal])]);
  try {
    // The list is shared with all others who wait: a hundred deletions at once look as often as one.
    let server = await untilObserved(provider, ref, () => true, signal, options);
    for (;;) {
      const status = server?.status ?? 'deleting';
      if (status === 'deleting') return;
      if (status === 'stopped' || status === 'error') return await remove(upcloud, ref, status, options);
      if (status === 'running') await stopAtOnce(upcloud, ref, options);
      server = await untilObserved(provider, ref, (now) => now?.status !== status, signal, options);
    }
  } finally {
    clearTimeout(timer);
  }
}

async function stopAtOnce(upcloud: Upcloud, ref: string, options: MutationOptions): Promise<void> {
  try {
    await unlessIllegal(upcloud, ref, 'stop', STOP_AT_ONCE, options);
  } catch (error) {
    if (!isCode(error, 'NOT_FOUND')) throw error;
  }
}

async function remove({ http }: Upcloud, ref: string, state: string, options: MutationOptions): Promise<void> {
  const path = `/1.3/server/${encodeURIComponent(ref)}/?storages=1&backups=delete`;
  try {
    await http.change('delete the server', 'DELETE', path, undefined, options);
  } catch (error) {
    if (isCode(error, 'CONFLICT')) throw busy(ref, state);
    if (!isCode(error, 'NOT_FOUND')) throw error;
  }
}

function isCode(error: unknown, code: ProviderError['code']): boolean {
  return error instanceof ProviderError && error.code === code;
}

function unreadable(what: string): ProviderError {
  return new ProviderError('UNAVAILABLE', `UpCloud answered no ${what}. Trying again may help.`, { retryable: true });
}

function notFound(ref: string): ProviderError {
  return new ProviderError('NOT_FOUND', `UpCloud has no server ${ref}.`, { retryable: false, details: { ref } });
}

function busy(ref: string, state: string): ProviderError {
  return new ProviderError(
    'CONFLICT',
    `The server ${ref} at UpCloud is in a state that does not allow this now (${state}).`,
    { retryable: true, details: { ref, state } },
  );
}

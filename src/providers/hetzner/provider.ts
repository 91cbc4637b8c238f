import { sleep } from '../../util/sleep.ts';
import { createAccount, type RateLimit } from '../account.ts';
import { type CloudHttp, createCloudHttp } from '../cloud-http.ts';
import {
  type CallOptions,
  type MutationOptions,
  OPERATION_LABEL,
  type Provider,
  ProviderError,
  type ProviderServer,
  type ServerSpec,
} from '../contract.ts';
import { untilObserved } from '../observer.ts';
import { fields } from '../wire.ts';
import { type Actions, createActions } from './actions.ts';
import { type Catalog, catalogReader } from './catalog.ts';
import { labelServer, resizeServer } from './changing.ts';
import { refusalError } from './errors.ts';
import { ensureKey } from './keys.ts';
import { readList } from './listing.ts';
import { createBody, specProblems } from './request.ts';
import { toProviderServer } from './servers.ts';

export interface HetznerSettings {
  /** Scheme, host and port of the API. */
  endpoint: string;
  credentials: { token: string };
  /** Value of the installation label. */
  installation: string;
  /** Calls that this process may make. */
  limit: RateLimit;
  timeoutMs?: number;
  /** How long a system has to shut down in order before its power is cut. Default: a minute. */
  shutdownMs?: number;
}

/** Servers under change at once: they share 3,600 calls an hour. */
export const HETZNER_CONCURRENCY = 50;
const DEFAULT_SHUTDOWN_MS = 60_000;
/** How far behind its lists may be. */
const LISTING_LAG_MS = 5_000;
/** A server that something else is done with cannot be deleted: how long to wait for that within one call. */
const LOCK_WAIT_MS = 60_000;

interface Hetzner {
  installation: string;
  http: CloudHttp;
  actions: Actions;
  catalog: (options?: CallOptions) => Promise<Catalog>;
  provider: Provider;
  shutdownMs: number;
}

/** Servers at Hetzner Cloud, in the project that the token belongs to. Nothing is contacted before the first call. */
export function createHetznerProvider(settings: HetznerSettings): Provider {
  const { credentials, endpoint, timeoutMs } = settings;
  const secrets = [credentials.token];
  const account = createAccount({ name: 'hetzner', limit: settings.limit });
  const http = createCloudHttp({
    endpoint,
    headers: { authorization: `Bearer ${credentials.token}` },
    secrets,
    account,
    refusal: (what, answer) => refusalError(what, answer, secrets),
    timeoutMs,
  });
  const catalog = catalogReader(http);
  const actions = createActions(http, secrets, () => account.observationIntervalMs(1));
  let pagesLately = 1;

  const observe = async (
    options: CallOptions,
    wanted: ReadonlySet<string>,
    selector: string | null = OPERATION_LABEL,
  ): Promise<ProviderServer[]> => {
    const first = await labelled(http, selector, options);
    const servers = new Map(first.servers.map((server) => [server.ref, server]));
    pagesLately = first.pages;
    // Pages shift when servers go while they are read: what lacks is gone when a second reading lacks it too.
    if (first.pages > 1 && [...wanted].some((ref) => !servers.has(ref))) {
      for (const server of (await labelled(http, selector, options)).servers) servers.set(server.ref, server);
    }
    return [...servers.values()];
  };

  const provider: Provider = {
    name: 'hetzner',
    concurrency: HETZNER_CONCURRENCY,
    listingLagMs: LISTING_LAG_MS,
    account: () => account.state(),
    observationIntervalMs: () => account.observationIntervalMs(pagesLately),
    listPlans: async (options) => (await catalog(options)).plans,
    listZones: async (options) => (await catalog(options)).zones,
    validate: async (spec, options) => specProblems(spec, await catalog(options)),
    findServer: (operationId, options) => find(http, operationId, options),
    ensureServer: (spec, options) => ensureServer(hetzner, spec, options),
    readServer: (ref, options = {}) =>
      readOne(hetzner, ref, options).catch((error: unknown) => {
        if (error instanceof ProviderError && error.code === 'NOT_FOUND') return null;
        throw error;
      }),
    observeServers: async (refs, options = {}) => {
      if (refs.length === 0) return new Map();
      const wanted = new Set(refs);
      const servers = await observe(options, wanted);
      return new Map(servers.filter(({ ref }) => wanted.has(ref)).map((server) => [server.ref, server]));
    },
    startServer: (ref, options) => startServer(hetzner, ref, options),
    stopServer: (ref, options) => stopServer(hetzner, ref, options),
    restartServer: (ref, options) => restartServer(hetzner, ref, options),
    deleteServer: (ref, options) => deleteServer(hetzner, ref, options),
    listServers: (options = {}) => observe(options, new Set(), options.unlabelled === true ? null : OPERATION_LABEL),
    labelServer: (ref, labels, options) => labelServer(http, settings.installation, ref, labels, options),
    resizeServer: async (ref, to, options) => resizeServer(http, actions, await catalog(options), ref, to, options),
    close: async () => account.close(),
  };
  const hetzner: Hetzner = {
    installation: settings.installation,
    http,
    actions,
    catalog,
    provider,
    shutdownMs: settings.shutdownMs ?? DEFAULT_SHUTDOWN_MS,
  };
  return provider;
}

/** @param selector null: also what carries no label. */
async function labelled(http: CloudHttp, selector: string | null, options: CallOptions) {
  const path = selector === null ? '/v1/servers' : `/v1/servers?label_selector=${encodeURIComponent(selector)}`;
  const kind = selector === OPERATION_LABEL ? 'observe' : 'look';
  const { items, pages } = await readList(http, 'list the servers', path, 'servers', options, kind);
  return { pages, servers: items.map(toProviderServer).filter((server) => server !== null) };
}

async function find(http: CloudHttp, operationId: string, options: CallOptions = {}): Promise<ProviderServer | null> {
  const { servers } = await labelled(http, `${OPERATION_LABEL}==${operationId}`, options);
  return servers.find((server) => server.operation_id === operationId) ?? null;
}

async function ensureServer(
  { http, catalog, installation }: Hetzner,
  spec: ServerSpec,
  options: MutationOptions,
): Promise<ProviderServer> {
  const { operationId } = options;
  const found = await find(http, operationId, options);
  if (found !== null) return found;
  const offered = await catalog(options);
  const keyId = spec.ssh_public_key ? await ensureKey(http, spec.ssh_public_key, options) : null;
  const body = createBody(spec, operationId, installation, offered, keyId);
  try {
    const answer = await http.change('create the server', 'POST', '/v1/servers', body, options);
    // The answer holds a root password where no key was given: only the server is read of it.
    const made = toProviderServer(fields(answer).server);
    if (made !== null) return made;
  } catch (error) {
    if (!isProviderCode(error, 'uniqueness_error')) throw error;
    // The name belongs to the operation alone: another process has just made its server.
  }
  let made = await find(http, operationId, options);
  if (made === null) {
    // It may not be listed yet.
    await sleep(LISTING_LAG_MS, options.signal);
    made = await find(http, operationId, options);
  }
  if (made !== null) return made;
  throw new ProviderError(
    'CONFLICT',
    `Hetzner has a server named ${String(body.name)} that does not belong to this operation. Rename or delete it.`,
    { retryable: false, details: { name: body.name } },
  );
}

type Action = 'poweron' | 'poweroff' | 'shutdown' | 'reboot';

/** Asks for a change of the power, and waits until it is made where that takes no longer than such changes do. */
async function act(
  { http, actions }: Hetzner,
  ref: string,
  action: Action,
  what: string,
  options: MutationOptions,
): Promise<void> {
  const path = `/v1/servers/${encodeURIComponent(ref)}/actions/${action}`;
  await actions.done(await http.change(what, 'POST', path, undefined, options), what, options);
}

/** One that something is done with may be about to start by itself. */
async function startServer(hetzner: Hetzner, ref: string, options: MutationOptions): Promise<void> {
  try {
    await act(hetzner, ref, 'poweron', 'start the server', options);
  } catch (error) {
    if (!isProviderCode(error, 'locked') && !isProviderCode(error, 'conflict')) throw error;
    const { status } = await readOne(hetzner, ref, options);
    if (status !== 'running' && status !== 'starting') throw error;
  }
}

/** One server; @throws NOT_FOUND. */
async function readOne({ http }: Hetzner, ref: string, options: CallOptions): Promise<ProviderServer> {
  const body = await http.read('look at the server', `/v1/servers/${encodeURIComponent(ref)}`, options);
  const server = toProviderServer(fields(body).server);
  if (server !== null) return server;
  throw new ProviderError('UNAVAILABLE', 'Hetzner answered no server. Trying again may help.', { retryable: true });
}

/** Asks the system to shut down, and cuts its power when it has not done so in a minute. */
async function stopServer(hetzner: Hetzner, ref: string, options: MutationOptions): Promise<void> {
  if ((await readOne(hetzner, ref, options)).status === 'stopped') return;
  await act(hetzner, ref, 'shutdown', 'stop the server', options);
  const stopped = await settled(hetzner, ref, ['running', 'stopping'], hetzner.shutdownMs, options);
  if (!stopped) await act(hetzner, ref, 'poweroff', 'switch the server off', options);
}

async function restartServer(hetzner: Hetzner, ref: string, options: MutationOptions): Promise<void> {
  const off = (await readOne(hetzner, ref, options)).status === 'stopped';
  await act(hetzner, ref, off ? 'poweron' : 'reboot', 'restart the server', options);
}

/** Deletes the server; its primary addresses and disk go with it. */
async function deleteServer(hetzner: Hetzner, ref: string, options: MutationOptions): Promise<void> {
  const remove = () =>
    hetzner.http.change('delete the server', 'DELETE', `/v1/servers/${encodeURIComponent(ref)}`, undefined, options);
  try {
    await remove().catch(async (error: unknown) => {
      if (!isProviderCode(error, 'locked') && !isProviderCode(error, 'conflict')) throw error;
      const now = await readOne(hetzner, ref, options);
      if (now.status === 'deleting') return;
      await settled(hetzner, ref, [now.status], LOCK_WAIT_MS, options);
      await remove();
    });
  } catch (error) {
    if (!(error instanceof ProviderError && error.code === 'NOT_FOUND')) throw error;
  }
}

/** Waits until the server is in none of these states. @returns false when it takes longer. */
async function settled(
  { provider }: Hetzner,
  ref: string,
  states: ProviderServer['status'][],
  milliseconds: number,
  options: MutationOptions,
): Promise<boolean> {
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(), milliseconds);
  const signal = AbortSignal.any([late.signal, ...(options.signal === undefined ? [] : [options.signal])]);
  try {
    await untilObserved(provider, ref, (server) => server === null || !states.includes(server.status), signal);
    return true;
  } catch (error) {
    options.signal?.throwIfAborted();
    if (late.signal.aborted) return false;
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

function isProviderCode(error: unknown, code: string): boolean {
  return error instanceof ProviderError && error.details.provider_code === code;
}

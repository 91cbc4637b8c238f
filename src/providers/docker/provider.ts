import { setTimeout as delay } from 'node:timers/promises';
import type Docker from 'dockerode';
import {
  type CallOptions,
  type MutationOptions,
  OPERATION_LABEL,
  type Provider,
  ProviderError,
  type ProviderServer,
  type ServerSpec,
} from '../contract.ts';
import { mutate, read } from './calls.ts';
import { connect, detectDockerHost, type Engine } from './connection.ts';
import { containerBody, containerName, type Making, toServer, ZONE } from './containers.ts';
import { describeEngine, engineFactsReader } from './engine-facts.ts';
import { ensureImage } from './image.ts';
import { parsePlan, plansWithin } from './plans.ts';
import { specProblems } from './validate.ts';

export { detectDockerHost, USUAL_SOCKETS } from './connection.ts';

/** A local engine has no rate limit; more than this at once only makes every start on the machine slower. */
const CONCURRENCY = 8;

/** After a refused name, how often and how far apart to look for the container that has it: it may still be in the making. */
const NAME_LOOKUPS = 10;
const NAME_LOOKUP_INTERVAL_MS = 300;

/**
 * Containers of a Docker or Podman engine as servers. Nothing is contacted before the first call.
 *
 * @param settings.host the engine's address (see `connect`); the usual sockets when left out.
 * @param settings.installation value of the installation label; none is set where it is left out.
 * @param settings.sudo whether `sudo` and other setuid programs work in its servers; default: they do not.
 * @param settings.image the image every server is made from; fetched from its registry when the engine lacks it.
 * @throws ProviderError INVALID_REQUEST when the address is not understood.
 */
export function createDockerProvider(settings: {
  host?: string;
  image: string;
  installation?: string;
  sudo?: boolean;
}): Provider {
  const engine = connect(detectDockerHost(settings.host) ?? 'unix:///var/run/docker.sock');
  const { image, installation = null, sudo = false } = settings;
  const make: Making = { image, installation, sudo };
  const engineFacts = engineFactsReader(engine);

  return {
    name: 'docker',
    concurrency: CONCURRENCY,
    listPlans: async (options) => plansWithin(await engineFacts(options)),
    listZones: async (options) => [{ name: ZONE, description: describeEngine(await engineFacts(options)) }],
    validate: async (spec, options) => specProblems(spec, await engineFacts(options)),
    findServer: (operationId, options) => findServer(engine, operationId, options),
    ensureServer: (spec, options) => ensureServer(engine, make, spec, options),
    observeServers: async (refs, options) => {
      const wanted = new Set(refs);
      if (wanted.size === 0) return new Map();
      const servers = await listServers(engine, {}, options);
      return new Map(servers.filter((server) => wanted.has(server.ref)).map((server) => [server.ref, server]));
    },
    startServer: (ref, options) => changeState(engine, ref, 'start', options),
    stopServer: (ref, options) => changeState(engine, ref, 'stop', options),
    restartServer: (ref, options) => changeState(engine, ref, 'restart', options),
    deleteServer: (ref, options) => deleteServer(engine, ref, options),
    listServers: (options = {}) => listServers(engine, { unlabelled: options.unlabelled === true }, options),
    close: async () => engine.close(),
  };
}

async function listServers(
  engine: Engine,
  only: { operationId?: string; unlabelled?: boolean },
  options: CallOptions = {},
): Promise<ProviderServer[]> {
  const label = only.operationId === undefined ? OPERATION_LABEL : `${OPERATION_LABEL}=${only.operationId}`;
  const containers = await read(engine, 'list the containers', options, (abortSignal) =>
    engine.docker.listContainers({
      all: true,
      ...(only.unlabelled === true ? {} : { filters: { label: [label] } }),
      abortSignal,
    }),
  );
  return containers.toSorted((a, b) => a.Created - b.Created).map(toServer);
}

async function findServer(
  engine: Engine,
  operationId: string,
  options: CallOptions = {},
): Promise<ProviderServer | null> {
  const servers = await listServers(engine, { operationId }, options);
  return servers.find((server) => server.operation_id === operationId) ?? null;
}

async function ensureServer(
  engine: Engine,
  make: Making,
  spec: ServerSpec,
  options: MutationOptions,
): Promise<ProviderServer> {
  const { operationId } = options;
  const server =
    (await findServer(engine, operationId, options)) ?? (await createContainer(engine, make, spec, options));
  // Made but never started: a run before this one got half-way, or it was made just now.
  if (server.status !== 'creating') return server;
  await changeState(engine, server.ref, 'start', options);
  const started = await findServer(engine, operationId, options);
  if (!started) {
    throw new ProviderError('NOT_FOUND', `The server ${spec.hostname} was deleted while it was being made.`, {
      retryable: false,
      details: { operation_id: operationId },
    });
  }
  return started;
}

async function createContainer(
  engine: Engine,
  make: Making,
  spec: ServerSpec,
  options: MutationOptions,
): Promise<ProviderServer> {
  const plan = parsePlan(spec.plan);
  if (!plan) {
    throw new ProviderError('INVALID_REQUEST', `There is no plan "${spec.plan}". Plans are named like "2xCPU-4GB".`, {
      retryable: false,
    });
  }
  await ensureImage(engine, make.image, options);
  const name = containerName(spec, options.operationId);
  const body = containerBody(spec, plan, make, options.operationId);
  try {
    // Name and body apart: dockerode would put the whole body into the address as well.
    const request: Docker.ContainerCreateOptions & Record<'_query' | '_body', object> = {
      _query: { name },
      _body: body,
    };
    await mutate(engine, `create the container ${name}`, options, () => engine.docker.createContainer(request));
  } catch (error) {
    if (!isCode(error, 'CONFLICT')) throw error;
  }
  return findNamed(engine, name, options);
}

/** The container just made, or the one that another run for the same operation made under the same name. */
async function findNamed(engine: Engine, name: string, options: MutationOptions): Promise<ProviderServer> {
  for (let lookup = 0; lookup < NAME_LOOKUPS; lookup++) {
    if (lookup > 0) await waitFor(NAME_LOOKUP_INTERVAL_MS, options.signal);
    const server = await findServer(engine, options.operationId, options);
    if (server) return server;
  }
  throw new ProviderError(
    'CONFLICT',
    `The name ${name} is taken on the engine by a container that does not belong to this operation. Remove it (docker rm --force ${name}) or try again.`,
    { retryable: true, details: { name, operation_id: options.operationId } },
  );
}

const CHANGES = {
  start: (container: Docker.Container) => container.start(),
  stop: (container: Docker.Container) => container.stop(),
  restart: (container: Docker.Container) => container.restart(),
};

/** "Already so" is success. A container that somebody paused is let go on first: neither engine changes a paused one. */
async function changeState(
  engine: Engine,
  ref: string,
  change: keyof typeof CHANGES,
  options: MutationOptions,
): Promise<void> {
  const container = engine.docker.getContainer(ref);
  const send = () =>
    unlessAlreadySo(mutate(engine, `${change} the container ${ref}`, options, () => CHANGES[change](container)));
  try {
    await send();
  } catch (error) {
    if (!isCode(error, 'CONFLICT') || !(await isPaused(engine, ref, options))) throw error;
    await mutate(engine, `unpause the container ${ref}`, options, () => container.unpause());
    await send();
  }
}

async function isPaused(engine: Engine, ref: string, options: CallOptions): Promise<boolean> {
  const { State } = await read(engine, `look at the container ${ref}`, options, () =>
    engine.docker.getContainer(ref).inspect(),
  );
  return State.Paused;
}

async function deleteServer(engine: Engine, ref: string, options: MutationOptions): Promise<void> {
  try {
    await mutate(engine, `remove the container ${ref}`, options, () =>
      engine.docker.getContainer(ref).remove({ force: true, v: true }),
    );
  } catch (error) {
    if (isCode(error, 'NOT_FOUND')) return;
    // Docker refuses a removal while another one is under way. Whether it is: look.
    if (isCode(error, 'CONFLICT') && (await isGoneOrGoing(engine, ref, options))) return;
    throw error;
  }
}

async function isGoneOrGoing(engine: Engine, ref: string, options: CallOptions): Promise<boolean> {
  const server = (await listServers(engine, {}, options)).find((listed) => listed.ref === ref);
  return server === undefined || server.status === 'deleting';
}

/** 304: the engine found nothing to do. dockerode throws it. */
async function unlessAlreadySo(change: Promise<unknown>): Promise<void> {
  try {
    await change;
  } catch (error) {
    if (!(error instanceof ProviderError && error.details.status === 304)) throw error;
  }
}

async function waitFor(milliseconds: number, signal: AbortSignal | undefined): Promise<void> {
  try {
    await delay(milliseconds, undefined, { signal });
  } catch (error) {
    throw signal?.aborted ? signal.reason : error;
  }
}

function isCode(error: unknown, code: ProviderError['code']): boolean {
  return error instanceof ProviderError && error.code === code;
}

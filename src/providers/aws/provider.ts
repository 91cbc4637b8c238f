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
import { DEFAULT_IMAGE } from '../images.ts';
import { type Catalog, catalogReader, findImage, typeFor } from './catalog.ts';
import { labelServer, resizeServer } from './changing.ts';
import { type Aws, type AwsSettings, createAws, isAwsCode, type Sent } from './client.ts';
import { listed } from './errors.ts';
import { describe, findAlive, listingLagMs, requireInstance, toProviderServer, whyGone } from './instances.ts';
import { runInput, specProblems } from './request.ts';

/** Servers under change at once. */
export const AWS_CONCURRENCY = 100;

/** Instances of EC2 in one region. Nothing is contacted before the first call. */
export function createAwsProvider(settings: AwsSettings): Provider {
  const aws = createAws(settings);
  const catalog = catalogReader(aws);
  let pagesLately = 1;

  const observe = async (options: ListOptions | undefined) => {
    const filter = options?.unlabelled === true ? null : { Name: 'tag-key', Values: [OPERATION_LABEL] };
    const { servers, pages } = await describe(aws, filter, options, 'observe');
    pagesLately = pages;
    return servers;
  };

  return {
    name: 'aws',
    concurrency: AWS_CONCURRENCY,
    listingLagMs: listingLagMs(settings),
    account: () => aws.account.state(),
    observationIntervalMs: () => aws.account.observationIntervalMs(pagesLately),
    listPlans: async (options) => (await catalog(options)).plans,
    listZones: async (options) => (await catalog(options)).zones,
    validate: async (spec, options) => {
      const offered = await catalog(options);
      const image = await imageFor(aws, spec, offered, options);
      return specProblems(spec, offered, image);
    },
    findServer: (operationId, options) => find(aws, operationId, options),
    ensureServer: (spec, options) => telling(options, ensureServer(aws, catalog, spec, options)),
    readServer: (ref, options) => readOne(aws, ref, options),
    observeServers: async (refs, options) => {
      if (refs.length === 0) return new Map();
      const wanted = new Set(refs);
      const servers = await observe(options);
      return new Map(servers.filter(({ ref }) => wanted.has(ref)).map((server) => [server.ref, server]));
    },
    whyGone: (ref, options = {}) => whyGone(aws, { ref }, options),
    startServer: (ref, options) =>
      telling(
        options,
        power(aws, ref, 'start the server', options, ({ sdk, client, abortSignal }) =>
          client.send(new sdk.StartInstancesCommand({ InstanceIds: [ref] }), { abortSignal }),
        ),
      ),
    stopServer: (ref, options) =>
      telling(
        options,
        power(aws, ref, 'stop the server', options, ({ sdk, client, abortSignal }) =>
          client.send(new sdk.StopInstancesCommand({ InstanceIds: [ref] }), { abortSignal }),
        ),
      ),
    restartServer: (ref, options) => telling(options, restartServer(aws, ref, options)),
    deleteServer: (ref, options) => telling(options, deleteServer(aws, ref, options)),
    listServers: (options) => observe(options),
    labelServer: (ref, labels, options) => telling(options, labelServer(aws, ref, labels, options)),
    resizeServer: async (ref, to, options) =>
      telling(options, resizeServer(aws, await catalog(options), ref, to, options)),
    close: async () => aws.close(),
  };
}

/** Tells whoever asked what AWS says in code of why it is not allowed: too long for an error's message. */
async function telling<T>({ onNotice }: MutationOptions, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    const encoded = error instanceof ProviderError ? error.details.encoded_authorization_message : undefined;
    if (encoded !== undefined) {
      onNotice?.(`Why AWS does not allow it: aws sts decode-authorization-message --encoded-message ${encoded}`);
    }
    throw error;
  }
}

/** Of the processor that the plan means. */
function imageFor(aws: Aws, { image, plan, zone }: ServerSpec, offered: Catalog, options?: CallOptions) {
  const architecture = typeFor(plan, zone, offered)?.architecture ?? 'x86_64';
  return findImage(aws, image ?? DEFAULT_IMAGE, architecture, options);
}

async function find(aws: Aws, operationId: string, options?: CallOptions): Promise<ProviderServer | null> {
  const { servers } = await describe(aws, { Name: `tag:${OPERATION_LABEL}`, Values: [operationId] }, options);
  return servers.find((server) => server.operation_id === operationId) ?? null;
}

async function ensureServer(
  aws: Aws,
  catalog: (options?: CallOptions) => Promise<Catalog>,
  spec: ServerSpec,
  options: MutationOptions,
): Promise<ProviderServer> {
  const found = await find(aws, options.operationId, options);
  if (found !== null) return found;
  const offered = await catalog(options);
  const image = await imageFor(aws, spec, offered, options);
  const input = runInput(spec, options.operationId, offered, image, aws.settings);
  try {
    const { Instances: instances } = await aws.change(
      'create the server',
      ({ sdk, client, abortSignal }) => client.send(new sdk.RunInstancesCommand(input), { abortSignal }),
      options,
    );
    const [made] = listed('server', instances);
    const server = made === undefined ? null : toProviderServer(made);
    if (server !== null) return server;
  } catch (error) {
    if (isAwsCode(error, 'IdempotentInstanceTerminated')) throw await terminated(aws, spec, options);
    // An earlier try went through with an older image, and the lists do not show it yet: the next look will.
    if (!isAwsCode(error, 'IdempotentParameterMismatch')) throw error;
    const earlier = await find(aws, options.operationId, options);
    if (earlier !== null) return earlier;
    throw error;
  }
  throw await terminated(aws, spec, options);
}

/** A token makes one instance, also where that has ended. */
async function terminated(aws: Aws, { hostname }: ServerSpec, options: MutationOptions): Promise<ProviderError> {
  const { operationId } = options;
  const gone = `The server ${hostname} was terminated while it was being made.`;
  return (
    (await whyGone(aws, { operationId }, options)) ??
    new ProviderError('NOT_FOUND', gone, { retryable: false, details: { operation_id: operationId } })
  );
}

/**
 * EC2 takes "already so" as success, and a terminated instance for one in a wrong state. One that it has forgotten has no tags,
 * on which the right to change it hangs.
 */
async function power(
  aws: Aws,
  ref: string,
  what: string,
  options: MutationOptions,
  send: (sent: Sent) => Promise<unknown>,
): Promise<void> {
  try {
    await aws.change(what, send, options);
  } catch (error) {
    if (isAwsCode(error, 'IncorrectInstanceState', 'IncorrectState', 'UnauthorizedOperation')) {
      await requireInstance(aws, ref, options);
    }
    throw error;
  }
}

async function readOne(aws: Aws, ref: string, options?: CallOptions): Promise<ProviderServer | null> {
  const { servers } = await describe(aws, { Name: 'instance-id', Values: [ref] }, options);
  return servers[0] ?? null;
}

async function restartServer(aws: Aws, ref: string, options: MutationOptions): Promise<void> {
  const { State: state } = await requireInstance(aws, ref, options);
  const InstanceIds = [ref];
  await power(aws, ref, 'restart the server', options, async ({ sdk, client, abortSignal }) => {
    if (state?.Name === 'stopped') await client.send(new sdk.StartInstancesCommand({ InstanceIds }), { abortSignal });
    else await client.send(new sdk.RebootInstancesCommand({ InstanceIds }), { abortSignal });
  });
}

async function deleteServer(aws: Aws, ref: string, options: MutationOptions): Promise<void> {
  try {
    await aws.change(
      'delete the server',
      ({ sdk, client, abortSignal }) =>
        client.send(new sdk.TerminateInstancesCommand({ InstanceIds: [ref] }), { abortSignal }),
      options,
    );
  } catch (error) {
    if (isAwsCode(error, 'InvalidInstanceID.NotFound')) return;
    // Refused is refused where there is one: believing it deleted would leave it running, and paid for.
    if (!isAwsCode(error, 'UnauthorizedOperation') || (await findAlive(aws, ref, options)) !== null) throw error;
  }
}

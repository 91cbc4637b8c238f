import { type MutationOptions, ProviderError } from '../contract.ts';
import { mutate, read } from './calls.ts';
import type { Engine } from './connection.ts';

/** How long a registry may take to hand over an image. Downloads run at the speed of the line, not of the engine. */
const PULL_TIMEOUT_MS = 10 * 60_000;

/** What the engine would have answered had it not said 200 before it began. */
const LATE_FAILURE_STATUS = 500;

/**
 * Makes sure that the engine has the image, fetching it from its registry only when it is missing. An image that is
 * there is never fetched anew.
 *
 * @throws ProviderError UNAVAILABLE (retryable) when the registry cannot be reached, INVALID_REQUEST when it has no such image.
 */
export async function ensureImage(engine: Engine, image: string, options: MutationOptions): Promise<void> {
  if (await hasImage(engine, image, options)) return;
  try {
    const progress = await mutate(engine, `fetch the image ${image}`, options, () =>
      engine.docker.createImage(pullParameters(image)),
    );
    // Unlike every other change, this one may be cut off: it makes nothing that belongs to the operation.
    await read(engine, `fetch the image ${image}`, { ...options, timeoutMs: PULL_TIMEOUT_MS }, (signal) =>
      followPull(progress, signal),
    );
  } catch (error) {
    throw error instanceof ProviderError && error.code !== 'TIMEOUT' ? pullFailure(image, error) : error;
  }
}

async function hasImage(engine: Engine, image: string, options: MutationOptions): Promise<boolean> {
  try {
    await read(engine, `look up the image ${image}`, options, () => engine.docker.getImage(image).inspect());
    return true;
  } catch (error) {
    if (error instanceof ProviderError && error.code === 'NOT_FOUND') return false;
    throw error;
  }
}

/** `fromImage` and `tag` as both engines take them. Podman refuses names without a registry unless it is set up for them. */
function pullParameters(image: string): { fromImage: string; tag?: string } {
  const [first = '', ...rest] = image.split('/');
  const namesRegistry = rest.length > 0 && (/[.:]/.test(first) || first === 'localhost');
  const reference = namesRegistry ? image : `docker.io/${rest.length > 0 ? image : `library/${image}`}`;
  if (reference.includes('@')) return { fromImage: reference };
  const tag = /:([^/:]+)$/.exec(reference)?.[1];
  return tag === undefined
    ? { fromImage: reference, tag: 'latest' }
    : { fromImage: reference.slice(0, -tag.length - 1), tag };
}

/** The engine answers 200 first and reports failure as the last line of its progress. */
async function followPull(progress: NodeJS.ReadableStream, signal: AbortSignal): Promise<void> {
  const cutOff = () => 'destroy' in progress && typeof progress.destroy === 'function' && progress.destroy();
  signal.addEventListener('abort', cutOff, { once: true });
  let said = '';
  for await (const chunk of progress) {
    // Only the end matters: a large image sends megabytes of progress.
    said = (said + chunk.toString()).slice(-64 * 1024);
  }
  for (const line of said.split('\n').slice(-20)) {
    const failure = /"error"\s*:\s*("(?:[^"\\]|\\.)*")/.exec(line)?.[1];
    if (failure !== undefined) throw Object.assign(new Error(JSON.parse(failure)), { statusCode: LATE_FAILURE_STATUS });
  }
}

function pullFailure(image: string, error: ProviderError): ProviderError {
  // Not about the image: the engine itself went away, or its disk is full.
  if (error.details.status === undefined || error.code === 'CAPACITY_EXHAUSTED') return error;
  const words = String(error.details.engine_message);
  const unreachable =
    /pinging container registry|dial tcp|no such host|i\/o timeout|connection refused|TLS handshake|request canceled/i.test(
      words,
    );
  const message =
    `The engine does not have the image ${image} and ${unreachable ? 'cannot reach its registry' : 'could not fetch it'} (${words}). ` +
    'Load it into the engine yourself (docker load, podman load, podman import), or name an image it has in PROVISIONING_DOCKER_IMAGE.';
  return new ProviderError(unreachable ? 'UNAVAILABLE' : 'INVALID_REQUEST', message, {
    retryable: unreachable,
    details: { ...error.details, image },
    cause: error,
  });
}

/** `fetch` by the egress policy, for libraries that take one: asked about the address at each dial, bounded, without redirects. */
import http from 'node:http';
import https from 'node:https';
import { BlockList, isIP } from 'node:net';
import { VERSION } from '../version.ts';
import { type Egress, EgressError } from './egress.ts';

/** From the look at the name to the end of the answer. Milliseconds. */
const REQUEST_MS = 10_000;
/** Bytes of an answer at most. */
const MAX_ANSWER_BYTES = 1_048_576;

const LOOPBACK = new BlockList();
LOOPBACK.addSubnet('127.0.0.0', 8, 'ipv4');
LOOPBACK.addAddress('::1', 'ipv6');

/** What such libraries hand over. */
interface EgressRequest {
  method?: string;
  headers?: Record<string, string> | Headers;
  body?: unknown;
  signal?: AbortSignal | null;
}

export type EgressFetch = (url: string, request?: EgressRequest) => Promise<Response>;

/** Whether a URL may be asked: with TLS, or on this machine without. The policy has the last word about the address. */
export function isSafeUrl(url: URL): boolean {
  if (url.protocol === 'https:') return true;
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const family = isIP(host);
  return (
    url.protocol === 'http:' &&
    (host === 'localhost' || (family !== 0 && LOOPBACK.check(host, family === 6 ? 'ipv6' : 'ipv4')))
  );
}

/** @returns a function that throws EgressError for what may not be reached, and Error where no whole answer comes in time. */
export function createEgressFetch(egress: Egress): EgressFetch {
  return async (given, { method = 'GET', headers, body, signal } = {}) => {
    const url = new URL(given);
    if (!isSafeUrl(url)) throw new EgressError(`${url.origin} is without TLS: the address must begin with https://`);
    const refused = egress.refusal(url.hostname);
    if (refused !== null) throw new EgressError(refused);
    const own = AbortSignal.timeout(REQUEST_MS);
    const bytes = bytesOf(body);
    const { promise, resolve, reject } = Promise.withResolvers<Response>();
    const request = (url.protocol === 'https:' ? https : http).request(
      url,
      {
        method,
        // No connection is kept: the next one is judged anew.
        agent: false,
        lookup: egress.lookup,
        signal: signal ? AbortSignal.any([signal, own]) : own,
        headers: {
          ...Object.fromEntries(new Headers(headers)),
          'user-agent': `provisioning/${VERSION}`,
          ...(bytes === null ? {} : { 'content-length': String(bytes.length) }),
        },
      },
      (response) => {
        const chunks: Buffer[] = [];
        let size = 0;
        response.on('data', (chunk: Buffer) => {
          chunks.push(chunk);
          size += chunk.length;
          if (size > MAX_ANSWER_BYTES) {
            request.destroy(new Error(`${url.origin} answered more than ${MAX_ANSWER_BYTES} bytes`));
          }
        });
        response.on('end', () => {
          // Thrown in here, it would end the process.
          try {
            resolve(answerOf(response, Buffer.concat(chunks)));
          } catch (error) {
            reject(error);
          }
        });
        response.on('error', reject);
      },
    );
    request.on('error', reject);
    // Another protocol (101) is no answer.
    request.on('upgrade', (_response, socket) => {
      socket.destroy();
      reject(new Error(`${url.origin} wants another protocol than HTTP`));
    });
    request.end(bytes ?? undefined);
    return promise;
  };
}

/** Statuses whose answers have no body. */
const BODILESS = [204, 205, 304];

/** @throws Error for a status that no answer has. */
function answerOf({ statusCode = 0, headers }: http.IncomingMessage, body: Buffer): Response {
  if (statusCode < 200 || statusCode > 599) throw new Error(`the answer has the status ${statusCode}`);
  const pairs = Object.entries(headers).flatMap(([name, value]) =>
    [value ?? []].flat().map((one): [string, string] => [name, one]),
  );
  return new Response(BODILESS.includes(statusCode) ? null : new Uint8Array(body), {
    status: statusCode,
    headers: pairs,
  });
}

function bytesOf(body: unknown): Buffer | null {
  if (body === undefined || body === null) return null;
  if (typeof body === 'string' || body instanceof Uint8Array) return Buffer.from(body as string);
  if (body instanceof URLSearchParams) return Buffer.from(body.toString());
  throw new TypeError('this kind of body is never sent to an issuer');
}

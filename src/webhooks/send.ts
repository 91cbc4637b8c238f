/** One try at delivering: a POST to an address that somebody else has chosen. */
import http from 'node:http';
import https from 'node:https';
import type { Egress } from '../outbound/egress.ts';
import { harmlessText } from '../util/harmless.ts';
import { retryAfterSeconds } from '../util/retry-after.ts';
import { VERSION } from '../version.ts';

/** From the first look at the name to the end of the answer. A receiver that needs longer should take note and answer. */
export const TRY_MS = 15_000;
/** Bytes read of an answer; what comes after them is not waited for. */
const MAX_ANSWER_BYTES = 4_096;
/** Characters kept of it. */
const MAX_EXCERPT = 500;
/** Longest wait that a receiver may ask for. Seconds. */
const MAX_RETRY_AFTER = 21_600;

/** Where deliveries may go. */
export interface Outbound {
  egress: Egress;
  /** Also without TLS. */
  http: boolean;
}

/** How a try ended. `status` null: no answer came, `error` says why. */
export interface Outcome {
  status: number | null;
  excerpt: string | null;
  /** Seconds that the receiver asks to be left alone. */
  retryAfter: number | null;
  error: string | null;
}

/** What is wrong with an address for deliveries; null: nothing that can be seen without asking for its name. */
export function problemOf(url: string, outbound: Outbound): string | null {
  if (!URL.canParse(url)) return 'is not a URL';
  const { protocol, hostname, username, password, hash } = new URL(url);
  if (protocol !== 'https:' && !(protocol === 'http:' && outbound.http)) {
    return outbound.http ? 'must begin with https:// or http://' : 'must begin with https://';
  }
  if (username !== '' || password !== '') return 'must hold no user name or password: the signature proves who sends';
  if (hash !== '') return 'must have no part behind #';
  return outbound.egress.refusal(hostname);
}

/** Sends the body once. Redirects are not followed. Never rejects. */
export async function post(
  url: string,
  headers: Record<string, string>,
  body: string,
  outbound: Outbound,
  signal: AbortSignal,
): Promise<Outcome> {
  const problem = problemOf(url, outbound);
  if (problem !== null) return failure(problem);
  const own = AbortSignal.any([signal, AbortSignal.timeout(TRY_MS)]);
  try {
    return await exchange(url, headers, body, outbound, own);
  } catch (error) {
    if (signal.aborted) return failure('the server stopped before an answer came');
    if (own.aborted) return failure(`no answer within ${TRY_MS / 1_000} s`);
    return failure(error instanceof Error ? error.message : String(error));
  }
}

const failure = (error: string): Outcome => ({
  ...{ status: null, excerpt: null, retryAfter: null },
  error: harmlessText(error),
});

function exchange(
  url: string,
  headers: Record<string, string>,
  body: string,
  { egress }: Outbound,
  signal: AbortSignal,
): Promise<Outcome> {
  const { promise, resolve: done, reject } = Promise.withResolvers<Outcome>();
  const bytes = Buffer.from(body);
  const request = (new URL(url).protocol === 'https:' ? https : http).request(
    url,
    {
      method: 'POST',
      // No connection is kept: the next one is judged anew.
      agent: false,
      lookup: egress.lookup,
      signal,
      headers: {
        'content-type': 'application/json',
        'content-length': bytes.length,
        'user-agent': `provisioning/${VERSION}`,
        ...headers,
      },
    },
    (response) => {
      const status = response.statusCode ?? 0;
      const chunks: Buffer[] = [];
      let size = 0;
      const finish = () => {
        request.destroy();
        done({
          status,
          excerpt: excerptOf(Buffer.concat(chunks)),
          retryAfter: retryAfterSeconds(response.headers['retry-after'], MAX_RETRY_AFTER),
          error: status >= 200 && status < 300 ? null : wordsFor(status),
        });
      };
      response.on('data', (chunk: Buffer) => {
        chunks.push(chunk.subarray(0, MAX_ANSWER_BYTES - size));
        size += chunk.length;
        if (size >= MAX_ANSWER_BYTES) finish();
      });
      response.on('end', finish);
      response.on('error', reject);
    },
  );
  request.on('error', reject);
  // Another protocol (101) is no answer.
  request.on('upgrade', (_response, socket) => {
    socket.destroy();
    reject(new Error('it wants another protocol than HTTP'));
  });
  // Whatever becomes of the connection: a try that never ended would keep its place, and the server from stopping.
  signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  request.end(bytes);
  return promise;
}

function wordsFor(status: number): string {
  if (status >= 300 && status < 400) return `answered ${status}: redirects are not followed`;
  return `answered ${status}`;
}

/** Printable, for a person to read. */
function excerptOf(bytes: Buffer): string | null {
  const text = bytes
    .toString('utf8')
    .replaceAll(/[\p{Cc}\p{Cs}\ufffd]+/gu, ' ')
    .trim();
  return text === '' ? null : Array.from(text).slice(0, MAX_EXCERPT).join('');
}

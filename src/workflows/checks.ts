/** Does something answer? One try each; a problem is words for the user, null means that it does. */
import http from 'node:http';
import https from 'node:https';
import type { Egress } from '../outbound/egress.ts';

/** Milliseconds that one try may take. */
const TRY_MS = 10_000;

/** One GET. Redirects are not followed; the body is not read. */
export async function tryHttp(
  url: string,
  status: number | null,
  egress: Egress,
  signal: AbortSignal,
): Promise<string | null> {
  if (!URL.canParse(url)) return `"${url}" is not a URL`;
  const { protocol, hostname } = new URL(url);
  if (protocol !== 'http:' && protocol !== 'https:') return `"${url}" must begin with http:// or https://`;
  const refused = egress.refusal(hostname);
  if (refused !== null) return refused;
  return outcome(signal, `${url} did not answer within ${TRY_MS / 1_000} s`, (done, own) => {
    const request = (protocol === 'https:' ? https : http).get(
      url,
      { lookup: egress.lookup, agent: false, signal: own, headers: { 'user-agent': 'provisioning' } },
      ({ statusCode = 0 }) => {
        const fits = status === null ? statusCode >= 200 && statusCode < 300 : statusCode === status;
        done(fits ? null : `${url} answered ${statusCode}${status === null ? '' : ` instead of ${status}`}`);
        request.destroy();
      },
    );
    request.on('error', (error) => done(`${url}: ${error.message}`));
  });
}

/** One connection, closed at once. */
export async function tryTcp(target: string, egress: Egress, signal: AbortSignal): Promise<string | null> {
  const [, name = '', port = ''] = /^(.+):(\d+)$/.exec(target) ?? [];
  const host = name.replace(/^\[|\]$/g, '');
  if (Number(port) > 65_535) return `${port} is no port`;
  const refused = egress.refusal(name);
  if (refused !== null) return refused;
  return outcome(signal, `${target} did not accept a connection within ${TRY_MS / 1_000} s`, (done, own) => {
    const socket = egress.connect(host, Number(port), own);
    socket.on('connect', () => {
      done(null);
      socket.destroy();
    });
    socket.on('error', (error) => done(`${target}: ${error.message}`));
  });
}

/** Runs one try within its time. @throws the signal's reason. */
async function outcome(
  signal: AbortSignal,
  late: string,
  attempt: (done: (problem: string | null) => void, own: AbortSignal) => void,
): Promise<string | null> {
  const own = new AbortController();
  const { promise, resolve } = Promise.withResolvers<string | null>();
  const timer = setTimeout(() => resolve(late), TRY_MS);
  const stop = () => resolve(null);
  signal.addEventListener('abort', stop, { once: true });
  try {
    attempt(resolve, own.signal);
    const problem = await promise;
    signal.throwIfAborted();
    return problem;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', stop);
    own.abort();
  }
}

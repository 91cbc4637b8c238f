/** Does something answer? One try each; a problem is words for the user, null means that it does. */
import { lookup } from 'node:dns';
import http from 'node:http';
import https from 'node:https';
import { BlockList, connect, isIP, type LookupFunction } from 'node:net';

/** Milliseconds that one try may take. */
const TRY_MS = 10_000;

/** Which addresses checks may go to. */
export interface Reach {
  /** Also addresses of this machine itself and of its own link. */
  local: boolean;
}

/** Addresses that belong to the server's own machine or network link (RFC 6890): there a check could ask what its
 * author may not. Cloud metadata services live at 169.254.169.254. */
const LOCAL = new BlockList();
for (const [net, bits] of [
  ['0.0.0.0', 8],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['224.0.0.0', 4],
  ['240.0.0.0', 4],
] as const) {
  LOCAL.addSubnet(net, bits, 'ipv4');
}
for (const [net, bits] of [
  ['::', 127],
  ['fe80::', 10],
  ['ff00::', 8],
  ['fd00:ec2::', 32],
] as const)
  LOCAL.addSubnet(net, bits, 'ipv6');

function isRefused(address: string, { local }: Reach): boolean {
  if (local) return false;
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (mapped !== undefined) return LOCAL.check(mapped, 'ipv4');
  return LOCAL.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4');
}

/** Resolves a name and refuses what it must not reach: the address that is checked is the one connected to. */
function guardedLookup(reach: Reach): LookupFunction {
  return (hostname, options, callback) => {
    lookup(hostname, { ...options, all: true }, (error, addresses) => {
      const allowed = (addresses ?? []).filter(({ address }) => !isRefused(address, reach));
      const [first] = allowed;
      if (error !== null) callback(error, '', 0);
      else if (first === undefined) callback(refusal(hostname), '', 0);
      else if (options.all === true) callback(null, allowed);
      else callback(null, first.address, first.family);
    });
  };
}

function refusal(host: string): NodeJS.ErrnoException {
  return new Error(`${host} is an address of this server's own machine or link, where checks may not go`);
}

/** One GET. Redirects are not followed; the body is not read. */
export async function tryHttp(
  url: string,
  status: number | null,
  reach: Reach,
  signal: AbortSignal,
): Promise<string | null> {
  if (!URL.canParse(url)) return `"${url}" is not a URL`;
  const { protocol, hostname } = new URL(url);
  if (protocol !== 'http:' && protocol !== 'https:') return `"${url}" must begin with http:// or https://`;
  const host = hostname.replace(/^\[|\]$/g, '');
  if (isIP(host) !== 0 && isRefused(host, reach)) return refusal(host).message;
  return outcome(signal, `${url} did not answer within ${TRY_MS / 1_000} s`, (done, own) => {
    const request = (protocol === 'https:' ? https : http).get(
      url,
      { lookup: guardedLookup(reach), agent: false, signal: own, headers: { 'user-agent': 'provisioning' } },
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
export async function tryTcp(target: string, reach: Reach, signal: AbortSignal): Promise<string | null> {
  const [, name = '', port = ''] = /^(.+):(\d+)$/.exec(target) ?? [];
  const host = name.replace(/^\[|\]$/g, '');
  if (Number(port) > 65_535) return `${port} is no port`;
  if (isIP(host) !== 0 && isRefused(host, reach)) return refusal(host).message;
  return outcome(signal, `${target} did not accept a connection within ${TRY_MS / 1_000} s`, (done, own) => {
    const socket = connect({ host, port: Number(port), lookup: guardedLookup(reach), signal: own });
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

/** Signing in by an identity provider from a terminal: by a code on any device or, where the provider knows no codes, in a browser. */
import { createHash, randomBytes, randomInt } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { ApiError, type Client, type Schemas } from '../sdk/client.ts';
import { ConflictError, UsageError } from './errors.ts';
import type { Terminal } from './terminal.ts';

type TokenPair = Schemas['TokenPair'];

/** Ports that no service has by custom. */
const PORTS = { from: 49_152, to: 65_536 };
/** As long as the server waits for the browser. Milliseconds. */
const BROWSER_MS = 600_000;
const TICKET = /^[A-Za-z0-9_-]{43}$/;
const FAILURES: Record<string, string> = {
  expired: 'The sign-in took too long, was used before or was begun somewhere else. Begin it again.',
  refused:
    'The identity provider, or the server, did not accept the sign-in. An administrator finds why in the audit log.',
  unavailable:
    'The identity provider does not answer, or is set up wrong. An administrator finds why in the audit log.',
};

export interface SignIn {
  client: Client;
  url: string;
  /** Undefined: the only one that there is. */
  provider: string | undefined;
  /** The browser is on another machine: the address at which it ends is pasted. */
  paste: boolean;
}

/** @throws UsageError, ConflictError, ApiError. */
export async function signIn(terminal: Terminal, given: SignIn): Promise<TokenPair> {
  const { client, paste } = given;
  const name = await providerOf(given);
  const begun = paste
    ? null
    : await client.post('/v1/auth/sso/{name}/device', { path: { name } }).catch((error) => {
        if (error instanceof ApiError && error.code === 'NO_DEVICE_LOGIN') return null;
        throw error;
      });
  return begun === null ? byBrowser(terminal, given, name) : byDevice(terminal, client, begun);
}

async function providerOf({ client, provider }: SignIn): Promise<string> {
  const offered = await client.get('/v1/auth/sso');
  const names = offered.map(({ name }) => name);
  if (provider !== undefined && !names.includes(provider)) {
    throw new UsageError(`--provider ${provider}: the server has ${names.join(', ') || 'none'}.`);
  }
  const [only, ...others] = names;
  if (provider === undefined && others.length > 0) throw new UsageError(`Give --provider: ${names.join(' or ')}.`);
  const name = provider ?? only;
  if (name === undefined) throw new ConflictError('The server has no identity provider that people log in by.');
  return name;
}

async function byDevice(terminal: Terminal, client: Client, begun: Schemas['DeviceSignIn']): Promise<TokenPair> {
  const { device, user_code: code, verification_uri: address, verification_uri_complete: complete } = begun;
  terminal.note(`Open this address on any device:\n  ${address}\nand enter this code:\n  ${code}`);
  if (complete !== null) terminal.note(`The same in one:\n  ${complete}`);
  const deadline = performance.now() + begun.expires_in * 1_000;
  let { interval } = begun;
  for (;;) {
    await sleep(interval * 1_000);
    try {
      return await client.post('/v1/auth/sso/device/token', { body: { device } });
    } catch (error) {
      if (!(error instanceof ApiError && error.code === 'AUTHORIZATION_PENDING')) throw error;
      if (performance.now() > deadline) throw new ConflictError('Nobody signed in with the code in time. Begin again.');
      const { interval: asked } = (error.details ?? {}) as { interval?: number };
      interval = asked ?? interval;
    }
  }
}

async function byBrowser(terminal: Terminal, { client, url, paste }: SignIn, provider: string): Promise<TokenPair> {
  const verifier = randomBytes(32).toString('base64url');
  const challenge = createHash('sha256').update(verifier).digest('base64url');
  const addressFor = (port: number) =>
    `${url}/v1/auth/sso/${provider}/start?${new URLSearchParams({ port: String(port), challenge })}`;
  terminal.note(`The browser asks whether it is you. Say yes only where it shows this code:\n  ${codeOf(challenge)}`);
  const arrived = paste ? await pasted(terminal, addressFor) : await listenFor(terminal, addressFor);
  const failure = arrived.get('error');
  if (failure !== null)
    throw new ConflictError(
      (Object.hasOwn(FAILURES, failure) ? FAILURES[failure] : undefined) ?? 'The sign-in was not accepted.',
    );
  const ticket = arrived.get('ticket') ?? '';
  return client.post('/v1/auth/sso/token', { body: { ticket, verifier } });
}

/** As the server shows it in the browser. */
function codeOf(challenge: string): string {
  const hex = createHash('sha256').update(challenge).digest('hex').toUpperCase();
  return `${hex.slice(0, 4)}-${hex.slice(4, 8)}`;
}

/** Nobody listens at the port: the browser shows the address at which it ended. */
async function pasted(terminal: Terminal, addressFor: (port: number) => string): Promise<URLSearchParams> {
  terminal.note(`Open this address in a browser and sign in:\n  ${addressFor(randomInt(PORTS.from, PORTS.to))}`);
  const text = (await terminal.ask('Paste the address at which the browser ends (http://127.0.0.1…): ')).trim();
  if (!URL.canParse(text)) throw new UsageError('This is no address. It looks like http://127.0.0.1:50123/?ticket=…');
  return new URL(text).searchParams;
}

async function listenFor(terminal: Terminal, addressFor: (port: number) => string): Promise<URLSearchParams> {
  const { promise, resolve, reject } = Promise.withResolvers<URLSearchParams>();
  const server = createServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? '/', 'http://127.0.0.1');
    const isOurs = pathname === '/' && (TICKET.test(searchParams.get('ticket') ?? '') || searchParams.has('error'));
    response.writeHead(isOurs ? 200 : 404, { 'content-type': 'text/plain; charset=utf-8', connection: 'close' });
    response.end(
      isOurs ? 'Done. Go back to the terminal; this page can be closed.\n' : 'There is nothing here.\n',
      () => {
        if (isOurs) resolve(searchParams);
      },
    );
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const late = setTimeout(() => reject(new ConflictError('Nobody signed in in time. Begin again.')), BROWSER_MS);
  terminal.note(
    `Open this address in a browser on this machine and sign in:\n  ${addressFor((server.address() as AddressInfo).port)}`,
  );
  terminal.note('Where the browser is on another machine, give --paste.');
  try {
    return await promise;
  } finally {
    clearTimeout(late);
    server.close();
    server.closeAllConnections();
  }
}

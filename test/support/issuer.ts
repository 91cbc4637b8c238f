/**
 * An identity provider on the loopback address: `oidc-provider`, which is certified and nobody's here. Its keys are the test's,
 * so that it can sign what a provider would not, and its answers can be tampered with. And a browser that goes through its pages.
 */
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import { type CryptoKey, exportJWK, generateKeyPair, type JWTPayload, SignJWT } from 'jose';
import { Provider } from 'oidc-provider';
import { freePort } from './server.ts';

/** Somebody whom it knows. Changed, it answers otherwise from then on. */
export interface Person {
  preferred_username?: string;
  email?: string;
  groups?: string[];
}

export interface IssuerOptions {
  /** Where browsers come back to: the server's address and the name under which it knows this issuer. */
  callbacks: string[];
  port?: number;
  /** False: no sign-ins by another device. */
  device?: boolean;
  /** In the ID token as well as in the user info, as some issuers have them. */
  claimsInIdToken?: boolean;
  /** False: it gives no refresh tokens. */
  refreshTokens?: boolean;
  /** Seconds. */
  accessSeconds?: number;
}

/** Changes an answer of an endpoint before it is sent. */
type Tamper = (
  answer: Record<string, unknown>,
  status: number,
) => Promise<Record<string, unknown>> | Record<string, unknown>;

export interface TestIssuer extends AsyncDisposable {
  issuer: string;
  clientId: string;
  clientSecret: string;
  /** By subject. */
  people: Map<string, Person>;
  /** The key that is in its key set, and the name of it there. */
  key: CryptoKey;
  publicKey: CryptoKey;
  kid: string;
  /** Path → what is changed about its JSON. */
  tamper: Map<string, Tamper>;
  /** Path → answered so, whatever the provider says. */
  broken: Map<string, number>;
  /** Paths that were asked for, in order. */
  requests: string[];
  /** A token that it signs for a job. */
  jobToken(claims: JWTPayload, options?: { kid?: string; key?: CryptoKey | Uint8Array; alg?: string }): Promise<string>;
  /** Answers nothing any more. */
  stop(): Promise<void>;
}

export const CLIENT_ID = 'provisioning';
const CLIENT_SECRET = 'what the client shows the issuer, a long one';

export async function startIssuer(options: IssuerOptions): Promise<TestIssuer> {
  const { callbacks, device = true, claimsInIdToken = false, refreshTokens = true, accessSeconds = 3_600 } = options;
  const port = options.port ?? (await freePort());
  const issuer = `http://127.0.0.1:${port}`;
  const { privateKey: key, publicKey } = await generateKeyPair('RS256', { extractable: true });
  const kid = 'the key of the test';
  const people = new Map<string, Person>();
  const grants = ['authorization_code', 'refresh_token', 'urn:ietf:params:oauth:grant-type:device_code'];
  const jwk = { ...(await exportJWK(key)), kid, use: 'sig', alg: 'RS256' };
  const provider = new Provider(issuer, {
    clients: [
      {
        client_id: CLIENT_ID,
        client_secret: CLIENT_SECRET,
        redirect_uris: callbacks,
        grant_types: device ? grants : grants.slice(0, 2),
        response_types: ['code'],
      },
    ],
    jwks: { keys: [jwk] },
    cookies: { keys: ['the key of cookies in this test'] },
    scopes: ['openid', 'profile', 'email', 'offline_access'],
    claims: { openid: ['sub'], profile: ['preferred_username', 'groups'], email: ['email'] },
    conformIdTokenClaims: !claimsInIdToken,
    features: { deviceFlow: { enabled: device }, devInteractions: { enabled: true }, revocation: { enabled: true } },
    issueRefreshToken: async () => refreshTokens,
    rotateRefreshToken: true,
    ttl: {
      AccessToken: accessSeconds,
      Grant: 86_400,
      Session: 86_400,
      Interaction: 600,
      DeviceCode: 600,
      IdToken: 600,
    },
    findAccount: async (_context: unknown, subject: string) =>
      people.has(subject)
        ? { accountId: subject, claims: async () => ({ sub: subject, ...people.get(subject) }) }
        : undefined,
  });
  const answer = provider.callback();
  const tamper = new Map<string, Tamper>();
  const broken = new Map<string, number>();
  const requests: string[] = [];
  const server = createServer((request, response) => {
    const path = (request.url ?? '').split('?')[0] ?? '';
    requests.push(path);
    const status = broken.get(path);
    if (status !== undefined) {
      response.writeHead(status, { 'content-type': 'text/plain' }).end('out of order');
      return;
    }
    const change = tamper.get(path);
    if (change !== undefined) tamperWith(response, change);
    void answer(request, response);
  }).listen(port, '127.0.0.1');
  await once(server, 'listening');
  const stop = async () => {
    if (!server.listening) return;
    server.closeAllConnections();
    server.close();
    await once(server, 'close');
  };
  return {
    ...{ issuer, clientId: CLIENT_ID, clientSecret: CLIENT_SECRET, people, key, publicKey, kid },
    ...{ tamper, broken, requests, stop },
    async jobToken(claims, { kid: other = kid, key: signer = key, alg = 'RS256' } = {}) {
      const now = Math.floor(Date.now() / 1_000);
      return new SignJWT({ iss: issuer, iat: now, exp: now + 300, jti: randomUUID(), ...claims })
        .setProtectedHeader({ alg, kid: other, typ: 'JWT' })
        .sign(signer);
    },
    [Symbol.asyncDispose]: stop,
  };
}

/** Waits for a whole answer and sends another in its place. */
function tamperWith(response: ServerResponse, change: Tamper): void {
  const end = response.end.bind(response);
  response.end = ((body?: string | Buffer) => {
    const answer = JSON.parse(String(body ?? '{}')) as Record<string, unknown>;
    void Promise.resolve(change(answer, response.statusCode)).then((changed) => {
      response.removeHeader('content-length');
      end(JSON.stringify(changed));
    });
    return response;
  }) as typeof response.end;
}

/** A browser without scripts: it follows redirects, keeps cookies and sends forms. */
export interface Browser {
  /** Goes to an address. @returns where it ends: outside of `stays`, or on a page without a form. */
  visit(url: string, options?: { as?: string; stays?: (url: URL) => boolean }): Promise<{ url: URL; page: string }>;
  /** The cookies that it would send there. */
  cookiesFor(url: string): string;
  /** By host, then by name. */
  jar: Map<string, Map<string, string>>;
}

const MAX_STEPS = 30;

export function createBrowser(): Browser {
  const jar = new Map<string, Map<string, string>>();
  const cookiesFor = (url: string) =>
    [...(jar.get(new URL(url).host) ?? [])].map(([name, value]) => `${name}=${value}`).join('; ');
  const send = async (url: string, form?: URLSearchParams) => {
    const cookie = cookiesFor(url);
    const response = await fetch(url, {
      redirect: 'manual',
      ...(form === undefined ? {} : { method: 'POST', body: form }),
      headers: cookie === '' ? {} : { cookie },
    });
    const { host } = new URL(url);
    const cookies = jar.get(host) ?? new Map<string, string>();
    jar.set(host, cookies);
    for (const line of response.headers.getSetCookie()) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(line) ?? [];
      if (value === '' || /max-age=0|expires=Thu, 01 Jan 1970/i.test(line)) cookies.delete(name);
      else cookies.set(name, value);
    }
    return response;
  };
  return {
    jar,
    cookiesFor,
    async visit(start, { as = '', stays = () => true } = {}) {
      let url = new URL(start);
      let form: URLSearchParams | undefined;
      for (let step = 0; step < MAX_STEPS; step += 1) {
        if (!stays(url)) return { url, page: '' };
        const response = await send(url.href, form);
        form = undefined;
        const location = response.headers.get('location');
        const page = await response.text();
        if (location !== null) {
          url = new URL(location, url);
          continue;
        }
        const [, action, fields] = /<form[^>]* action="([^"]+)"[^>]*>([\s\S]*?)<\/form>/.exec(page) ?? [];
        if (action === undefined || as === '') return { url, page };
        url = new URL(action.replaceAll('&amp;', '&'), url);
        form = new URLSearchParams();
        for (const [input] of (fields ?? '').matchAll(/<input[^>]*>/g)) {
          const name = /name="([^"]*)"/.exec(input)?.[1];
          const value = /value="([^"]*)"/.exec(input)?.[1] ?? '';
          if (name !== undefined) form.set(name, name === 'login' ? as : name === 'password' ? 'any' : value);
        }
      }
      throw new Error(`the browser still goes on after ${MAX_STEPS} pages, at ${url.href}`);
    },
  };
}

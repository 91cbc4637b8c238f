/**
 * Whatever is sent to whichever endpoint: never a 5xx, every refusal in the reference's format, a refused request has
 * changed nothing, and the OpenAPI document tells of the answer: its status and the form of its body. Requests are
 * generated from that document; the seed of a failure is in its message.
 */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import fc from 'fast-check';
import {
  askForServer,
  expectError,
  expectOk,
  makeUser,
  startInstallation,
  USER_PASSWORD,
} from '../support/acceptance.ts';
import { assertDescribed, type Endpoint, readEndpoints } from '../support/openapi.ts';
import { type RawRequest, sendRaw } from '../support/raw.ts';
import { type Existing, requestFor } from '../support/requests.ts';
import type { Answer } from '../support/server.ts';

/** Requests for each endpoint, the same ones in every run. `FUZZ_RUNS` and `FUZZ_SEED` look further. */
const RUNS = Number(process.env.FUZZ_RUNS ?? 20);
const SEED = Number(process.env.FUZZ_SEED ?? 1);

// Nothing is carried out here: what changes was changed by a request.
const installation = await startInstallation({ ROLE: 'api', BODY_LIMIT: '65536' });
after(() => installation.close());
const { server, database } = installation;
await makeUser(server.admin, 'caller', [{ role: 'admin' }]);
let caller = await server.login('caller', USER_PASSWORD);
const endpoints = await readEndpoints(caller);

const users = [await makeUser(server.admin, 'somebody', [{ role: 'developer' }])];
expectOk(await caller.request('POST', '/v1/workspaces/create', { name: 'other' }));
const operations = [(await askForServer(caller, 'first')).id, (await askForServer(caller, 'second')).id];
expectOk(await caller.request('POST', `/v1/operations/${operations[1]}/cancel`));
const servers = expectOk(await caller.request<{ id: string }[]>('GET', '/v1/servers')).map(({ id }) => id);
const existing = {
  server_id: servers,
  operation_id: operations,
  name: ['default', 'other', 'simulated'],
  workspace: ['default', 'other'],
  provider: ['simulated'],
  plan: ['2xCPU-4GB'],
  zone: ['de-fra1'],
  path: ['/opt/workspaces/../x', `${server.dataDir}/workspaces/any`],
  hostname: ['first', 'third'],
  cursor: ['', 'last'],
  page: ['1', '2'],
  username: ['caller', 'somebody.else'],
};

/** Everything that a request may change, as one fingerprint. */
async function fingerprint(): Promise<string> {
  const tables = ['servers', 'operations', 'workspaces', 'users', 'role_bindings', 'api_tokens', 'idempotency_keys'];
  const each = tables.map(
    (table) =>
      `select '${table}' as t, md5(string_agg(x::text, ',' order by x::text)) as h, count(*) as n from provisioning.${table} x`,
  );
  const { rows } = await database.pool.query<{ t: string; h: string; n: string }>(each.join(' union all '));
  return JSON.stringify(rows);
}

/** What the `{id}` in a path may be. */
function idsFor({ path }: Endpoint): string[] {
  if (path.startsWith('/v1/users')) return users;
  return path.startsWith('/v1/servers') ? servers : operations;
}

/** A 401 of these says nothing about the caller's token. */
const WITHOUT_SESSION = [
  ...['/v1/auth/login', '/v1/auth/refresh', '/v1/auth/password'],
  ...['/v1/auth/totp', '/v1/auth/totp/confirm', '/v1/auth/totp/remove'],
];

async function send(request: RawRequest): Promise<Answer> {
  const headers = { authorization: `Bearer ${caller.token}`, ...request.headers };
  const answer = await sendRaw(server.url, { ...request, headers });
  if (answer.status !== 401 || WITHOUT_SESSION.includes(request.path)) return answer;
  // An earlier request has ended the caller's tokens, as it may.
  caller = await server.login('caller', USER_PASSWORD);
  return sendRaw(server.url, { ...request, headers: { ...headers, authorization: `Bearer ${caller.token}` } });
}

for (const endpoint of endpoints) {
  test(`${endpoint.method} ${endpoint.path}`, async () => {
    // A long poll would last as long as it is asked to.
    const fixed: Existing = endpoint.path.endsWith('/wait') ? { timeout: ['0', '-1', '301', 'x', '1e1', ''] } : {};
    const property = fc.asyncProperty(
      requestFor(endpoint, { ...existing, id: idsFor(endpoint) }, fixed),
      async (request) => {
        const before = await fingerprint();
        const answer = await send(request);
        assertDescribed(endpoint, answer);
        if (answer.status >= 400) expectError(answer, answer.status);
        assert.ok(answer.status < 500, `${answer.status}: ${JSON.stringify(answer.body)}`);
        if (answer.status >= 400) assert.equal(await fingerprint(), before, `${answer.status} has changed something`);
      },
    );
    await fc.assert(property, { numRuns: RUNS, seed: SEED });
  });
}

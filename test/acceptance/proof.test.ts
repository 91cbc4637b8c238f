/** What a session alone does not do for an administrator: hand out passwords, take second factors off, make administrators. */
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import {
  ADMIN_ROLE,
  expectError,
  expectOk,
  makeUser,
  PROOF,
  startInstallation,
  USER_PASSWORD,
} from '../support/acceptance.ts';
import { ADMIN_PASSWORD, type Client } from '../support/server.ts';
import { codesNow } from '../support/totp.ts';

const installation = await startInstallation({ ROLE: 'api', ACCOUNT_LOGIN_LIMIT: '3' });
after(() => installation.close());
const { server } = installation;
const { admin, anonymous } = server;
const NEXT_PASSWORD = 'another password of theirs';

interface User {
  id: string;
  username: string;
  disabled: boolean;
  roles: { role: string; workspace: string | null }[];
  totp_enabled: boolean;
}
const readUser = async (id: string) => expectOk(await admin.request<User>('GET', `/v1/users/${id}`));
const login = (username: string, password: string) =>
  anonymous.request('POST', '/v1/auth/login', { username, password });

/** Sets up an app. @returns recovery codes, each good for one proof. */
async function setUpApp(client: Client): Promise<string[]> {
  const password = USER_PASSWORD;
  const { secret } = expectOk(await client.request<{ secret: string }>('POST', '/v1/auth/totp', { password }));
  const confirmation = { code: codesNow(secret)[0] };
  return expectOk(await client.request<{ recovery_codes: string[] }>('POST', '/v1/auth/totp/confirm', confirmation))
    .recovery_codes;
}

type Proof = { password: string; totp?: string } | undefined;
interface Change {
  /** What is changed: its id, and how the change is asked for. */
  begin(name: string): Promise<{ id: string; ask: (client: Client, proof: Proof) => ReturnType<Client['request']> }>;
  /** Whether the change has been made. */
  made(user: User): Promise<boolean> | boolean;
}
const patch =
  (id: string, change: object) =>
  (client: Client, proof: Proof): ReturnType<Client['request']> =>
    client.request('PATCH', `/v1/users/${id}`, { ...change, ...(proof && { proof }) });
const administers = ({ roles }: User) => roles.some(({ role, workspace }) => role === 'admin' && workspace === null);

const CHANGES: Record<string, Change> = {
  'gives nobody another password': {
    async begin(name) {
      const id = await makeUser(admin, name, [{ role: 'viewer' }]);
      return { id, ask: patch(id, { password: NEXT_PASSWORD }) };
    },
    made: async ({ username }) => (await login(username, NEXT_PASSWORD)).status === 200,
  },
  "takes nobody's second factor off": {
    async begin(name) {
      const id = await makeUser(admin, name, [{ role: 'viewer' }]);
      await setUpApp(await server.login(name, USER_PASSWORD));
      const path = `/v1/users/${id}/totp/remove`;
      return { id, ask: (client, proof) => client.request('POST', path, proof ?? {}) };
    },
    made: ({ totp_enabled: enabled }) => !enabled,
  },
  'promotes nobody to an administrator': {
    async begin(name) {
      const id = await makeUser(admin, name, [{ role: 'viewer' }]);
      return { id, ask: patch(id, { roles: [{ role: 'viewer' }, ADMIN_ROLE] }) };
    },
    made: administers,
  },
  'enables no administrator': {
    async begin(name) {
      const id = await makeUser(admin, name, [ADMIN_ROLE]);
      expectOk(await admin.request('PATCH', `/v1/users/${id}`, { disabled: true }));
      return { id, ask: patch(id, { disabled: false }) };
    },
    made: ({ disabled }) => !disabled,
  },
};

describe('a session of an administrator alone', () => {
  for (const [at, [what, { begin, made }]] of Object.entries(CHANGES).entries()) {
    test(what, async () => {
      await makeUser(admin, `acting.${at}`, [ADMIN_ROLE]);
      const client = await server.login(`acting.${at}`, USER_PASSWORD);
      const [code = ''] = await setUpApp(client);
      const { id, ask } = await begin(`target.${at}`);
      const required = what.includes('second factor') ? [400, 'VALIDATION_ERROR'] : [403, 'PROOF_REQUIRED'];
      const refusals: [Proof, number, string][] = [
        [undefined, Number(required[0]), String(required[1])],
        [{ password: NEXT_PASSWORD, totp: code }, 401, 'INVALID_CREDENTIALS'],
        [{ password: ADMIN_PASSWORD, totp: code }, 401, 'INVALID_CREDENTIALS'],
        [{ password: USER_PASSWORD }, 401, 'TOTP_REQUIRED'],
        [{ password: USER_PASSWORD, totp: 'aaaaa-aaaaa' }, 401, 'INVALID_TOTP'],
      ];
      for (const [proof, status, error] of refusals) expectError(await ask(client, proof), status, error);
      assert.equal(await made(await readUser(id)), false);
      expectOk(await client.request('GET', '/v1/auth/me'));
      expectOk(await ask(client, { password: USER_PASSWORD, totp: code }));
      assert.equal(await made(await readUser(id)), true);
    });
  }

  test('makes no administrator', async () => {
    const make = (name: string, more: object) =>
      admin.request('POST', '/v1/users', {
        ...{ username: name, password: USER_PASSWORD, roles: [{ role: 'viewer' }, ADMIN_ROLE] },
        ...more,
      });
    expectError(await make('puppet', {}), 403, 'PROOF_REQUIRED');
    expectError(await make('puppet', { proof: { password: USER_PASSWORD } }), 401, 'INVALID_CREDENTIALS');
    assert.deepEqual(expectOk(await admin.request('GET', '/v1/users?username=puppet')), []);
    expectOk(await make('puppet', PROOF));
  });
});

test('what makes nobody an administrator of the installation asks for nothing', async () => {
  const id = await makeUser(admin, 'simple', [{ role: 'operator' }, { role: 'admin', workspace: 'default' }]);
  const change = (of: string, body: object) => admin.request('PATCH', `/v1/users/${of}`, body);
  for (const body of [
    { roles: [{ role: 'admin', workspace: 'default' }] },
    { disabled: true },
    { disabled: false },
    { roles: [] },
  ]) {
    expectOk(await change(id, body));
  }
  const peer = await makeUser(admin, 'peer', [ADMIN_ROLE]);
  expectOk(await change(peer, { roles: [ADMIN_ROLE, { role: 'viewer' }] }));
  expectOk(await change(peer, { disabled: true, roles: [ADMIN_ROLE] }));
});

test('guesses at the password of whoever has left a session end', async () => {
  await makeUser(admin, 'left.open', [ADMIN_ROLE]);
  const client = await server.login('left.open', USER_PASSWORD);
  const id = await makeUser(admin, 'in.reach', [{ role: 'viewer' }]);
  const guess = (password: string) => patch(id, { password: NEXT_PASSWORD })(client, { password });
  for (let at = 0; at < 3; at += 1) expectError(await guess(`a guess ${at}`), 401, 'INVALID_CREDENTIALS');
  expectError(await guess(USER_PASSWORD), 429, 'RATE_LIMITED');
  const own = { current_password: USER_PASSWORD, new_password: NEXT_PASSWORD };
  expectError(await client.request('POST', '/v1/auth/password', own), 429, 'RATE_LIMITED');
  // It keeps nobody else from their work, nor the user from logging in.
  expectOk(await patch(id, { password: NEXT_PASSWORD })(admin, PROOF.proof));
  expectOk(await login('left.open', USER_PASSWORD));
});

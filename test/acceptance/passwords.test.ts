/** What a new password must be; what was taken before goes on opening. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { expectError, expectOk, makeUser, PROOF, startInstallation, USER_PASSWORD } from '../support/acceptance.ts';
import { createTestDatabase } from '../support/database.ts';
import { SHARED_MASTER_KEY, spawnProvisioning } from '../support/server.ts';

const installation = await startInstallation({ ROLE: 'api' });
after(() => installation.close());
const { server, database } = installation;
const { admin, anonymous } = server;

const TOO_SHORT = /must have at least 12 characters/;
const NAME_INSIDE = /must not hold the user name/;
const TOO_EASY = /too easy to guess/;
/** For the user `mallory`. */
const REFUSED: Record<string, RegExp> = {
  elevenchars: TOO_SHORT,
  'my mallory password': NAME_INSIDE,
  'My MALLORY password': NAME_INSIDE,
  password1234: TOO_EASY,
  'P@ssw0rd1234': TOO_EASY,
  qwertyuiop123: TOO_EASY,
  iloveyou1234: TOO_EASY,
  '1q2w3e4r5t6y': TOO_EASY,
  '123456789012': TOO_EASY,
  aaaaaaaaaaaaaaaa: TOO_EASY,
  abcdefghijklmnop: TOO_EASY,
  changemechangeme: TOO_EASY,
  passwordpassword: TOO_EASY,
  'Provisioning123!': TOO_EASY,
};
const TAKEN = ['a password for tests', 'river otter lamp seven', 'Tr0ub4dor&3xyz', 'k7#Vq2!mZx9p', 'Ωμέγα και άλφα 12'];

test('a new password that is short, holds the name or is easy to guess is refused with the reason, everywhere', async () => {
  const id = await makeUser(admin, 'mallory', [{ role: 'viewer' }]);
  const mallory = await server.login('mallory', USER_PASSWORD);
  for (const [password, reason] of Object.entries(REFUSED)) {
    const answers = [
      await admin.request('PATCH', `/v1/users/${id}`, { password, ...PROOF }),
      await mallory.request('POST', '/v1/auth/password', { current_password: USER_PASSWORD, new_password: password }),
    ];
    for (const answer of answers) assert.match(expectError(answer, 400, 'VALIDATION_ERROR').message, reason, password);
  }
  for (const password of ['password1234', 'second.mallory!', 'elevenchars']) {
    const body = { username: 'second.mallory', password };
    const problem = expectError(await admin.request('POST', '/v1/users', body), 400, 'VALIDATION_ERROR');
    assert.equal((problem.details as { field: string }[])[0]?.field, 'password');
  }
  // Refusals name no password, in the answer or the log.
  assert.ok(!server.output().includes('P@ssw0rd1234'));
  // None of this ended the session.
  expectOk(await mallory.request('GET', '/v1/auth/me'));
});

test('good ones are taken, of any script and length', async () => {
  for (const [at, password] of [...TAKEN, `${TAKEN[1]} ${'x'.repeat(1_000)}`].entries()) {
    const username = `taken.${at}`;
    expectOk(await admin.request('POST', '/v1/users', { username, password }));
    expectOk(await anonymous.request('POST', '/v1/auth/login', { username, password }));
  }
});

test('a password of an earlier version goes on opening', async () => {
  const id = await makeUser(admin, 'veteran', [{ role: 'viewer' }]);
  // Argon2id of "short", as it would be there.
  const { hash } = await import('@node-rs/argon2');
  await database.pool.query('update provisioning.users set password_hash = $2 where id = $1', [
    id,
    await hash('short'),
  ]);
  expectOk(await anonymous.request('POST', '/v1/auth/login', { username: 'veteran', password: 'short' }));
});

test('how long one must be is a setting', async () => {
  const strict = await installation.replica({ PASSWORD_MIN_LENGTH: '20' });
  const answer = await strict.admin.request('POST', '/v1/users', { username: 'longer', password: 'river otter lamp' });
  assert.match(expectError(answer, 400).message, /at least 20 characters/);
});

test('the first administrator’s password is held to the same, and the start says so', async () => {
  for (const [password, reason] of [
    ['admin-password-1', NAME_INSIDE],
    ['password1234', TOO_EASY],
    ['elevenchars', TOO_SHORT],
  ] as const) {
    await using fresh = await createTestDatabase({ poolSize: 2 });
    const run = spawnProvisioning(['serve'], {
      ...{ DATABASE_URL: fresh.url, MASTER_KEY: SHARED_MASTER_KEY, ADMIN_PASSWORD: password },
      DATA_DIR: server.dataDir,
    });
    assert.equal(await run.closed, 2, run.output());
    assert.match(run.output(), new RegExp(`PROVISIONING_ADMIN_PASSWORD .*${reason.source}`));
    assert.ok(!run.output().includes(password));
  }
});

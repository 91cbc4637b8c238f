/** Secrets of workflows: generated, handed on, and never to be found anywhere but sealed. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, describe, test } from 'node:test';
import fc from 'fast-check';
import { pino } from 'pino';
import { expectError, expectOk, makeClient, makeServer, startInstallation } from '../../../test/support/acceptance.ts';
import { assertFree, assertNotStored } from '../../../test/support/canaries.ts';
import { SEED } from '../../../test/support/seed.ts';
import { ended, type Operation } from '../../../test/support/server.ts';
import { stepsOf, submit, submitBatch } from '../../../test/support/workflows.ts';
import { openEncryption } from '../../access/master-key.ts';
import { decryptSecrets } from '../../taskservs/secrets.ts';
import { readRevision } from '../../taskservs/store.ts';
import { generateSecret, PatternError, sampleOf } from '../../util/secret-pattern.ts';
import { readSecrets } from './store.ts';

fc.configureGlobal({ seed: SEED });

describe('a pattern', () => {
  test('makes secrets of its form, another one each time', () => {
    for (const pattern of ['[A-Za-z0-9]{32}', '[a-z0-9]{6}\\.[a-z0-9]{16}', 'k-[0-9a-f]{64}', '[\\]\\-a-c!]{70}']) {
      const made = Array.from({ length: 50 }, () => generateSecret(pattern));
      assert.equal(new Set(made).size, 50);
      for (const secret of [...made, sampleOf(pattern)]) assert.match(secret, new RegExp(`^${pattern}$`));
    }
    const letters = new Set([...generateSecret('[a-z0-9]{1000}')]);
    assert.equal(letters.size, 36, 'every character of a class comes up');
  });

  test('that leaves too little to chance or is none is refused, whatever it is', () => {
    for (const pattern of [
      'secret',
      '[a-z]{5}',
      '[a]{100}',
      '[a-z0-9]{2000}',
      '[z-a]{32}',
      '(a|b){32}',
      '[a-z]{32',
      '.*',
    ])
      assert.throws(() => generateSecret(pattern), PatternError, pattern);
    fc.assert(
      fc.property(fc.string({ maxLength: 60 }), (pattern) => {
        try {
          assert.ok(generateSecret(pattern).length <= 1_024);
        } catch (error) {
          assert.ok(error instanceof PatternError);
        }
      }),
    );
  });
});

describe('a run', async () => {
  const root = await mkdtemp(path.join(tmpdir(), 'provisioning-test-secrets-'));
  const masterKey = randomBytes(32).toString('base64');
  const installation = await startInstallation({ WORKSPACE_ROOTS: root, MASTER_KEY: masterKey });
  after(async () => {
    await installation.close();
    await rm(root, { recursive: true, force: true });
  });
  const { server, database } = installation;
  const { admin } = server;
  expectOk(await admin.request('POST', '/v1/workspaces/create', { name: 'own', path: `${root}/own` }));
  await mkdir(`${root}/own/workflows`);
  const define = (name: string, text: string) => writeFile(`${root}/own/workflows/${name}.yaml`, text);
  const encryption = await openEncryption(
    database.db,
    { masterKey, previousMasterKeys: [], dataDir: root },
    pino({ level: 'silent' }),
  );
  const secretsOf = async (id: string) => Object.fromEntries(await readSecrets(database.db, encryption, id));
  const taskserv = async (name: string, host: string) => {
    const all = expectOk(
      await admin.request<{ id: string; servers: string[]; config: object }[]>('GET', `/v1/taskservs?name=${name}`),
    );
    const found = all.find(({ servers }) => servers.includes(host));
    assert.ok(found, `${name} is not on ${host}`);
    const revision = await readRevision(database.db, found.id);
    assert.ok(revision !== null);
    return { ...found, secrets: decryptSecrets(encryption, revision) };
  };

  test('of cluster_create gives every node the same secret, also those that come later, and nobody sees it', async () => {
    const cluster = { cluster_name: 'pg', node_count: 2, flavor: 'postgres' };
    const made = await ended(admin, (await submit(admin, 'cluster_create', cluster)).id, 60);
    assert.equal(made.status, 'completed', JSON.stringify(made));
    const scaled = await ended(
      admin,
      (await submit(admin, 'cluster_scale', { cluster_name: 'pg', node_count: 3 })).id,
      60,
    );
    assert.equal(scaled.status, 'completed', JSON.stringify(scaled));

    const secrets = await secretsOf(made.id);
    assert.deepEqual(Object.keys(secrets).sort(), [
      'certificate_key',
      'k3s_token',
      'kubeadm_token',
      'replication_password',
    ]);
    for (const host of ['pg-1', 'pg-2', 'pg-3']) {
      const { secrets: own, config } = await taskserv('postgresql', host);
      assert.deepEqual(own, { replication_password: secrets.replication_password });
      assert.equal('replication_password' in config, false);
    }
    await assertNotStored(database.pool, secrets);
    for (const route of [
      `/v1/workflows/${made.id}`,
      `/v1/workflows/${made.id}/steps`,
      `/v1/workflows/${scaled.id}/steps`,
      '/v1/operations',
      '/v1/taskservs',
      '/v1/audit',
    ]) {
      assertFree(JSON.stringify(expectOk(await admin.request('GET', route))), secrets, route);
    }
    const steps = await stepsOf(admin, made.id);
    const { config } = steps.find(({ id }) => id === 'primary')?.with ?? {};
    assert.deepEqual((config as Record<string, unknown>).replication_password, { $secret: 'replication_password' });
  });

  test('that is retried goes on with the secrets of the one before; another run has others', async () => {
    await define(
      'twice',
      'secrets: { password: { pattern: "[a-z]{40}" } }\noperations:\n  - { id: gate, kind: approval }\n' +
        '  - id: db\n    kind: taskserv.create\n    depends_on: [gate]\n    with: { name: redis, servers: [db-1], config: { password: "${{ secrets.password }}" } }\n',
    );
    await makeServer(admin, 'db-1', { workspace: 'own' });
    const first = await submit(admin, 'twice', {}, 'own');
    await admin.request('POST', `/v1/workflows/${first.id}/cancel`);
    await ended(admin, first.id);
    const again = expectOk(await admin.request<Operation>('POST', `/v1/workflows/${first.id}/retry`));
    const other = await submit(admin, 'twice', {}, 'own');
    assert.match((await secretsOf(first.id)).password ?? '', /^[a-z]{40}$/);
    assert.deepEqual(await secretsOf(again.id), await secretsOf(first.id));
    assert.notDeepEqual(await secretsOf(other.id), await secretsOf(first.id));
    await admin.request('POST', `/v1/workflows/${other.id}/cancel`);
    const { rows } = await database.pool.query<{ sealed: string }>(
      'select sealed from provisioning.workflow_secrets where workflow_id = $1',
      [first.id],
    );
    assert.throws(
      () => encryption.decrypt(rows[0]?.sealed ?? '', `secret password of workflow ${again.id}`),
      'it opens for its own run alone',
    );
  });

  test('keeps a text that was handed in as it is: so replicas of earlier versions read it', async () => {
    const password = 'Canary-that-is-kept-as-it-is';
    const gate = { id: 'gate', kind: 'approval' };
    const db = { id: 'db', kind: 'taskserv.create', depends_on: ['gate'] };
    const config = { name: 'redis', servers: ['db-1'], config: { password } };
    const run = await submitBatch(admin, [gate, { ...db, with: config }], {}, 'own');
    assert.deepEqual(Object.values(await secretsOf(run.id)), [password]);
    await admin.request('POST', `/v1/workflows/${run.id}/cancel`);
  });

  test('takes a secret only to where it stays one; everything else is told with its place', async () => {
    const problem = async (step: string, secrets = '{ password: {} }') => {
      const definition = `secrets: ${secrets}\noperations:\n  - { id: a, ${step} }\n`;
      return expectError(await admin.request('POST', '/v1/workflows/validate', { workspace: 'own', definition }), 400)
        .message;
    };
    const redis = (config: string) =>
      `kind: taskserv.create, with: { name: redis, servers: [db-1], config: ${config} }`;
    for (const [step, expected] of [
      [redis('{ password: "${{ secrets.pasword }}" }'), /there is no secret "pasword" \(line 3, column 95\)/],
      [redis('{ password: "x ${{ secrets.password }}" }'), /stands alone.*line 3, column 95/],
      [
        redis('{ maxmemory: "${{ secrets.password }}" }'),
        /is not a secret setting of this taskserv|must be string|does not match/,
      ],
      [redis('{ password: "${{ secrets }}" }'), /name the secret that is meant/],
      ['kind: approval, with: { message: "${{ secrets.password }}" }', /and nowhere else \(line 3, column \d+\)/],
      ['kind: server.create, with: { hostname: "${{ secrets.password }}" }', /and nowhere else/],
      ['kind: approval, when: "${{ secrets.password == \'a\' }}"', /and nowhere else/],
    ] as const)
      assert.match(await problem(step), expected);
    assert.match(
      await problem('kind: approval', '{ weak: { pattern: "[0-9]{8}" } }'),
      /secrets\.weak\.pattern: leaves 26 bits/,
    );
    const { message } = expectError(
      await admin.request('POST', '/v1/workflows/validate', {
        workspace: 'own',
        definition: 'operations: [{ id: a, kind: approval }]\noutputs: { a: "${{ secrets.a }}" }',
      }),
      400,
    );
    assert.match(message, /there is no secret "a"/);
  });

  test('copies the secret of a taskserv only for whoever might change that taskserv', async () => {
    const dev = await makeClient(server, 'dev', [{ role: 'developer' }]);
    const created = await ended(
      admin,
      expectOk(
        await admin.request<Operation>('POST', '/v1/taskservs/create', {
          ...{ workspace: 'own', name: 'redis', servers: ['db-1'] },
          config: { password: 'Canary-of-the-admin-1' },
        }),
      ).id,
    );
    assert.equal(created.status, 'completed');
    await makeServer(dev, 'dev-1', { workspace: 'own' });
    const copy = [
      {
        ...{ id: 'copy', kind: 'taskserv.create' },
        with: { name: 'redis', servers: ['dev-1'], config: "${{ taskservs[?name == 'redis'].config | [0] }}" },
      },
    ];
    const print = [
      {
        ...{ id: 'print', kind: 'command' },
        with: {
          servers: ['dev-1'],
          script: 'echo $P',
          env: { P: "${{ taskservs[?name == 'redis'].config.password | [0] }}" },
        },
      },
    ];
    const forged = [
      {
        ...{ id: 'forged', kind: 'command' },
        with: {
          servers: ['dev-1'],
          script: 'echo $P',
          env: { P: { $secret: { taskserv: created.result?.taskserv_id, field: 'password' } } },
        },
      },
    ];
    for (const operations of [copy, print, forged]) {
      const answer = await dev.request<Operation>('POST', '/v1/workflows/submit', {
        ...{ workspace: 'own', workflow_type: 'batch', parameters: { operations } },
      });
      if (answer.status === 200) {
        const run = await ended(dev, expectOk(answer).id);
        assert.equal(run.status, 'failed');
        assert.match(run.error ?? '', /created by somebody else/);
      } else expectError(answer, 403);
    }
    const other = await submitBatch(admin, forged, {}, 'default');
    assert.equal((await ended(admin, other.id)).status, 'failed', 'not from another workspace either');
    const own = await ended(admin, (await submitBatch(admin, copy, {}, 'own')).id);
    assert.equal(own.status, 'completed', JSON.stringify(own));
    assert.deepEqual((await taskserv('redis', 'dev-1')).secrets, { password: 'Canary-of-the-admin-1' });
    await assertNotStored(database.pool, { password: 'Canary-of-the-admin-1' });
  });
});

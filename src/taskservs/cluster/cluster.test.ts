/** Services across servers, on real sshds whose scripts write down what they are told. */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { expectError, expectOk } from '../../../test/support/acceptance.ts';
import { assertNotStored } from '../../../test/support/canaries.ts';
import { createTestDatabase, type TestDatabase } from '../../../test/support/database.ts';
import { needs } from '../../../test/support/needs.ts';
import { ended, type Operation, startTestServer, type TestServer, until } from '../../../test/support/server.ts';
import { needsSshd, startSshd, type TestSshd } from '../../../test/support/sshd.ts';
import { defineTaskserv } from '../../../test/support/taskserv-definitions.ts';
import { runBatch, stepsOf } from '../../../test/support/workflows.ts';

const NAMES = ['ring-1', 'ring-2', 'ring-3', 'ring-4'];
const FACT = 'fact-canary-91c4e7';

const DEFINITION = `cluster:
  roles:
    - { name: keeper, count: keepers, at_once: 1 }
    - { name: helper }
  unless: [upstream]
config:
  keepers: { type: integer, minimum: 1, maximum: 3, default: 1 }
  upstream: { type: string, default: "" }
  log: { type: string, required: true }
  key: { type: string, secret: true, pattern: "^[a-f0-9]{32}$", generate: "[a-f0-9]{32}" }
`;
/** As `ring`, but reached by the first server's address while it has none of its own, and upgraded step by step. */
const STAIR = DEFINITION.replace('unless: [upstream]', 'unless: [upstream]\n  shared_address: address').replace(
  'config:',
  'config:\n  address: { type: string, default: "" }',
);
/** `note WORD…` writes a line; a host whose name stands in the file `<log>.fails` after the script's name fails. */
const NOTE = `note() {
  printf '%s\\n' "$*" >>"$TASKSERV_LOG"
  ! grep -qsx "$1 $HOST_NAME" "$TASKSERV_LOG.fails" || fail "told to fail"
}
digest() { printf '%s' "$TASKSERV_KEY" | sha256sum | cut -c 1-8; }
members() { printf '%s' "$CLUSTER_MEMBERS" | awk '{ printf "%s%s:%s", (NR > 1 ? "," : ""), $1, $2 }'; }
`;
const SCRIPTS = {
  install: `${NOTE}
note install "$HOST_NAME" "$CLUSTER_ROLE" "leads=$CLUSTER_LEADS" "leader=$CLUSTER_LEADER" "fact=\${FACT_PASS:-}" "$(members)" "$(digest)"
say "I was told \${FACT_PASS:-nothing}"
while grep -qsx "hold $HOST_NAME" "$TASKSERV_LOG.fails"; do sleep 0.1; done
say "I was told \${FACT_PASS:-nothing}"`,
  check: '! grep -qsx "check $HOST_NAME" "$TASKSERV_LOG.fails" || fail "told to be ill"',
  remove: `${NOTE}\nnote remove "$HOST_NAME"\nforget`,
  admit: `${NOTE}\nnote admit "$HOST_NAME" "$PEER_NAME" "$PEER_ROLE"\nfact PASS "${FACT}-$PEER_NAME"\nsay "let in with ${FACT}-$PEER_NAME"`,
  drain: `${NOTE}\nnote drain "$HOST_NAME" "$PEER_NAME" "leaves=$PEER_LEAVES"`,
  resume: `${NOTE}\nnote resume "$HOST_NAME" "$PEER_NAME"`,
};

interface Taskserv {
  id: string;
  status: string;
  version: string;
  servers: string[];
  secrets: string[];
  config: Record<string, unknown>;
  hosts: { server: string; role: string | null; status: string; message: string | null }[];
}

describe('services across servers', { skip: needsSshd() || needs('unshare') }, () => {
  let database: TestDatabase;
  let server: TestServer;
  let directory: string;
  const sshds: TestSshd[] = [];
  let log = '';
  before(async () => {
    directory = await mkdtemp(path.join(tmpdir(), 'provisioning-cluster-'));
    database = await createTestDatabase();
    server = await start();
    const { body } = await server.admin.request<{ public_key: string }>('GET', '/v1/workspaces/default/ssh-key');
    for (const hostname of NAMES) {
      const sshd = await startSshd(body.public_key, { apart: true });
      sshds.push(sshd);
      const operation = await send('POST', '/v1/servers/import', {
        ...{ workspace: 'default', hostname, ip_address: '127.0.0.1' },
        ssh: { user: 'root', port: sshd.port },
      });
      assert.equal(operation.status, 'completed', operation.error ?? '');
    }
    await defineTaskserv(server.dataDir, 'default', 'ring', SCRIPTS, DEFINITION);
    await defineTaskserv(server.dataDir, 'default', 'stair', SCRIPTS, STAIR);
    const file = path.join(server.dataDir, 'workspaces/default/taskservs/stair/taskserv.yaml');
    const versions = 'versions: { default: "1.0", supported: ["1.0", "1.1", "1.2"], upgrade: next-minor }';
    await writeFile(file, (await readFile(file, 'utf8')).replace(/^versions: .*$/m, versions));
    log = path.join(directory, 'log');
  });
  after(async () => {
    await server[Symbol.asyncDispose]();
    for (const sshd of sshds) await sshd[Symbol.asyncDispose]();
    await database.close();
    await rm(directory, { recursive: true, force: true });
  });

  const start = () =>
    startTestServer({
      databaseUrl: database.url,
      dataDir: path.join(directory, 'data'),
      settings: { HEALTH_CHECK_INTERVAL: '0', EGRESS_ALLOW: '127.0.0.0/8' },
    });
  const send = async (method: string, route: string, body?: unknown): Promise<Operation> =>
    ended(server.admin, expectOk(await server.admin.request<Operation>(method, route, body)).id, 60);
  const create = (servers: string[], config: Record<string, unknown> = {}, name = 'ring') =>
    send('POST', '/v1/taskservs/create', { workspace: 'default', name, servers, config: { log, ...config } });
  const done = (operation: Operation): string => {
    assert.equal(operation.status, 'completed', operation.error ?? '');
    return String(operation.result?.taskserv_id);
  };
  const read = async (id: string) => expectOk(await server.admin.request<Taskserv>('GET', `/v1/taskservs/${id}`));
  /** What the scripts wrote down since the last time. */
  const noted = async (): Promise<string[]> => {
    const lines = (await readFile(log, 'utf8').catch(() => '')).trim().split('\n');
    await writeFile(log, '');
    return lines.filter((line) => line !== '');
  };
  const withoutDigest = (lines: string[]) => lines.map((line) => line.replace(/ [a-f0-9]{8}$/, ''));
  const roles = ({ hosts }: Taskserv) => hosts.map(({ server: name, role, status }) => `${name} ${role} ${status}`);
  const shortened = async (words: number) => (await noted()).map((line) => line.split(' ').slice(0, words).join(' '));
  const failing = (...lines: string[]) => writeFile(`${log}.fails`, lines.map((line) => `${line}\n`).join(''));

  test('the first server founds it, the others are let in one by one with what it hands out', async () => {
    const created = await create(['ring-2', 'ring-1', 'ring-3'], { keepers: 2 });
    const taskserv = await read(done(created));
    assert.deepEqual(roles(taskserv), ['ring-2 keeper running', 'ring-1 keeper running', 'ring-3 helper running']);
    assert.deepEqual(taskserv.servers, ['ring-2', 'ring-1', 'ring-3']);
    assert.deepEqual(taskserv.secrets, ['key']);
    const lines = await noted();
    assert.equal(new Set(lines.filter((line) => line.startsWith('install')).map((line) => line.slice(-8))).size, 1);
    const all = 'ring-2:keeper,ring-1:keeper,ring-3:helper';
    assert.deepEqual(withoutDigest(lines), [
      `install ring-2 keeper leads=yes leader=ring-2 fact= ${all}`,
      'admit ring-2 ring-1 keeper',
      `install ring-1 keeper leads=no leader=ring-2 fact=${FACT}-ring-1 ${all}`,
      'admit ring-2 ring-3 helper',
      `install ring-3 helper leads=no leader=ring-2 fact=${FACT}-ring-3 ${all}`,
    ]);
    // Both hosts have printed it: what reached us was blanked out.
    await assertNotStored(database.pool, { fact: FACT });
    const events = JSON.stringify(
      expectOk(await server.admin.request('GET', `/v1/operations/${created.id}/events?limit=1000`)),
    );
    assert.match(events, /I was told ••••/);
    assert.match(events, /let in with ••••/);
    await send('DELETE', `/v1/taskservs/${taskserv.id}`);
    assert.deepEqual(await noted(), ['remove ring-3', 'remove ring-1', 'remove ring-2']);
  });

  test('PATCH adds, removes and changes: what leaves is drained first, what is new is let in, the rest stays', async () => {
    const id = done(await create(['ring-1', 'ring-2']));
    const key = (await noted()).map((line) => line.slice(-8))[0];
    const patch = (body: unknown) => send('PATCH', `/v1/taskservs/${id}`, body);

    const replaced = await patch({ servers: ['ring-1', 'ring-3'] });
    done(replaced);
    assert.deepEqual(withoutDigest(await noted()), [
      'admit ring-1 ring-3 helper',
      `install ring-3 helper leads=no leader=ring-1 fact=${FACT}-ring-3 ring-1:keeper,ring-3:helper`,
      'drain ring-1 ring-2 leaves=yes',
      'remove ring-2',
    ]);
    const { left } = replaced.result as { left: { server: string; removed: string[] }[] };
    assert.deepEqual(
      left.map(({ server: name, removed }) => [name, removed]),
      [['ring-2', ['ring']]],
    );
    assert.deepEqual(roles(await read(id)), ['ring-1 keeper running', 'ring-3 helper running']);

    done(await patch({ version: '2' }));
    const upgraded = await noted();
    assert.deepEqual(withoutDigest(upgraded), [
      'install ring-1 keeper leads=yes leader=ring-1 fact= ring-1:keeper,ring-3:helper',
      'drain ring-1 ring-3 leaves=no',
      'install ring-3 helper leads=no leader=ring-1 fact= ring-1:keeper,ring-3:helper',
      'resume ring-1 ring-3',
    ]);
    assert.ok(
      upgraded.filter((line) => line.startsWith('install')).every((line) => line.slice(-8) === key),
      'the key stays',
    );

    // A whole new set of servers: the old ones let the new ones in and go last.
    done(await patch({ servers: ['ring-2', 'ring-4'], config: { keepers: 1 } }));
    assert.deepEqual(
      (await noted()).map((line) => line.split(' ').slice(0, 4).join(' ')),
      [
        'admit ring-1 ring-2 keeper',
        'install ring-2 keeper leads=no',
        'admit ring-2 ring-4 helper',
        'install ring-4 helper leads=no',
        'drain ring-2 ring-3 leaves=yes',
        'remove ring-3',
        'drain ring-2 ring-1 leaves=yes',
        'remove ring-1',
      ],
    );
    assert.deepEqual(roles(await read(id)), ['ring-2 keeper running', 'ring-4 helper running']);
    assert.deepEqual((await read(id)).version, '2');
    await send('DELETE', `/v1/taskservs/${id}`);
    await noted();
  });

  test('after a failure no further one is begun; a retry goes on from there', async () => {
    await failing('install ring-2');
    const failed = await create(['ring-1', 'ring-2', 'ring-3', 'ring-4'], { keepers: 3 });
    assert.equal(failed.status, 'failed');
    assert.match(
      failed.error ?? '',
      /ring-2: install\.sh of ring .*told to fail.* ring-3: not begun, because ring-2 failed/,
    );
    const id = String(failed.result?.taskserv_id);
    assert.deepEqual(
      (await noted()).map((line) => line.split(' ').slice(0, 2).join(' ')),
      ['install ring-1', 'admit ring-1', 'install ring-2'],
    );
    await failing();
    done(await send('POST', `/v1/taskservs/${id}/retry`));
    assert.deepEqual(
      (await noted()).map((line) => line.split(' ').slice(0, 3).join(' ')),
      [
        'admit ring-1 ring-2',
        'install ring-2 keeper',
        'admit ring-1 ring-3',
        'install ring-3 keeper',
        'admit ring-1 ring-4',
        'install ring-4 helper',
      ],
    );

    // One that is away cannot be removed, but forgotten; what is left of it is told.
    await sshds[3]?.stop();
    const servers = ['ring-1', 'ring-2', 'ring-3'];
    const forced = await send('PATCH', `/v1/taskservs/${id}`, { servers, force: true });
    done(forced);
    assert.deepEqual((await noted()).at(-1), 'drain ring-1 ring-4 leaves=yes');
    assert.deepEqual((await read(id)).servers, servers);
    await sshds[3]?.start();
    await send('DELETE', `/v1/taskservs/${id}`);
    await noted();
  });

  test('what cannot be is said before anything is done', async () => {
    const request = (body: object) =>
      server.admin.request('POST', '/v1/taskservs/create', { workspace: 'default', name: 'ring', ...body });
    const few = expectError(await request({ servers: ['ring-1'], config: { log, keepers: 2 } }), 400);
    assert.match(JSON.stringify(few), /config\.keepers.*needs 2 servers with the role keeper; there are 1/);
    const id = done(await create(['ring-1', 'ring-2']));
    await noted();
    const refused = async (body: object, status: number) =>
      JSON.stringify(expectError(await server.admin.request('PATCH', `/v1/taskservs/${id}`, body), status));
    assert.match(
      await refused({ config: { keepers: 2 } }, 400),
      /A server that is a member keeps its role: add servers/,
    );
    assert.match(await refused({ config: { upstream: 'x' } }, 400), /sets each server up by itself/);
    assert.match(await refused({}, 400), /give \\"servers\\"/);
    assert.match(await refused({ servers: ['ring-9'] }, 400), /there is no server/);
    const checked = await server.admin.request<Operation>('PATCH', `/v1/taskservs/${id}?check_mode=true`, {
      servers: ['ring-2', 'ring-3'],
    });
    const plan = expectOk(checked).result?.plan as { order: string[] } | undefined;
    assert.deepEqual(plan?.order, ['ring-3: install ring', 'ring-2: change ring', 'ring-1: remove ring']);
    assert.deepEqual(await noted(), []);
    await send('DELETE', `/v1/taskservs/${id}`);
  });

  test('a service moves only to servers that have joined it, whatever has failed in between', async () => {
    const id = done(await create(['ring-1']));
    // As before there were services across servers: it founded what others join.
    await database.pool.query('update provisioning.taskserv_hosts set role = null, position = null');
    await noted();
    const move = () => send('PATCH', `/v1/taskservs/${id}`, { servers: ['ring-2'] });
    await failing('install ring-2');
    for (const _try of ['first', 'second']) {
      assert.equal((await move()).status, 'failed');
      assert.deepEqual(await shortened(3), ['admit ring-1 ring-2', 'install ring-2 keeper']);
      assert.deepEqual(roles(await read(id)), ['ring-1 keeper running', 'ring-2 keeper failed']);
    }
    // A retry would install on the one that is to leave.
    const retried = expectError(await server.admin.request('POST', `/v1/taskservs/${id}/retry`), 409);
    assert.match(JSON.stringify(retried), /did not finish removing ring-1\. Send that change again/);
    await failing('check ring-1');
    await send('POST', `/v1/taskservs/${id}/check`);
    assert.deepEqual(roles(await read(id)), ['ring-1 keeper failed', 'ring-2 keeper failed']);
    done(await move());
    assert.deepEqual(await shortened(4), [
      'admit ring-1 ring-2 keeper',
      'install ring-2 keeper leads=no',
      'drain ring-2 ring-1 leaves=yes',
      'remove ring-1',
    ]);
    await failing();
    await send('DELETE', `/v1/taskservs/${id}`);
    await noted();
  });

  test('the first role leads in every order, also where one of another role has been there for longer', async () => {
    const id = done(await create(['ring-1', 'ring-2']));
    done(await send('PATCH', `/v1/taskservs/${id}`, { servers: ['ring-2', 'ring-3'] }));
    assert.deepEqual(roles(await read(id)), ['ring-2 helper running', 'ring-3 keeper running']);
    await noted();
    done(await send('PATCH', `/v1/taskservs/${id}`, { version: '2' }));
    assert.deepEqual(await shortened(4), [
      'install ring-3 keeper leads=yes',
      'drain ring-3 ring-2 leaves=no',
      'install ring-2 helper leads=no',
      'resume ring-3 ring-2',
    ]);
    await send('DELETE', `/v1/taskservs/${id}`);
    assert.deepEqual(await noted(), ['remove ring-2', 'remove ring-3']);
  });

  test('one that joins is let in once, though the server is killed meanwhile; what let it in is told nowhere', async () => {
    await failing('hold ring-2');
    const accepted = expectOk(
      await server.admin.request<Operation>('POST', '/v1/taskservs/create', {
        ...{ workspace: 'default', name: 'ring', servers: ['ring-1', 'ring-2'], config: { log } },
      }),
    );
    await until(async () => (await readFile(log, 'utf8')).includes('install ring-2'), 'ring-2 to be installed');
    await server.kill();
    server = await start();
    await until(async () => {
      const { rows } = await database.pool.query(
        `select from provisioning.operation_events where operation_id = $1 and data::text like '%is being installed already%'`,
        [accepted.id],
      );
      return rows.length > 0;
    }, 'the install to be gone on with');
    await failing();
    const id = done(await ended(server.admin, accepted.id, 60));
    assert.deepEqual(await shortened(3), ['install ring-1 keeper', 'admit ring-1 ring-2', 'install ring-2 helper']);
    await assertNotStored(database.pool, { fact: FACT });
    await send('DELETE', `/v1/taskservs/${id}`);
    await noted();
  });

  test('one that was drained and stays after all is let in again; the others were not touched', async () => {
    const id = done(await create(['ring-1', 'ring-2', 'ring-3', 'ring-4']));
    await noted();
    await failing('remove ring-4');
    const failed = await send('PATCH', `/v1/taskservs/${id}`, { servers: ['ring-1'] });
    assert.match(failed.error ?? '', /ring-4: remove\.sh of ring .*told to fail/);
    await failing();
    // ring-3 has left, ring-2 was to be the last.
    assert.deepEqual(roles(await read(id)), ['ring-1 keeper running', 'ring-2 helper running', 'ring-4 helper failed']);
    await noted();
    done(await send('PATCH', `/v1/taskservs/${id}`, { servers: ['ring-1', 'ring-4'] }));
    assert.deepEqual(await shortened(3), [
      'admit ring-1 ring-4',
      'install ring-4 helper',
      'drain ring-1 ring-2',
      'remove ring-2',
    ]);
    await send('DELETE', `/v1/taskservs/${id}`);
    await noted();
  });

  test('a failure leaves the others as they are, and a retry brings the change to them as well', async () => {
    const id = done(await create(['ring-1', 'ring-2', 'ring-3'], { keepers: 3 }));
    await noted();
    await failing('install ring-2');
    const failed = await send('PATCH', `/v1/taskservs/${id}`, {
      ...{ servers: ['ring-1', 'ring-2', 'ring-3', 'ring-4'], version: '2' },
    });
    assert.equal(failed.status, 'failed');
    assert.deepEqual(roles(await read(id)), [
      'ring-1 keeper running',
      'ring-2 keeper failed',
      'ring-3 keeper running',
      'ring-4 helper absent',
    ]);
    await noted();
    // Late: it is installed, but without its work until it is well.
    await failing('check ring-2');
    assert.equal((await send('POST', `/v1/taskservs/${id}/retry`)).status, 'failed');
    assert.deepEqual(await shortened(3), ['drain ring-1 ring-2', 'install ring-2 keeper']);
    await failing();
    done(await send('POST', `/v1/taskservs/${id}/retry`));
    assert.deepEqual(await shortened(3), [
      'resume ring-1 ring-2',
      'drain ring-1 ring-3',
      'install ring-3 keeper',
      'resume ring-1 ring-3',
      'admit ring-1 ring-4',
      'install ring-4 helper',
    ]);
    await send('DELETE', `/v1/taskservs/${id}`);
    await noted();
  });

  test('the first server stays while the others reach the service by it; steps count from what is installed', async () => {
    const id = done(await create(['ring-1', 'ring-2'], {}, 'stair'));
    const patch = (body: object) => server.admin.request<Operation>('PATCH', `/v1/taskservs/${id}`, body);
    const refused = JSON.stringify(expectError(await patch({ servers: ['ring-2', 'ring-3'] }), 409));
    assert.match(refused, /ring-1 is the server by whose address all reach stair, and cannot leave/);

    assert.match(JSON.stringify(expectError(await patch({ version: '1.2' }), 409)), /It can become 1\.0 or 1\.1/);
    await failing('install ring-1');
    assert.equal((await send('PATCH', `/v1/taskservs/${id}`, { version: '1.1' })).status, 'failed');
    await failing();
    // 1.1 was asked for, and is on no server.
    const skipped = JSON.stringify(expectError(await patch({ version: '1.2' }), 409));
    assert.match(skipped, /stair 1\.0 on ring-1 cannot become 1\.2/);
    done(await send('PATCH', `/v1/taskservs/${id}`, { version: '1.0' }));
    await failing('install ring-2');
    assert.equal((await send('PATCH', `/v1/taskservs/${id}`, { version: '1.1' })).status, 'failed');
    await failing();
    assert.match(
      JSON.stringify(expectError(await patch({ version: '1.0' }), 409)),
      /1\.1 on ring-1 cannot become 1\.0/,
    );
    done(await send('PATCH', `/v1/taskservs/${id}`, { version: '1.1' }));
    await send('DELETE', `/v1/taskservs/${id}`);

    const free = done(await create(['ring-1', 'ring-2'], { address: 'ring.example.com' }, 'stair'));
    done(await send('PATCH', `/v1/taskservs/${free}`, { servers: ['ring-2', 'ring-3'] }));
    await send('DELETE', `/v1/taskservs/${free}`);
    await noted();
  });

  test('a rollback takes a change back, but not what has been changed since', async () => {
    const id = done(await create(['ring-1', 'ring-2']));
    const workflow = async () => {
      const steps = [
        { id: 'grow', kind: 'taskserv.update', with: { taskserv: id, servers: ['ring-1', 'ring-2', 'ring-3'] } },
        { id: 'more', kind: 'taskserv.update', depends_on: ['grow'], with: { taskserv: id, version: '2' } },
      ];
      const run = await runBatch(server.admin, steps);
      assert.equal(run.status, 'completed', run.error ?? '');
      return run.id;
    };
    const first = await workflow();
    done(await send('PATCH', `/v1/taskservs/${id}`, { servers: ['ring-1', 'ring-2', 'ring-3', 'ring-4'] }));
    const kept = await send('POST', `/v1/workflows/${first}/rollback`);
    assert.match(JSON.stringify(kept.result), /"grow","reason":"It was changed since/);
    assert.deepEqual((await read(id)).servers, ['ring-1', 'ring-2', 'ring-3', 'ring-4']);

    done(await send('PATCH', `/v1/taskservs/${id}`, { servers: ['ring-1', 'ring-2'] }));
    const second = await workflow();
    const undone = await send('POST', `/v1/workflows/${second}/rollback`);
    assert.equal(undone.status, 'completed', undone.error ?? '');
    assert.deepEqual((await read(id)).servers, ['ring-1', 'ring-2']);
    assert.deepEqual(
      (await stepsOf(server.admin, second)).map(({ undo }) => undo),
      ['undone', 'undone'],
    );
    await send('DELETE', `/v1/taskservs/${id}`);
    await noted();
  });
});

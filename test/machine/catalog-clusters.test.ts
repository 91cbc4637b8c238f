/** Taskservs over several hosts: members that find each other, replicas that follow, a balancer before servers. */
import assert from 'node:assert/strict';
import { before, suite, test } from 'node:test';
import type Docker from 'dockerode';
import { loadCatalog } from '../../src/catalog/catalog.ts';
import { until } from '../support/server.ts';
import { attemptScript, type Host, install, runScript, startHost, testEngine } from './catalog-host.ts';
import { preparedImage } from './prepared-image.ts';

const engine = testEngine();
const catalog = await loadCatalog(null);
const skip = engine === null && 'PROVISIONING_TEST_DOCKER_HOST is not set';

suite('catalog: services over several hosts', { skip, concurrency: 2 }, () => {
  if (engine === null) return;
  let image: string;
  before(async () => {
    image = await preparedImage(engine);
  });

  test('etcd: three members make a cluster that survives the loss of one', async () => {
    await using hosts = await startHosts(engine, image, ['kv-1', 'kv-2', 'kv-3']);
    const [first, second, third] = hosts.all;
    assert.ok(first && second && third);
    // One and the same config for all: each finds itself by its name.
    const config = { initial_cluster: hosts.all.map(({ name, address }) => `${name}=http://${address}:2380`) };
    const installed = await Promise.all(hosts.all.map((host) => install(host, catalog, 'etcd', { etcd: config })));
    const definition = installed[0]?.definition;
    assert.ok(definition);
    const etcdctl = (host: Host, ...command: string[]) =>
      host.run(['etcdctl', ...command], { env: { ETCDCTL_API: '3' } });
    await etcdctl(first, 'put', 'greeting', 'hello');
    assert.equal(await etcdctl(third, 'get', '--print-value-only', 'greeting'), 'hello\n');
    assert.equal((await etcdctl(second, 'member', 'list')).trim().split('\n').length, 3);

    await runScript(first, definition, 'remove', config);
    assert.equal(await etcdctl(second, 'put', 'greeting', 'still here'), 'OK\n');
    assert.equal(await etcdctl(third, 'get', '--print-value-only', 'greeting'), 'still here\n');
    // Its data are still there: it comes back as the member that it was.
    await runScript(first, definition, 'install', config);
    await runScript(first, definition, 'check', config);
    assert.equal(await etcdctl(first, 'get', '--print-value-only', 'greeting'), 'still here\n');
  });

  test('postgresql: a replica follows its primary, reads what is written there, and is promoted', async () => {
    await using hosts = await startHosts(engine, image, ['pg-1', 'pg-2']);
    const [primary, replica] = hosts.all;
    assert.ok(primary && replica);
    const shared = {
      listen_addresses: '*',
      allowed_networks: ['10.0.0.0/8'],
      replication_user: 'replicator',
      replication_password: 'a:back\\slash and more',
    };
    const following = { ...shared, role: 'replica', primary_address: primary.address };
    const { definition } = await install(primary, catalog, 'postgresql', { postgresql: shared });
    const sql = (host: Host, statement: string) =>
      host.run(['setpriv', '--reuid=postgres', '--regid=postgres', '--init-groups', 'psql', '-XAtc', statement]);
    await sql(primary, 'create table t as select 42 as n');

    await install(replica, catalog, 'postgresql', { postgresql: following });
    assert.equal(await sql(replica, 'select n from t'), '42\n');
    assert.equal(await sql(primary, 'select application_name from pg_stat_replication'), 'pg-2\n');
    assert.match(await runScript(primary, definition, 'check', shared), /as primary, 1 replicas follow it/);
    assert.equal(await runScript(replica, definition, 'install', following), '');

    // Another role on a host that has its own databases is refused: they would be lost.
    const wrong = await attemptScript(primary, definition, 'install', {
      ...following,
      primary_address: replica.address,
    });
    assert.equal(wrong.exitCode, 1);
    assert.match(wrong.output, /holds databases of a primary; it is not overwritten/);

    await runScript(primary, definition, 'remove', shared);
    const promoted = { ...shared, role: 'primary' };
    assert.match((await attemptScript(replica, definition, 'check', promoted)).output, /it should be a primary/);
    assert.match(await runScript(replica, definition, 'install', promoted), /promoting the replica/);
    await runScript(replica, definition, 'check', promoted);
    await sql(replica, 'insert into t values (43)');
    assert.equal(await sql(replica, 'select count(*) from t'), '2\n');
  });

  test('haproxy: requests go to all servers in turn, and past one that is gone', async () => {
    await using hosts = await startHosts(engine, image, ['lb-1', 'web-1', 'web-2']);
    const [balancer, ...webs] = hosts.all;
    assert.ok(balancer);
    const page = (host: Host) => ({ index_page: `this is ${host.name}` });
    const installed = await Promise.all(webs.map((host) => install(host, catalog, 'nginx', { nginx: page(host) })));
    const nginx = installed[0]?.definition;
    assert.ok(nginx);
    const config = { backends: webs.map(({ name, address }) => `${name}=${address}:80`), http_check: '/' };
    const { definition } = await install(balancer, catalog, 'haproxy', { haproxy: config });
    const ask = (count: number) =>
      balancer.run(['sh', '-c', `for i in $(seq ${count}); do curl -sf http://127.0.0.1:8000/; done`]);
    const answers = (await ask(10)).trim().split('\n');
    for (const { name } of webs) assert.equal(answers.filter((answer) => answer === `this is ${name}`).length, 5);

    const [gone, left] = webs;
    assert.ok(gone && left);
    await runScript(gone, nginx, 'remove', page(gone));
    // Retried and redispatched: no request fails, also before the check has seen it.
    assert.deepEqual(new Set((await ask(10)).trim().split('\n')), new Set([`this is ${left.name}`]));
    await runScript(left, nginx, 'remove', page(left));
    // Not at once: three checks must fail before a server counts as down.
    let told = '';
    await until(async () => {
      const check = await attemptScript(balancer, definition, 'check', config);
      told = check.output;
      return check.exitCode === 1;
    }, 'haproxy to be unhealthy');
    assert.match(told, /none of the 2 backends is up/);
    await runScript(balancer, definition, 'remove', config);
  });
});

async function startHosts(docker: Docker, image: string, names: string[]): Promise<AsyncDisposable & { all: Host[] }> {
  const started = await Promise.allSettled(names.map((hostname) => startHost(docker, { hostname, image })));
  const all = started.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
  const dispose = () => Promise.all(all.map((host) => host[Symbol.asyncDispose]())).then(() => undefined);
  const failed = started.find((result) => result.status === 'rejected');
  if (failed !== undefined) {
    await dispose();
    throw failed.reason;
  }
  return { all, [Symbol.asyncDispose]: dispose };
}

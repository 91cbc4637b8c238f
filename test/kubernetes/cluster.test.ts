/**
 * The catalog's `kubernetes` with the real programs, through the API: machines over ssh become a cluster, whose pods reach
 * each other and a Service; one joins, one leaves, all go. Needs root, Go with its module proxy, a container engine and a
 * mirror of the distribution. The programs are built at the first run: some twelve minutes of processor time.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, suite, test } from 'node:test';
import { promisify } from 'node:util';
import Docker from 'dockerode';
import type { Host } from '../machine/catalog-host.ts';
import { preparedImage } from '../machine/prepared-image.ts';
import { importMachines, startMachines, workspaceKey } from '../machine/ssh-machines.ts';
import { temporaryDataDir } from '../recovery/support.ts';
import { expectOk } from '../support/acceptance.ts';
import { containerEngine } from '../support/container-engine.ts';
import { skipped } from '../support/needs.ts';
import { ended, type Operation, startTestServer, type TestServer, until } from '../support/server.ts';
import { keepMachineSettings, leftOf, NODE, PACKAGES, packetFilterTools } from './hosts.ts';
import { buildPrograms, type Programs, wantsForPrograms } from './programs.ts';
import { type Registry, startRegistry } from './registry.ts';

/** Seconds for a cluster on a busy machine. */
const OPERATION_SECONDS = 900;
const NODE_PORT = 30080;
/** What kubeadm 1.28 takes with it (cmd/kubeadm/app/constants). */
const IMAGES = { etcd: '3.5.9-0', coredns: 'v1.10.1', pause: '3.9' };
const CRICTL = 'crictl-v1.30.0-linux';

const engine = await containerEngine();
const skip = wantsForPrograms() || (engine === null && skipped('needs a container engine (.ci/podman-up)'));

suite('kubernetes with its real programs', { skip }, () => {
  if (engine === null) return;
  const docker = new Docker({ socketPath: engine.socketPath, host: undefined });
  const stack = new AsyncDisposableStack();
  let server: TestServer;
  let start: () => Promise<TestServer>;
  let hosts: Host[] = [];
  /** As in the reference, and where these programs are. */
  let config: Record<string, unknown>;

  before(async () => {
    const programs = await buildPrograms();
    stack.use(await keepMachineSettings());
    const data = stack.use(await temporaryDataDir());
    start = () => startTestServer({ dataDir: data.directory, settings: { HEALTH_CHECK_INTERVAL: '0' } });
    stack.defer(() => server[Symbol.asyncDispose]());
    server = await start();
    const machines = stack.use(
      await startMachines(docker, ['web-01', 'web-02', 'web-03'], {
        publicKey: await workspaceKey(server.admin, 'default'),
        image: await preparedImage(docker, PACKAGES),
        host: () => NODE,
      }),
    );
    hosts = machines.hosts;
    await importMachines(server.admin, 'default', hosts);
    const [first] = hosts;
    assert.ok(first !== undefined);
    const registry = stack.use(await startRegistry(first.gateway, programs.architecture));
    await fill(registry, programs, docker, first);
    config = { version: programs.version, ...(await mirrorOf(registry, programs)) };
    await completed('POST', '/v1/taskservs/create', {
      workspace: 'default',
      name: 'containerd',
      servers: hosts.map(({ name }) => name),
      config: { registry_mirrors: [`registry.k8s.io=${registry.url}`] },
    });
  });
  after(() => stack.disposeAsync());

  const begin = async (method: string, route: string, body?: unknown) =>
    expectOk(await server.admin.request<Operation>(method, route, body));
  const finish = async ({ id }: Operation) => {
    const operation = await ended(server.admin, id, OPERATION_SECONDS);
    if (operation.status !== 'completed') {
      const events = await server.admin.request<unknown[]>('GET', `/v1/operations/${id}/events?limit=10000`);
      assert.fail(`${JSON.stringify(operation)}\n${JSON.stringify(events.body)}`);
    }
    return operation;
  };
  const completed = async (method: string, route: string, body?: unknown) => finish(await begin(method, route, body));
  const request = () => ({ workspace: 'default', name: 'kubernetes', servers: ['web-01', 'web-02'], config });
  const kubernetes = async () => {
    const all = expectOk(await server.admin.request<{ id: string; name: string }[]>('GET', '/v1/taskservs'));
    const found = all.find(({ name }) => name === 'kubernetes');
    assert.ok(found !== undefined);
    return found.id;
  };
  const host = (name: string) => {
    const found = hosts.find((one) => one.name === name);
    assert.ok(found !== undefined, name);
    return found;
  };
  const kubectl = (...words: string[]) =>
    host('web-01').run(['kubectl', '--kubeconfig', '/etc/kubernetes/admin.conf', ...words]);
  const nodes = async () => {
    const ready = '{.status.conditions[?(@.type=="Ready")].status}';
    return kubectl('get', 'nodes', '-o', `jsonpath={range .items[*]}{.metadata.name} ${ready}{"\\n"}{end}`);
  };
  const pods = async () => {
    const each = '{.spec.nodeName} {.metadata.name} {.status.podIP}{"\\n"}';
    const lines = await kubectl('get', 'pods', '-l', 'app=pods', '-o', `jsonpath={range .items[*]}${each}{end}`);
    return lines
      .trim()
      .split('\n')
      .map((line) => line.split(' '))
      .map(([node = '', pod = '', address = '']) => ({ node, pod, address }));
  };
  /** Each pod reaches the one on each node by its address, and the Service by its name and on each node's port. */
  const assertPodsReachable = async (expected: string[]) => {
    await kubectl('rollout', 'status', 'daemonset/pods', '--timeout=180s');
    await kubectl('-n', 'kube-system', 'rollout', 'status', 'deployment/coredns', '--timeout=180s');
    const running = await pods();
    assert.deepEqual(running.map(({ node }) => node).toSorted(), expected);
    for (const from of running) {
      const get = (url: string) => kubectl('exec', from.pod, '--', 'pod', 'get', url);
      for (const to of running) assert.equal(await get(`http://${to.address}:8080`), `${to.node}\n`);
      assert.ok(expected.includes((await get('http://pods.default.svc.cluster.local')).trim()), from.node);
    }
    for (const node of expected) {
      const answer = await host('web-02').run(['curl', '-sS', '-m', '10', `http://${host(node).address}:${NODE_PORT}`]);
      assert.ok(expected.includes(answer.trim()), `the port of ${node}`);
    }
  };
  const assertClean = async (name: string) => assert.equal(await leftOf(host(name)), '', `${name} is clean`);

  test("the reference's request makes one cluster of two servers, healthy, with a network and names", async () => {
    await completed('POST', '/v1/taskservs/create', request());
    assert.equal(await nodes(), 'web-01 True\nweb-02 True\n');
    const manifest = await readFile(path.join(import.meta.dirname, 'pods.yaml'), 'utf8');
    await host('web-01').put('/root/pods.yaml', manifest, '0600');
    await kubectl('apply', '-f', '/root/pods.yaml');
    await assertPodsReachable(['web-01', 'web-02']);
    const { result } = await completed('POST', `/v1/taskservs/${await kubernetes()}/check`);
    const checked = (result?.hosts ?? []) as { healthy: boolean }[];
    assert.deepEqual(
      checked.map(({ healthy }) => healthy),
      [true, true],
      JSON.stringify(result),
    );
  });

  test('the same request again changes nothing', async () => {
    const { result } = await completed('POST', '/v1/taskservs/create', request());
    const done = ((result?.hosts ?? []) as { done: { action: string }[] }[]).flatMap((one) => one.done);
    assert.ok(done.length > 0);
    assert.deepEqual(new Set(done.map(({ action }) => action)), new Set(['unchanged']), JSON.stringify(result));
  });

  test('a caller gets a kubeconfig of their own, by which the cluster knows them', async () => {
    const route = `/v1/taskservs/${await kubernetes()}/kubeconfig?hours=1`;
    const { kubeconfig, user } = expectOk(
      await server.admin.request<{ kubeconfig: string; user: string }>('GET', route),
    );
    const elsewhere = host('web-02');
    await elsewhere.put('/root/caller.conf', kubeconfig, '0600');
    const asCaller = (...words: string[]) => elsewhere.run(['kubectl', '--kubeconfig', '/root/caller.conf', ...words]);
    assert.equal(await asCaller('auth', 'whoami', '-o', 'jsonpath={.status.userInfo.username}'), user);
    assert.equal(await asCaller('auth', 'can-i', '*', '*', '--all-namespaces'), 'yes\n');
    await kubectl('delete', 'clusterrolebinding', 'provisioning-callers');
    assert.equal(
      (await elsewhere.attempt(['kubectl', '--kubeconfig', '/root/caller.conf', 'get', 'nodes'])).exitCode,
      1,
    );
  });

  test('a server that is added joins; taken off it is drained, forgotten and clean; added again at once it joins', async () => {
    const id = await kubernetes();
    const servers = (...names: string[]) => completed('PATCH', `/v1/taskservs/${id}`, { servers: names });
    await servers('web-01', 'web-02', 'web-03');
    assert.equal(await nodes(), 'web-01 True\nweb-02 True\nweb-03 True\n');
    await assertPodsReachable(['web-01', 'web-02', 'web-03']);
    await servers('web-01', 'web-02');
    assert.equal(await nodes(), 'web-01 True\nweb-02 True\n');
    await assertClean('web-03');
    await assertPodsReachable(['web-01', 'web-02']);
    await servers('web-01', 'web-02', 'web-03');
    await assertPodsReachable(['web-01', 'web-02', 'web-03']);
  });

  test('deleted, it leaves the hosts clean', async () => {
    await completed('DELETE', `/v1/taskservs/${await kubernetes()}`);
    for (const { name } of hosts) await assertClean(name);
  });

  test('kill -9 of the server in kubeadm init and in kubeadm join: the cluster comes about', async () => {
    const operation = await begin('POST', '/v1/taskservs/create', request());
    for (const [name, command] of [
      ['web-01', 'kubeadm init'],
      ['web-02', 'kubeadm join'],
    ] as const) {
      const runs = async () => (await host(name).attempt(['pgrep', '-f', `^${command}`])).exitCode === 0;
      await until(runs, `${command} on ${name}`, OPERATION_SECONDS * 1_000);
      await server.kill();
      server = await start();
    }
    await finish(operation);
    assert.equal(await nodes(), 'web-01 True\nweb-02 True\n');
    await completed('DELETE', `/v1/taskservs/${await kubernetes()}`);
    for (const { name } of hosts) await assertClean(name);
  });
});

/** The images that kubeadm asks for, and the one of the test's pods. */
async function fill(registry: Registry, { directory, version }: Programs, docker: Docker, host: Host): Promise<void> {
  const program = (name: string) => path.join(directory, name);
  for (const name of ['kube-apiserver', 'kube-controller-manager', 'kube-scheduler']) {
    await registry.addImage(`${name}:v${version}`, [program(name)]);
  }
  const tools = registry.temporary('tools.tar');
  await packetFilterTools(docker, host, tools);
  await registry.addImage(`kube-proxy:v${version}`, [program('kube-proxy')], { below: [tools] });
  await registry.addImage(`etcd:${IMAGES.etcd}`, [program('etcd'), program('etcdctl')]);
  const coredns = { entrypoint: ['coredns'] };
  await registry.addImage(`coredns/coredns:${IMAGES.coredns}`, [program('coredns')], coredns);
  const pod = { entrypoint: ['pod'] };
  await registry.addImage(`pause:${IMAGES.pause}`, [program('pod')], pod);
  await registry.addImage('test/pod:1', [program('pod')], pod);
}

/** Serves the programs as the vendors do. @returns the settings of the taskserv that name them. */
async function mirrorOf(registry: Registry, { directory, version, architecture }: Programs) {
  const served = ['kubeadm', 'kubelet', 'kubectl'].map(async (name) => {
    const at = `/v${version}/bin/linux/${architecture}/${name}`;
    return `${name}=${await registry.serve(at, path.join(directory, name))}`;
  });
  const archive = registry.temporary('crictl.tar.gz');
  await promisify(execFile)('tar', ['-C', directory, '-czf', archive, 'crictl']);
  const { url } = registry;
  return {
    ...{ mirror: url, sha256: await Promise.all(served), crictl_mirror: url },
    crictl_sha256: await registry.serve(`/v1.30.0/${CRICTL}-${architecture}.tar.gz`, archive),
  };
}

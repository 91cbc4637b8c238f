import assert from 'node:assert/strict';
import { randomBytes, randomUUID } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import Docker from 'dockerode';
import type { MutationOptions, ServerSpec } from '../../src/providers/contract.ts';
import { createDockerProvider, detectDockerHost, USUAL_SOCKETS } from '../../src/providers/docker/provider.ts';
import { providerSuite } from '../contracts/provider.testsuite.ts';
import { startEngineProxy } from '../support/engine-proxy.ts';

// A real engine, or nothing: these tests prove what no stand-in can. `.ci/podman-up` brings one up.
const demanded = process.env.PROVISIONING_TEST_DOCKER_HOST;
const host = detectDockerHost(demanded, ['/run/provisioning-podman.sock', ...USUAL_SOCKETS]) ?? '';
const image = process.env.PROVISIONING_TEST_DOCKER_IMAGE ?? 'provisioning-test:debian-12';

const missing = await whatIsMissing();
if (missing !== null && demanded) {
  test('the container engine of PROVISIONING_TEST_DOCKER_HOST', () => assert.fail(missing));
} else if (missing !== null) {
  test('the docker provider', {
    skip: `${missing} Run .ci/podman-up, or set PROVISIONING_TEST_DOCKER_HOST.`,
  }, () => {});
} else {
  providerSuite('docker', setUpDocker);
  describe('the docker provider on a real engine', realEngineTests);
}

async function setUpDocker() {
  const proxy = await startEngineProxy(host);
  return {
    provider: createDockerProvider({ host: proxy.host, image }),
    spec: newSpec,
    loseNextCreateAnswer: () => proxy.loseNextAnswer(/^POST \/containers\/create/),
    leaveNextCreateHalfDone: () => proxy.loseNextRequest(/^POST \/containers\/[^/]+\/start/),
    requestCounts: proxy.counts,
    dispose: async () => proxy[Symbol.asyncDispose](),
  };
}

function realEngineTests() {
  const provider = createDockerProvider({ host, image });
  const engine = rawEngine();
  const workspace = `machine-${randomBytes(4).toString('hex')}`;
  const made: string[] = [];

  const make = async (overrides: Partial<ServerSpec> = {}) => {
    const options = permitted(randomUUID());
    const server = await provider.ensureServer(newSpec({ workspace, ...overrides }), options);
    made.push(server.ref);
    return { ...server, options };
  };

  before(async () => {
    assert.deepEqual(await provider.validate(newSpec()), []);
  });
  after(async () => {
    await Promise.all(made.map((ref) => provider.deleteServer(ref, permitted('cleanup'))));
    await provider.close?.();
  });

  test('a server answers at its address, from another server', async () => {
    const [listener, caller] = await Promise.all([make(), make()]);
    const listen = `use IO::Socket::INET; my $s = IO::Socket::INET->new(LocalPort => 8123, Listen => 5, ReuseAddr => 1) or die $!;
      while (my $c = $s->accept) { print $c "hello from the listener\\n"; close $c }`;
    await execute(listener.ref, ['perl', '-e', listen], { detach: true });
    const connect = `for i in 1 2 3 4 5 6 7 8 9 10; do exec 3<>/dev/tcp/${listener.ip_address}/8123 && cat <&3 && exit; sleep 0.2; done`;
    assert.equal(await execute(caller.ref, ['bash', '-c', connect]), 'hello from the listener\n');
  });

  test('the sshd of the image answers, with host keys of its own for each server', async (t) => {
    const [one, other] = await Promise.all([make(), make()]);
    const hasSshd = await execute(one.ref, ['sh', '-c', 'command -v sshd || true']);
    if (hasSshd === '') return t.skip(`the image ${image} has no sshd`);
    const banner = `for i in $(seq 25); do exec 3<>/dev/tcp/${one.ip_address}/22 && head -n1 <&3 && exit; sleep 0.2; done`;
    assert.match(await execute(other.ref, ['bash', '-c', banner]), /^SSH-2\.0-/);
    const key = ['cat', '/etc/ssh/ssh_host_ed25519_key.pub'];
    assert.notEqual(await execute(one.ref, key), await execute(other.ref, key));
  });

  test('the server has the host name, and the container the limits and labels', async () => {
    const { ref, options } = await make({ hostname: 'web-7', plan: '1xCPU-1GB', tags: ['blue'] });
    assert.equal(await execute(ref, ['hostname']), 'web-7\n');
    const { HostConfig, Config } = await engine.getContainer(ref).inspect();
    assert.equal(HostConfig.Memory, 2 ** 30);
    // Podman reports the same limit as a quota over a period.
    const cpus = HostConfig.NanoCpus
      ? HostConfig.NanoCpus / 1e9
      : (HostConfig.CpuQuota ?? 0) / (HostConfig.CpuPeriod ?? 1);
    assert.equal(cpus, 1);
    assert.equal(Config.Labels['provisioning-operation'], options.operationId);
    assert.equal(Config.Labels['provisioning-workspace'], workspace);
    assert.equal(Config.Labels['provisioning-tag.blue'], '');
  });

  test('processes in a server are bounded and cannot gain privileges; setuid programs work only where that is allowed', async () => {
    const { ref } = await make();
    const { HostConfig } = await engine.getContainer(ref).inspect();
    assert.equal(HostConfig.PidsLimit, 4_096);
    const status = await execute(ref, ['cat', '/proc/1/status']);
    assert.match(status, /^NoNewPrivs:\t1$/m);
    const bounding = BigInt(`0x${/^CapBnd:\t(\w+)$/m.exec(status)?.[1] ?? 'f'.repeat(16)}`);
    for (const [name, bit] of [
      ['NET_RAW', 13n],
      ['MKNOD', 27n],
    ] as const) {
      assert.equal((bounding >> bit) & 1n, 0n, name);
    }

    const withSudo = createDockerProvider({ host, image, sudo: true });
    const other = await withSudo.ensureServer(newSpec({ workspace }), permitted(randomUUID()));
    made.push(other.ref);
    await withSudo.close?.();
    assert.match(await execute(other.ref, ['cat', '/proc/1/status']), /^NoNewPrivs:\t0$/m);
  });

  test('the address is that of now, also after a restart', async () => {
    const { ref, options } = await make();
    await provider.restartServer(ref, options);
    const reported = (await provider.observeServers([ref])).get(ref)?.ip_address;
    assert.equal((await execute(ref, ['hostname', '-I'])).trim().split(' ')[0], reported);
  });

  test('a container that is not ours is neither listed nor adopted', async () => {
    const name = `not-ours-${workspace}`;
    const stranger = await engine.createContainer({ name, Image: image, Cmd: ['true'] });
    made.push(stranger.id);
    assert.ok(!(await provider.listServers()).some((server) => server.ref === stranger.id));
    assert.equal((await provider.observeServers([stranger.id])).size, 0);
  });

  test('a paused server is stopped, started and restarted all the same', async () => {
    const { ref, options } = await make();
    const status = async () => (await provider.observeServers([ref])).get(ref)?.status;
    await engine.getContainer(ref).pause();
    await provider.startServer(ref, options);
    assert.equal(await status(), 'running');
    await engine.getContainer(ref).pause();
    await provider.stopServer(ref, options);
    assert.equal(await status(), 'stopped');
  });

  test('stopping and deleting take no grace period', async () => {
    const { ref, options } = await make();
    const begun = performance.now();
    await provider.stopServer(ref, options);
    await provider.startServer(ref, options);
    await provider.deleteServer(ref, options);
    assert.ok(performance.now() - begun < 5000);
  });

  test('an image that nobody has is refused with a remedy, and leaves nothing', async () => {
    const lacking = createDockerProvider({ host, image: 'localhost:9/no-such-image:1' });
    const options = permitted(randomUUID());
    await assert.rejects(lacking.ensureServer(newSpec({ workspace }), options), {
      name: 'ProviderError',
      code: 'UNAVAILABLE',
      message: /PROVISIONING_DOCKER_IMAGE/,
    });
    assert.equal(await lacking.findServer(options.operationId), null);
    await lacking.close?.();
  });

  test('lists stay whole while servers come and go', async () => {
    const kept = await make();
    let churning = true;
    const churn = Promise.all(
      [1, 2, 3].map(async () => {
        for (let round = 0; round < 4; round++) {
          const { ref, options } = await make();
          await provider.deleteServer(ref, options);
        }
      }),
    ).finally(() => {
      churning = false;
    });
    while (churning) {
      assert.ok((await provider.listServers()).some((server) => server.ref === kept.ref));
    }
    await churn;
  });

  /** What the command printed. With `detach`, does not wait for it. */
  async function execute(ref: string, command: string[], { detach = false } = {}): Promise<string> {
    const exec = await engine.getContainer(ref).exec({ Cmd: command, AttachStdout: !detach });
    const stream = await exec.start({ Detach: detach });
    if (detach) {
      stream.destroy();
      await delay(200);
      return '';
    }
    const frames: Buffer[] = [];
    for await (const chunk of stream) frames.push(Buffer.from(chunk));
    return withoutHeaders(Buffer.concat(frames));
  }
}

/** An exec's output comes in frames: one byte for the stream, three of padding, four for the length. */
function withoutHeaders(framed: Buffer): string {
  let text = '';
  for (let at = 0; at + 8 <= framed.length; ) {
    const length = framed.readUInt32BE(at + 4);
    text += framed.toString('utf8', at + 8, at + 8 + length);
    at += 8 + length;
  }
  return text;
}

function newSpec(overrides: Partial<ServerSpec> = {}): ServerSpec {
  return { workspace: 'machine', hostname: 'host-1', plan: '1xCPU-1GB', zone: 'local', tags: [], ...overrides };
}

function permitted(operationId: string): MutationOptions {
  return { operationId, guard: () => {} };
}

function rawEngine(): Docker {
  if (host.startsWith('unix://')) return new Docker({ socketPath: host.slice('unix://'.length), host: undefined });
  const { hostname, port } = new URL(host);
  return new Docker({ host: hostname, port });
}

async function whatIsMissing(): Promise<string | null> {
  if (host === '') return 'There is no container engine at the usual sockets.';
  try {
    await rawEngine().ping();
    return null;
  } catch (error) {
    return `No container engine answers at ${host} (${error instanceof Error ? error.message : error}).`;
  }
}

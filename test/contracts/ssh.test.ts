import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Transport } from '../../src/transports/contract.ts';
import { runJob } from '../../src/transports/job.ts';
import { generateSshKey } from '../../src/transports/keys.ts';
import { createSshPool, type SshPool } from '../../src/transports/ssh.ts';
import type { SshTarget } from '../../src/transports/ssh-connection.ts';
import { type CutProxy, startCutProxy } from '../support/cut-proxy.ts';
import { loopbackEgress } from '../support/egress.ts';
import { needsSshd, startSshd, type TestSshd } from '../support/sshd.ts';
import { transportSuite } from './transport.testsuite.ts';

const key = generateSshKey('transport suite');
const missing = needsSshd();

function targetOn(port: number, overrides: Partial<SshTarget> = {}): SshTarget {
  return {
    name: 'host-1 (127.0.0.1)',
    address: '127.0.0.1',
    port,
    user: 'root',
    knownKey: async () => null,
    pin: async (seen) => seen,
    privateKey: key.privateKey,
    jump: null,
    egress: loopbackEgress('host', null),
    ...overrides,
  };
}

if (missing !== false) {
  test('ssh', { skip: missing }, () => {});
} else {
  transportSuite('ssh', async () => {
    const sshd = await startSshd(key.publicKey);
    const proxy = await startCutProxy({ port: sshd.port });
    const pool = createSshPool();
    return {
      open: async () => pool.transport('host-1', targetOn(proxy.port)),
      cutConnections: async () => proxy.cut(),
      dispose: async () => {
        await pool.close();
        await proxy[Symbol.asyncDispose]();
        await sshd[Symbol.asyncDispose]();
      },
    };
  });

  describe('ssh on a real sshd', sshTests);
}

function sshTests() {
  let sshd: TestSshd;
  let proxy: CutProxy;
  let pool: SshPool;
  before(async () => {
    sshd = await startSshd(key.publicKey);
    proxy = await startCutProxy({ port: sshd.port });
    pool = createSshPool();
  });
  after(async () => {
    await pool.close();
    await proxy[Symbol.asyncDispose]();
    await sshd[Symbol.asyncDispose]();
  });
  const yes = (transport: Transport) => transport.run('exit 0', { timeoutSeconds: 30 });
  const ok = { exitCode: 0, signal: null };

  test('H1: a host key is pinned at first sight, in the form that is kept', async () => {
    const seen: string[] = [];
    const pin = async (hostKey: string) => {
      seen.push(hostKey);
      return hostKey;
    };
    assert.deepEqual(await yes(pool.transport('first sight', targetOn(sshd.port, { pin }))), ok);
    assert.deepEqual(seen, [sshd.hostKey]);
  });

  test('H2: another key than the pinned one is refused before anything is sent, and says so', async () => {
    const other = generateSshKey('another').publicKey.split(' ').slice(0, 2).join(' ');
    const accepted = sshd.log().split('Accepted publickey').length;
    const changed = {
      name: 'TransportError',
      code: 'HOST_KEY_CHANGED',
      retryable: false,
      message: /^host-1 .*host key/,
    };
    await assert.rejects(yes(pool.transport('pinned', targetOn(sshd.port, { knownKey: async () => other }))), changed);
    // Somebody else was faster to pin.
    await assert.rejects(yes(pool.transport('raced', targetOn(sshd.port, { pin: async () => other }))), changed);
    // A key of another type is no way around.
    const rsa = 'ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQ==';
    await assert.rejects(yes(pool.transport('type', targetOn(sshd.port, { knownKey: async () => rsa }))), changed);
    assert.equal(sshd.log().split('Accepted publickey').length, accepted);
  });

  test('H3: a host made anew while we are connected to it is noticed at the next connection', async () => {
    const transport = pool.transport('anew', targetOn(sshd.port, pinnedTo(sshd.hostKey)));
    assert.deepEqual(await yes(transport), ok);
    await sshd.changeHostKey();
    await assert.rejects(yes(transport), (error: Error) => {
      assert.ok('code' in error);
      return ['HOST_KEY_CHANGED', 'CONNECTION_LOST', 'UNREACHABLE'].includes(String(error.code));
    });
    await assert.rejects(yes(transport), { code: 'HOST_KEY_CHANGED' });
  });

  test('H4: a key that the host does not know is told apart, with user and remedy', async () => {
    const { privateKey } = generateSshKey('unknown');
    await assert.rejects(yes(pool.transport('stranger', targetOn(sshd.port, { privateKey }))), {
      code: 'AUTHENTICATION_FAILED',
      retryable: false,
      message: /"root".*authorized_keys/,
    });
  });

  test('H5: a host that refuses in its first moments is waited for', async () => {
    await sshd.stop();
    const running = yes(pool.transport('late', targetOn(sshd.port)));
    const refusing = startLater(sshd);
    assert.deepEqual(await running, ok);
    await refusing;
    proxy.mode = 'refuse';
    const reset = yes(pool.transport('reset', targetOn(proxy.port)));
    setTimeout(() => {
      proxy.mode = 'pass';
    }, 600);
    assert.deepEqual(await reset, ok);
  });

  test('H6: a host that falls silent is noticed within seconds, and the job goes on once it speaks again', async () => {
    const lines: string[] = [];
    const transport = pool.transport('silent', targetOn(proxy.port));
    const begun = Promise.withResolvers<void>();
    const running = transport.run('echo begun; sleep 60', { timeoutSeconds: 60, onLine: () => begun.resolve() });
    const verdict = assert.rejects(running, { code: 'CONNECTION_LOST', retryable: true });
    await begun.promise;
    const since = performance.now();
    proxy.freeze(true);
    await verdict;
    assert.ok(performance.now() - since < 15_000);
    proxy.freeze(false);
    const id = `silent-${Date.now()}`;
    const job = runJob(transport, {
      id,
      script: 'echo one; sleep 1; echo two',
      env: {},
      timeoutSeconds: 60,
      onLine: ({ text }) => {
        lines.push(text);
        if (text !== 'one') return;
        proxy.freeze(true);
        setTimeout(() => proxy.freeze(false), 500);
        proxy.cut();
      },
    });
    assert.deepEqual(await job, ok);
    assert.deepEqual(lines, ['one', 'two']);
  });

  test('H7: any number of calls share one connection, at most eight channels at once', async () => {
    const count = () => sshd.log().split('Accepted publickey').length;
    const before = count();
    const transports = Array.from({ length: 4 }, () => pool.transport('shared', targetOn(sshd.port)));
    const path = `/tmp/transport-suite-channels-${process.pid}`;
    // Each notes how many there are with it.
    const script = `mkdir -p ${path}; : >${path}/$$; ls ${path} | wc -l; sleep 0.2; rm ${path}/$$`;
    const most: number[] = [];
    const onLine = ({ text }: { text: string }) => most.push(Number(text));
    await Promise.all(
      Array.from({ length: 40 }, (_, index) => transports[index % 4]?.run(script, { timeoutSeconds: 60, onLine })),
    );
    assert.equal(count() - before, 1);
    assert.equal(most.length, 40);
    assert.ok(Math.max(...most) > 1 && Math.max(...most) <= 8, `${Math.max(...most)} at once`);
    await transports[0]?.run(`rm -rf ${path}`, { timeoutSeconds: 30 });
  });

  test('H8: with every channel taken a script can still be ended', async () => {
    const transport = pool.transport('crowded', targetOn(sshd.port));
    const controller = new AbortController();
    const running = Array.from({ length: 20 }, () =>
      transport.run('sleep 60', { timeoutSeconds: 60, signal: controller.signal }),
    );
    await transport.run('true', { timeoutSeconds: 1 }).catch(() => 'all channels are taken');
    controller.abort(new Error('enough'));
    const outcomes = await Promise.allSettled(running);
    assert.ok(outcomes.every((outcome) => outcome.status === 'rejected' && outcome.reason.message === 'enough'));
  });

  test('H9: nothing listens: a clear error that names host and port', async () => {
    const nowhere = targetOn(1, { address: '127.0.0.1' });
    await assert.rejects(pool.transport('nowhere', nowhere).run('true', { timeoutSeconds: 2 }), { code: 'TIMEOUT' });
    await assert.rejects(yes(pool.transport('no name', targetOn(22, { address: 'no-such-host.invalid' }))), {
      code: 'UNREACHABLE',
      message: /no-such-host\.invalid port 22/,
    });
  });

  test('H10: through a jump host: the same key, its own host key, the same recovery', async () => {
    await using jump = await startSshd(key.publicKey);
    await using toJump = await startCutProxy({ port: jump.port });
    const seen: string[] = [];
    const pin = async (hostKey: string) => {
      seen.push(hostKey);
      return hostKey;
    };
    const hop = {
      name: 'jump',
      address: '127.0.0.1',
      port: toJump.port,
      user: 'root',
      knownKey: async () => null,
      pin,
    };
    const transport = pool.transport('jumped', targetOn(sshd.port, { jump: hop, pin }));
    const { stdout } = await outputOf(transport, 'echo "$SSH_CONNECTION" | cut -d " " -f 4');
    assert.deepEqual(stdout, [String(sshd.port)]);
    assert.deepEqual(seen, [jump.hostKey, sshd.hostKey]);

    const lines: string[] = [];
    const job = runJob(transport, {
      id: `jumped-${Date.now()}`,
      script: 'echo one; sleep 0.5; echo two',
      env: {},
      timeoutSeconds: 60,
      onLine: ({ text }) => {
        lines.push(text);
        if (text === 'one') toJump.cut();
      },
    });
    assert.deepEqual(await job, ok);
    assert.deepEqual(lines, ['one', 'two']);

    const wrong = { ...hop, ...pinnedTo(sshd.hostKey) };
    await assert.rejects(yes(pool.transport('wrong jump', targetOn(sshd.port, { jump: wrong }))), {
      code: 'HOST_KEY_CHANGED',
      message: /^jump:/,
    });
    const beyond = targetOn(1, { jump: hop });
    await assert.rejects(pool.transport('beyond', beyond).run('true', { timeoutSeconds: 1 }), { code: 'TIMEOUT' });
  });
}

function pinnedTo(hostKey: string): Pick<SshTarget, 'knownKey'> {
  return { knownKey: async () => hostKey };
}

async function outputOf(transport: Transport, script: string): Promise<{ stdout: string[] }> {
  const stdout: string[] = [];
  await transport.run(script, { timeoutSeconds: 30, onLine: ({ text }) => stdout.push(text) });
  return { stdout };
}

async function startLater(sshd: TestSshd): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 700));
  await sshd.start();
}

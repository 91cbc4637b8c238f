/**
 * The built-in taskservs, really installed: containers as hosts, the distribution's packages, and each service used the
 * way its clients use it. Needs a container engine in PROVISIONING_TEST_DOCKER_HOST and a mirror of the distribution.
 * Short: without the large packages; `npm run test:machine:full` has them.
 */
import assert from 'node:assert/strict';
import { before, suite, test } from 'node:test';
import { loadCatalog } from '../../src/catalog/catalog.ts';
import { scale } from '../recovery/support.ts';
import { CANARY, CASES, type Case } from './catalog-cases.ts';
import { type Host, install, runScript, startHost, testEngine } from './catalog-host.ts';
import { preparedImage } from './prepared-image.ts';

const engine = testEngine();
const catalog = await loadCatalog(null);
/** Containers at once: package managers unpack on one core each. */
const PARALLEL = 3;

const skip = engine === null && 'PROVISIONING_TEST_DOCKER_HOST is not set';

suite('catalog: every service that a container can run', { skip, concurrency: PARALLEL }, () => {
  if (engine === null) return;
  let image: string;
  before(async () => {
    image = await preparedImage(engine);
  });
  for (const one of scale(
    CASES.filter(({ large }) => large !== true),
    CASES,
  )) {
    test(`${one.name}: installed it serves, installed twice nothing changes, removed it is gone`, async () => {
      await using host = await startHost(engine, { hostname: `catalog-${one.name}`, image, ...one.host });
      const secret = JSON.stringify(one.config ?? {}).includes(CANARY);
      await using watch = secret ? await watchArguments(host) : null;
      const { name, config = {}, configs = {} } = one;
      const { definition, order, output } = await install(host, catalog, name, { ...configs, [name]: config });
      const [command, expected] = one.use;
      assert.match(await host.run(['sh', '-c', command], { env: { CANARY } }), expected);
      const before = await daemons(host, one);
      assert.notEqual(before, '', 'a daemon runs');

      assert.equal(await runScript(host, definition, 'install', config), '', 'a second install has nothing to say');
      assert.equal(await daemons(host, one), before, 'and leaves the daemon running');
      const healthy = await runScript(host, definition, 'check', config);

      if (watch !== null) {
        assert.doesNotMatch(output + healthy, new RegExp(CANARY), 'no secret is in the output');
        assert.equal(await watch.seen(), '', 'no secret was in an argument of a process');
        assert.equal(await programsWithCanary(host), '', 'no secret stays in the environment of a process');
        assert.equal(await filesWithCanary(host, '-perm -o=r'), '', 'no secret is in a file that others may read');
      }

      await runScript(host, definition, 'remove', config);
      for (const one of order.toReversed())
        await runScript(host, one, 'remove', one === definition ? config : configs[one.name]);
      assert.equal(await daemons(host, one), '', 'no daemon is left');
      assert.doesNotMatch(await host.run(['ps', '-eo', 'args']), /provisioning\/supervise/);
      if (secret) assert.equal(await filesWithCanary(host, '-true'), '', 'no secret is left');
      assert.equal((await host.attempt(['test', '-e', `/etc/provisioning/${name}.json`])).exitCode, 1);
    });
  }
});

async function daemons(host: Host, { daemon }: Case): Promise<string> {
  if (daemon === undefined) return 'none is wanted';
  const { output } = await host.attempt(['ps', '-o', 'pid,user,comm', '--no-headers', '-C', daemon]);
  return output;
}

/** Holds what is looked for: it must be in no argument, or `watchArguments` would find it there. */
const pattern = '/run/watch-pattern';

/** Names of the programs that have the secret in their environment, but for the watcher's. */
async function programsWithCanary(host: Host): Promise<string> {
  await host.put(pattern, CANARY, '0600');
  const look = `grep -qaFf ${pattern} "$process/environ" 2>/dev/null && cat "$process/comm"`;
  return host.run(['sh', '-c', `for process in /proc/[0-9]*; do ${look}; done | grep -vx perl || true`]);
}

async function filesWithCanary(host: Host, condition: string): Promise<string> {
  await host.put(pattern, CANARY, '0600');
  const find = `find /etc /run /var /root /home /tmp /usr/local -xdev -type f ${condition} ! -path ${pattern}`;
  return host.run(['sh', '-c', `${find} -exec grep -lFf ${pattern} {} + || true`]);
}

/** Reads the arguments of all processes over and over until its scope ends; `seen` tells those with a secret. */
async function watchArguments(host: Host): Promise<AsyncDisposable & { seen(): Promise<string> }> {
  const program = `
    my $canary = $ENV{CANARY};
    until (-e '/run/watch-end') {
      for my $file (glob '/proc/[0-9]*/cmdline') {
        open my $in, '<', $file or next;
        local $/; my $arguments = <$in> // '';
        if (index($arguments, $canary) >= 0) { open my $out, '>>', '/run/watch-seen'; print $out "$arguments\\n" }
      }
      select undef, undef, undef, 0.005;
    }`;
  await host.run(['sh', '-c', `touch /run/watch-seen; setsid perl -e "$PROGRAM" </dev/null >/dev/null 2>&1 &`], {
    env: { PROGRAM: program, CANARY },
  });
  return {
    seen: () => host.run(['cat', '/run/watch-seen']),
    [Symbol.asyncDispose]: () => host.run(['touch', '/run/watch-end']).then(() => undefined),
  };
}

/**
 * The built-in taskservs, really installed: containers as hosts, the distribution's packages, and each service used the
 * way its clients use it. Needs a container engine in PROVISIONING_TEST_DOCKER_HOST and a mirror of the distribution.
 */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { loadCatalog } from '../../src/catalog/catalog.ts';
import { install, runScript, startHost, testEngine } from './catalog-host.ts';

const engine = testEngine();
const catalog = await loadCatalog(null);

interface Case {
  name: string;
  config?: Record<string, unknown>;
  /** A shell command on the host that uses the service, and what its output must hold. */
  use: [command: string, expected: RegExp];
  /** The daemon, as `ps` names it. */
  daemon: string;
}

const CASES: Case[] = [
  {
    name: 'nginx',
    config: { port: 8080, index_page: 'hello $HOME' },
    use: ['curl -s http://127.0.0.1:8080/', /^hello \$HOME\n$/],
    daemon: 'nginx',
  },
  {
    name: 'redis',
    config: { password: 'canary-4711', appendonly: true },
    use: ['REDISCLI_AUTH=canary-4711 redis-cli config get appendonly', /^appendonly\nyes\n$/],
    daemon: 'redis-server',
  },
];

suite('catalog on containers', {
  skip: engine === null && 'PROVISIONING_TEST_DOCKER_HOST is not set',
  concurrency: 3,
}, () => {
  if (engine === null) return;
  for (const { name, config = {}, use, daemon } of CASES) {
    test(`${name}: installed it serves, installed twice nothing changes, removed it is gone`, async () => {
      await using host = await startHost(engine, { hostname: `catalog-${name}` });
      const definition = await install(host, catalog, name, config);
      const [command, expected] = use;
      assert.match(await host.run(['sh', '-c', command]), expected);
      const processes = async () => host.run(['ps', '-o', 'pid,user,comm', '--no-headers', '-C', daemon]);
      const before = await processes();
      assert.notEqual(before, '');

      assert.equal(await runScript(host, definition, 'install', config), '', 'a second install has nothing to say');
      assert.equal(await processes(), before, 'and leaves the daemon running');
      await runScript(host, definition, 'check', config);

      await runScript(host, definition, 'remove', config);
      await runScript(host, definition, 'remove', config);
      const left = await host.run(['ps', '-eo', 'comm,args', '--no-headers']);
      assert.doesNotMatch(left, new RegExp(`${daemon}|supervise`));
      assert.doesNotMatch(await host.run(['ls', '/etc/provisioning']), new RegExp(`${name}\\.json`));
    });
  }
});

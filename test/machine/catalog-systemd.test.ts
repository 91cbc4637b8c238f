/** The other way that services run: under systemd, as on every cloud's machine. Needs Podman, which lets it boot. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { loadCatalog } from '../../src/catalog/catalog.ts';
import { until } from '../support/server.ts';
import { install, preparedImage, runScript, startHost, testEngine } from './catalog-host.ts';

const engine = testEngine();
const catalog = await loadCatalog(null);
const podman = engine !== null && JSON.stringify(await engine.version()).includes('Podman');
const skip = !podman && 'PROVISIONING_TEST_DOCKER_HOST names no Podman';

suite('catalog under systemd', { skip }, () => {
  if (engine === null) return;

  test('services are units: enabled, restarted or reloaded only after a change, back after a restart, gone when removed', async () => {
    const image = await preparedImage(engine, ['systemd-sysv', 'dbus']);
    await using host = await startHost(engine, {
      hostname: 'catalog-systemd',
      image,
      command: ['/sbin/init'],
    });
    const state = async () => (await host.attempt(['systemctl', 'is-system-running'])).output.trim();
    const booted = () => until(async () => ['running', 'degraded'].includes(await state()), 'systemd to be up');
    await booted();

    // A unit of the package that can reload, one that cannot, a template's instance, and one that is ours.
    const configs = {
      nginx: { port: 8080 },
      redis: { password: 'long-enough' },
      postgresql: { user: 'app', database: 'app', password: 'long-enough' },
      podman: { storage_driver: 'vfs', api_socket: true },
    };
    const units = { nginx: 'nginx', redis: 'redis-server', postgresql: 'postgresql@15-main', podman: 'podman-api' };
    const show = (unit: string, property: string) => host.run(['systemctl', 'show', '--value', '-p', property, unit]);
    for (const [name, unit] of Object.entries(units)) {
      const { definition } = await install(host, catalog, name, configs);
      const config = configs[name as keyof typeof configs];
      assert.equal(await show(unit, 'ActiveState'), 'active\n');
      assert.match(await host.run(['systemctl', 'is-enabled', unit]), /^enabled/);
      const started = await show(unit, 'InvocationID');
      assert.equal(await runScript(host, definition, 'install', config), '');
      assert.equal(await show(unit, 'InvocationID'), started, `${unit} goes on when nothing changed`);
    }
    const definition = (name: string) => {
      const found = catalog.definitions.get(name);
      assert.ok(found);
      return found;
    };
    const nginx = await show('nginx', 'MainPID');
    await runScript(host, definition('nginx'), 'install', { port: 8081 });
    assert.equal(await show('nginx', 'MainPID'), nginx, 'reloaded, not restarted');
    await runScript(host, definition('nginx'), 'check', { port: 8081 });
    const redis = await show('redis-server', 'MainPID');
    const changed = { password: 'another-one', maxmemory: '10mb' };
    await runScript(host, definition('redis'), 'install', changed);
    assert.notEqual(await show('redis-server', 'MainPID'), redis, 'restarted with the new configuration');
    await runScript(host, definition('redis'), 'check', changed);

    await host.restart();
    await booted();
    for (const name of ['redis', 'postgresql', 'podman'] as const) {
      await runScript(host, definition(name), 'check', name === 'redis' ? changed : configs[name]);
    }
    for (const [name, unit] of Object.entries(units)) {
      await runScript(host, definition(name), 'remove', configs[name as keyof typeof configs]);
      assert.equal((await host.attempt(['systemctl', 'is-active', unit])).exitCode === 0, false, `${unit} is gone`);
    }
    assert.equal((await host.attempt(['test', '-e', '/etc/systemd/system/podman-api.service'])).exitCode, 1);
  });
});

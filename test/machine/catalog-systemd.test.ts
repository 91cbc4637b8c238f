/**
 * The other way that services run: under systemd, as on every cloud's machine. Needs Podman, which lets it boot. Short:
 * without what takes the package manager long; `npm run test:machine:full` has that too.
 */
import assert from 'node:assert/strict';
import path from 'node:path';
import { suite, test } from 'node:test';
import { loadCatalog } from '../../src/catalog/catalog.ts';
import { scale, temporaryDataDir } from '../recovery/support.ts';
import { until } from '../support/server.ts';
import { defineTaskserv } from '../support/taskserv-definitions.ts';
import { install, runScript, startHost, testEngine } from './catalog-host.ts';
import { preparedImage } from './prepared-image.ts';

const engine = testEngine();
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

    await using data = await temporaryDataDir();
    await defineTaskserv(data.directory, 'units', 'ticker', {
      install: 'service_apply ticker - root sleep infinity',
      check: 'systemctl is-active ticker',
      remove: 'service_remove ticker -\nforget',
    });
    const catalog = await loadCatalog(path.join(data.directory, 'workspaces', 'units'));
    // A unit of the package that can reload, one that cannot, one that is ours; a template's instance, a socket.
    const configs: Record<string, Record<string, unknown>> = {
      nginx: { port: 8080 },
      redis: { password: 'long-enough' },
      ticker: {},
      ...scale<Record<string, Record<string, unknown>>>(
        {},
        {
          postgresql: { user: 'app', database: 'app', password: 'long-enough' },
          podman: { storage_driver: 'vfs', api_socket: true },
        },
      ),
    };
    const unitOf: Record<string, string> = {
      redis: 'redis-server',
      postgresql: 'postgresql@15-main',
      podman: 'podman-api',
    };
    const units = Object.keys(configs).map((name): [string, string] => [name, unitOf[name] ?? name]);
    const show = (unit: string, property: string) => host.run(['systemctl', 'show', '--value', '-p', property, unit]);
    for (const [name, unit] of units) {
      const { definition } = await install(host, catalog, name, configs);
      const config = configs[name];
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
    for (const name of Object.keys(configs).filter((name) => name !== 'nginx')) {
      await runScript(host, definition(name), 'check', name === 'redis' ? changed : configs[name]);
    }
    for (const [name, unit] of units) {
      await runScript(host, definition(name), 'remove', configs[name]);
      assert.equal((await host.attempt(['systemctl', 'is-active', unit])).exitCode === 0, false, `${unit} is gone`);
    }
    assert.equal((await host.attempt(['test', '-e', '/etc/systemd/system/ticker.service'])).exitCode, 1);
  });
});

/** Containers that change behind our back: seen, told, repaired as far as an engine can, and nobody else's touched. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import Docker from 'dockerode';
import { expectOk, makeServer, type Server as Row, startInstallation } from '../support/acceptance.ts';
import { containerEngine } from '../support/container-engine.ts';
import { ended, type Operation, until } from '../support/server.ts';

const engine = await containerEngine();

interface Server extends Row {
  drift: { field: string; expected: unknown; actual: unknown }[];
}

if (engine === null) {
  test('drift of containers', { skip: 'There is no container engine. Run .ci/podman-up.' }, () => {});
} else {
  const { host, image, socketPath } = engine;
  test('a container that is stopped, renumbered, lost or removed shows as what it is, and only our own is an orphan', async () => {
    const docker = new Docker({ socketPath, host: undefined });
    await using installation = await startInstallation({
      ...{ PROVIDERS: 'docker', DOCKER_HOST: host, DOCKER_IMAGE: image, SWEEP_INTERVAL: '1' },
    });
    const { admin } = installation.server;
    const { pool } = installation.database;
    const carriedOut = async (method: string, route: string, body?: object) =>
      ended(admin, expectOk(await admin.request<Operation>(method, route, body)).id);
    const request = { provider: 'docker', plan: '1xCPU-1GB', zone: 'local', tags: ['env:prod'] };
    const { server: made, operation } = await makeServer(admin, 'drifting', request);
    const read = async () => expectOk(await admin.request<Server>('GET', `/v1/servers/${made.id}`));
    const [listed] = await docker.listContainers({
      all: true,
      filters: { label: [`provisioning-operation=${operation.id}`] },
    });
    assert.ok(listed);
    const container = docker.getContainer(listed.Id);

    await container.stop();
    await until(async () => (await read()).status === 'stopped', 'it to be seen stopped');
    assert.deepEqual(
      (await read()).drift.map(({ field, expected, actual }) => [field, expected, actual]),
      [['status', 'running', 'stopped']],
    );
    assert.equal((await carriedOut('POST', `/v1/servers/${made.id}/repair`)).status, 'completed');
    const { State, NetworkSettings } = await container.inspect();
    const [network] = Object.values(NetworkSettings.Networks);
    const now = await read();
    assert.deepEqual([State.Running, now.status, now.drift], [true, 'running', []]);
    assert.equal(now.ip_address, network?.IPAddress);

    // What somebody else wants of it, our books at variance with a label that no engine can change.
    await pool.query("update provisioning.servers set tags = '{env=test}' where id = $1", [made.id]);
    await carriedOut('POST', '/v1/servers/refresh', { servers: [made.id] });
    const refused = await carriedOut('POST', `/v1/servers/${made.id}/repair`);
    assert.match(refused.error ?? '', /docker cannot change the labels of a server/);
    if (typeof refused.result?.cleanup_operation_id === 'string')
      await ended(admin, refused.result.cleanup_operation_id);

    await pool.query('delete from provisioning.servers where id = $1', [made.id]);
    await pool.query('delete from provisioning.departed_servers');
    const orphans = async () =>
      expectOk(await admin.request<{ id: string; provider_id: string }[]>('GET', '/v1/orphans'));
    await until(async () => (await orphans()).length > 0, 'it to be reported');
    // The engine carries containers of other installations too.
    const [orphan, ...others] = await orphans();
    assert.deepEqual([orphan?.provider_id, others], [listed.Id, []]);
    const taken = await carriedOut('POST', '/v1/servers/import', {
      ...{ workspace: 'default', provider: 'docker', server: listed.Id },
    });
    const { adopted } = taken.result as { adopted: { server_id: string }[] };
    const id = adopted[0]?.server_id ?? '';
    assert.deepEqual(await orphans(), []);

    await container.remove({ force: true });
    const status = async () => expectOk(await admin.request<Server>('GET', `/v1/servers/${id}`)).status;
    await until(async () => (await status()) === 'missing', 'it to be seen gone');
    assert.equal((await carriedOut('DELETE', `/v1/servers/${id}`)).status, 'completed');
    assert.deepEqual(expectOk(await admin.request('GET', '/v1/servers')), []);
  });
}

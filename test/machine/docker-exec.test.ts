import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { test } from 'node:test';
import { createDockerProvider } from '../../src/providers/docker/provider.ts';
import { createDockerExecTransport } from '../../src/transports/docker-exec.ts';
import { type TransportSetup, transportSuite } from '../contracts/transport.testsuite.ts';
import { containerEngine } from '../support/container-engine.ts';
import { startCutProxy } from '../support/cut-proxy.ts';

const engine = await containerEngine();
if (engine === null) {
  test('docker exec', { skip: 'There is no container engine. Run .ci/podman-up.' }, () => {});
} else {
  const { host, image, socketPath } = engine;
  const provider = createDockerProvider({ host, image });
  const makeServer = async () => {
    const options = { operationId: randomUUID(), guard: () => {} };
    const spec = { workspace: 'machine', hostname: 'host-1', plan: '1xCPU-1GB', zone: 'local', tags: [] };
    const { ref } = await provider.ensureServer(spec, options);
    return { ref, options };
  };

  transportSuite('docker exec', async (): Promise<TransportSetup> => {
    const proxy = await startCutProxy({ path: socketPath });
    const { ref, options } = await makeServer();
    return {
      open: async () =>
        createDockerExecTransport({ engine: `unix://${proxy.socketPath}`, container: ref, host: 'host-1' }),
      cutConnections: async () => proxy.cut(),
      dispose: async () => {
        await provider.deleteServer(ref, options);
        await provider.close?.();
        await proxy[Symbol.asyncDispose]();
      },
    };
  });

  test('a container that is stopped while a script runs is a lost connection, not a failed script', async () => {
    const { ref, options } = await makeServer();
    const transport = createDockerExecTransport({ engine: host, container: ref, host: 'host-1' });
    const begun = Promise.withResolvers<void>();
    const running = transport.run('echo begun; sleep 60', { timeoutSeconds: 30, onLine: () => begun.resolve() });
    const verdict = assert.rejects(running, { name: 'TransportError', code: 'CONNECTION_LOST' });
    await begun.promise;
    await provider.stopServer(ref, options);
    await verdict;
    await assert.rejects(transport.run('true', { timeoutSeconds: 30 }), { code: 'UNREACHABLE', retryable: true });
    await provider.deleteServer(ref, options);
    await assert.rejects(transport.run('true', { timeoutSeconds: 30 }), { code: 'UNREACHABLE', retryable: false });
    await transport.close();
    await provider.close?.();
  });
}
